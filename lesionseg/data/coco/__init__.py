"""Masks as COCO files, and COCO files from anywhere as masks."""
