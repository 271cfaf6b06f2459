# One image of one size: images of another shape are resized with their aspect ratio, and padded.
_base_ = "./instance-seg_onnxruntime_dynamic.py"

onnx_config = dict(
    input_shape=(512, 512),  # (width, height), as mmdeploy has it
    dynamic_axes=None,
)
