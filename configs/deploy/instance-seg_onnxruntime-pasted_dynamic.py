# Masks as large as the input, for those who cannot enlarge them: much memory where there are many detections.
_base_ = "./instance-seg_onnxruntime_dynamic.py"

onnx_config = dict(dynamic_axes=dict(masks={0: "batch", 2: "height", 3: "width"}))
codebase_config = dict(post_processing=dict(export_postprocess_mask=True))
