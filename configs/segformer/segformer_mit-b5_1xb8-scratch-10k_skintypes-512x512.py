_base_ = "./segformer_mit-b5_1xb8-scratch-10k_isic2018-512x512.py"
from lesionseg.engine.recipes import multi_label

# Data: annotations/<split>/<finding>/<id>.png
findings = ("acne", "hemo", "mela")
globals().update(multi_label(findings, data_root="data/skin_types"))

# Model
num_classes = len(findings)
model = dict(decode_head=dict(num_classes=num_classes))
