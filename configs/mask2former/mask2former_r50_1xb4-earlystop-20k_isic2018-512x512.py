_base_ = "./mask2former_r50_1xb4-20k_isic2018-512x512.py"

# Patience is counted in validations.
custom_hooks = [
    *_base_.custom_hooks,
    dict(type="EarlyStoppingHook", monitor="lesion/jaccard", rule="greater", min_delta=0.001, patience=5),
]
