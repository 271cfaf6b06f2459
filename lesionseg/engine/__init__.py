"""From a config and a few flags to a training or a test."""
