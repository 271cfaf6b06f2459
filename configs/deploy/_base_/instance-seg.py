# Mask R-CNN as ONNX with operators of the standard only, so that one file serves every engine.
onnx_config = dict(
    type="onnx",
    opset_version=17,  # 16 or later: below, RoIAlign enlarges regions to at least one cell.
    input_names=["input"],
    output_names=["dets", "labels", "masks"],
    dynamic_axes=dict(
        input={0: "batch", 2: "height", 3: "width"},
        dets={0: "batch"},
        labels={0: "batch"},
        masks={0: "batch"},
    ),
)
codebase_config = dict(
    type="mmdet",
    task="ObjectDetection",
    # Masks in their boxes, 28x28; whoever runs the file enlarges them to the size of the original image.
    post_processing=dict(export_postprocess_mask=False),
)
# What every detection of PyTorch above the score must have in the exported model.
parity = dict(min_score=0.3, min_mask_iou=0.95)
