from types import SimpleNamespace

import numpy as np
import torch
from mmengine.logging import MessageHub
from mmengine.structures import PixelData
from mmseg.models import SegDataPreProcessor
from mmseg.structures import SegDataSample
from torch import nn

from lesionseg.engine.hooks import FitHook, LearningCurveHook, RandomStateHook, ValidationLossHook


def draws():
    import random

    return float(torch.rand(())), float(np.random.rand()), random.random()


def test_random_state_goes_on_after_resuming(tmp_path):
    checkpoint = {}
    RandomStateHook().before_save_checkpoint(None, checkpoint)
    expected = draws()
    torch.save(checkpoint, tmp_path / "c.pth")

    hook, runner = RandomStateHook(), SimpleNamespace(_resume=True, _load_from="c.pth")
    hook.after_load_checkpoint(runner, torch.load(tmp_path / "c.pth", weights_only=True))
    hook.before_train_iter(runner, 0)
    assert draws() == expected
    hook.before_train_iter(runner, 1)
    assert draws() != expected


def test_random_state_is_left_alone_where_a_training_only_starts_from_weights():
    checkpoint = {}
    RandomStateHook().before_save_checkpoint(None, checkpoint)
    expected = draws()
    hook, runner = RandomStateHook(), SimpleNamespace(_resume=False)
    hook.after_load_checkpoint(runner, checkpoint)
    hook.before_train_iter(runner, 0)
    assert draws() != expected


def test_a_single_new_part_is_no_list_of_letters():
    assert FitHook("decode_head.cls_embed").new_parts == ("decode_head.cls_embed",)


def test_learning_curve_is_drawn_from_what_was_logged(tmp_path):
    import cv2

    hub = MessageHub("test_learning_curve")
    for step in range(1, 61):
        hub.update_scalar("train/loss", 30.0 / step)
    runner = SimpleNamespace(message_hub=hub, work_dir=str(tmp_path), iter=30, _train_loop=object())
    hook = LearningCurveHook()
    hub.update_scalar("val/loss", 12.0)
    hook.after_val_epoch(runner, {"lesion/jaccard": 0.5, "lesion/dice": 0.6})
    runner.iter = 60
    hook.after_val_epoch(runner, {"lesion/jaccard": 0.7, "lesion/dice": 0.8})
    hook.after_train(runner)
    assert [(point["step"], point["lesion/jaccard"], point["loss"]) for point in hub.get_info("learning_curve")] == [
        (30, 0.5, 12.0),
        (60, 0.7, 12.0),
    ]
    picture = cv2.imread(str(tmp_path / "learning_curve.png"))
    assert picture.shape[1] > picture.shape[0] > 300


class Recorder(nn.Module):
    """A segmentor that keeps what its loss is computed of."""

    def __init__(self):
        super().__init__()
        self.data_preprocessor = SegDataPreProcessor(size=(64, 64), test_cfg=dict(size_divisor=32), seg_pad_val=255)
        self.seen = []

    def forward(self, inputs, data_samples, mode):
        assert mode == "loss"
        self.seen.append((inputs, data_samples[0].gt_sem_seg.data))
        return dict(loss=inputs.sum())

    def parse_losses(self, losses):
        return losses["loss"], losses


def test_the_validation_loss_is_of_images_that_are_padded_as_in_a_test():
    """A ViT takes whole patches only; a training's images have the size of its crops anyway."""
    model = Recorder()
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.ones(1, 160, 200, dtype=torch.uint8)))
    batch = dict(inputs=[torch.full((3, 80, 100), 7, dtype=torch.uint8)], data_samples=[sample])
    runner = SimpleNamespace(model=model, val_loop=SimpleNamespace(fp16=False))
    hook = ValidationLossHook()
    hook.before_val_epoch(runner)
    hook.after_val_iter(runner, 0, batch)
    ((image, truth),) = model.seen
    assert image.shape == (1, 3, 96, 128)
    assert (image[0, :, :80, :100] == 7).all()
    assert image.sum() == 7 * 3 * 80 * 100
    assert (truth[0, :80, :100] == 1).all()
    assert torch.count_nonzero(truth == 255) == 96 * 128 - 80 * 100
    # The training pads to its crops as before.
    assert (model.data_preprocessor.size, model.data_preprocessor.size_divisor) == ((64, 64), None)
    assert sample.gt_sem_seg.data.shape == (1, 160, 200)
