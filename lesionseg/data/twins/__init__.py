"""Images that show the same lesion: how they are found, and which belong together."""
