# Mask2Former, SegFormer and others for onnxruntime: images of any size, any number at once.
backend_config = dict(type="onnxruntime")
codebase_config = dict(type="mmseg", task="Segmentation")
_any = {0: "batch", 2: "height", 3: "width"}
onnx_config = dict(
    type="onnx",
    # The first with everything that Mask2Former needs among the standard operators: GridSample came with 16.
    opset_version=17,
    input_shape=None,  # (width, height)
    dynamic_axes=dict(input=_any, scores=_any),
)
# How alike the export and its original have to be.
parity = dict(min_agreement=0.999)
