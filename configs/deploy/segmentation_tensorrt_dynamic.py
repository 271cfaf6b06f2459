# An engine for the GPU that builds it, beside the ONNX file.
_base_ = "./segmentation_onnxruntime_dynamic.py"

backend_config = dict(
    type="tensorrt",
    # (images, channels, height, width)
    model_inputs=[
        dict(
            input_shapes=dict(
                input=dict(
                    min_shape=[1, 3, 128, 128],
                    opt_shape=[1, 3, 512, 704],
                    max_shape=[8, 3, 1024, 2048],
                ),
            ),
        ),
    ],
)
