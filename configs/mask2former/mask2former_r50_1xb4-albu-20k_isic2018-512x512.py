_base_ = "./mask2former_r50_1xb4-20k_isic2018-512x512.py"

albumentations = dict(
    type="LesionAlbu",
    transforms=[
        dict(type="Affine", scale=(0.9, 1.1), translate_percent=(-0.05, 0.05), rotate=(-45, 45), shear=(-5, 5), p=0.5),
        dict(type="HueSaturationValue", hue_shift_limit=10, sat_shift_limit=20, val_shift_limit=10, p=0.5),
        dict(type="RandomBrightnessContrast", brightness_limit=0.2, contrast_limit=0.2, p=0.5),
        dict(
            type="OneOf",
            transforms=[
                dict(type="ElasticTransform", alpha=40, sigma=8, p=1.0),
                dict(type="GridDistortion", num_steps=5, distort_limit=0.2, p=1.0),
            ],
            p=0.3,
        ),
    ],
)
# In the place of PhotoMetricDistortion, between the flips and the packing.
*_to_flip, _photometric, _pack = _base_.train_pipeline
train_pipeline = [*_to_flip, albumentations, _pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
