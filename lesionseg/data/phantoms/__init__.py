"""Drawn images of lesions with exact masks."""
