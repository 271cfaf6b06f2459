"""HTML pages that are files: opened from disk, whole in themselves, and nothing is asked from anywhere."""
