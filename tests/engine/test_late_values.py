"""What a GPU would be waited for is fetched late, and is the same."""

import pytest
import torch
from tiny_training import PoisonHook, run, settings

from lesionseg.engine import finite, late_values
from lesionseg.engine.resuming import newest_checkpoint
from lesionseg.errors import DataError


def late_settings(folder):
    cfg = settings(folder)
    cfg.default_hooks.runtime_info = dict(type="LateInfoHook")
    cfg.default_hooks.logger.interval = 4
    cfg.optim_wrapper.clip_grad = dict(max_norm=0.1)
    return cfg


@pytest.fixture
def _as_on_a_gpu(monkeypatch):
    for module in (late_values, finite):
        monkeypatch.setattr(module, "is_late", lambda runner: True)


def histories(message_hub):
    return {name: message_hub.get_scalar(f"train/{name}").data[0].tolist() for name in ("loss", "grad_norm")}


def test_the_log_and_the_checkpoints_have_the_values_of_all_iterations(tmp_path, request):
    at_once = run(late_settings(tmp_path / "at_once"))
    request.getfixturevalue("_as_on_a_gpu")
    late = run(late_settings(tmp_path / "late"))
    assert histories(late.message_hub) == histories(at_once.message_hub)
    assert len(histories(late.message_hub)["loss"]) == 6
    saved = [
        torch.load(tmp_path / name / "iter_2.pth", weights_only=False)["message_hub"]["log_scalars"]
        for name in ("at_once", "late")
    ]
    for name in ("train/loss", "train/grad_norm"):
        one, other = (scalars[name].data[0].tolist() for scalars in saved)
        assert one == other
        assert len(one) == 2


@pytest.mark.usefixtures("_as_on_a_gpu")
def test_what_is_not_finite_reaches_no_checkpoint(tmp_path):
    # Neither the first iteration, nor one after which the log is written.
    poison = PoisonHook(4)
    with pytest.raises(DataError, match="some weights are not finite, expected numbers: the training has diverged"):
        run(late_settings(tmp_path), poison)
    assert newest_checkpoint(tmp_path).name == "iter_4.pth"
