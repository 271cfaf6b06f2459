"""What OpenMMLab's models lack."""
