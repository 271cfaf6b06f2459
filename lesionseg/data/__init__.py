"""Releases, masks and data sets on disk and in memory."""
