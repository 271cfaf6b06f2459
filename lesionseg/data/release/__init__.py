"""A release, or any folders of images and masks, becomes a data set folder."""
