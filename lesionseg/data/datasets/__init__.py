"""A data set folder as trainings and tests load it."""
