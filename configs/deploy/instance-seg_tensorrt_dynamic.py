_base_ = "./_base_/instance-seg.py"

backend_config = dict(
    type="tensorrt",
    # (images, channels, height, width)
    model_inputs=[
        dict(
            input_shapes=dict(
                input=dict(
                    min_shape=[1, 3, 160, 160],
                    opt_shape=[1, 3, 512, 672],
                    max_shape=[8, 3, 1024, 1344],
                ),
            ),
        ),
    ],
)
