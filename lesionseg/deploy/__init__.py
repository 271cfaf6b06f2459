"""Export to ONNX, its proof, and the engines that run it."""
