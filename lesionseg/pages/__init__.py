"""Demo and annotation, served in a browser on this machine."""
