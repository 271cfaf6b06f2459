# For engines that want a fixed input: images are resized to fit into it, and padded.
_base_ = "./segmentation_onnxruntime_dynamic.py"

onnx_config = dict(input_shape=(512, 512), dynamic_axes=None)
