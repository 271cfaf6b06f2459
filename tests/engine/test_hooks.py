from types import SimpleNamespace

import numpy as np
import torch
from mmengine.logging import MessageHub

from lesionseg.engine.hooks import FitHook, LearningCurveHook, RandomStateHook


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
