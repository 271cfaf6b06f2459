"""Measuring predictions: official and pooled scores, the registered metric, and reports."""
