"""Picture files as pixels and back, and what is said of pixels: lesions, instances, outlines."""
