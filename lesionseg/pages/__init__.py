"""Demo and annotation, served in a browser on this machine."""

# What is drawn or shown where findings have no names.
LESION = "lesion"
