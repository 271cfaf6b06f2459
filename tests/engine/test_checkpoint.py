import os
from pathlib import Path

import mmengine.runner.checkpoint
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from torch import nn

import lesionseg.openmmlab  # noqa: F401
from lesionseg.engine.checkpoint import check_fit, load_file, secure_loading
from lesionseg.errors import DataError


class WritesAFile:
    """Unpickling it creates the file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 5))


@pytest.fixture
def saved(tmp_path, model):
    path = tmp_path / "good.pth"
    hub = {"log_scalars": {"train/loss": HistoryBuffer([1.0, 2.0], [1, 1])}}
    torch.save({"state_dict": model.state_dict(), "meta": {"iter": 3, "config": "1 / 0"}, "message_hub": hub}, path)
    return path


@pytest.fixture
def malicious(tmp_path):
    path = tmp_path / "bad.pth"
    torch.save({"state_dict": {}, "meta": {"hook": WritesAFile(tmp_path / "written")}}, path)
    return path


def test_loads_what_mmengine_saves(saved, model):
    checkpoint = load_file(saved)
    assert torch.equal(checkpoint["state_dict"]["1.weight"], model[1].weight)
    assert checkpoint["message_hub"]["log_scalars"]["train/loss"].mean() == 1.5


def test_config_text_is_dropped_because_mmengine_would_run_it(saved):
    assert load_file(saved)["meta"] == {"iter": 3}


@pytest.mark.parametrize(
    "load", [load_file, mmengine.runner.checkpoint.load_from_local, CheckpointLoader.load_checkpoint]
)
def test_a_checkpoint_with_code_is_refused_and_not_run(malicious, tmp_path, load):
    arguments = (str(malicious), None) if load is mmengine.runner.checkpoint.load_from_local else (str(malicious),)
    with pytest.raises(DataError, match=r"bad.pth: holds more than weights.*--trust-checkpoint"):
        load(*arguments)
    assert not (tmp_path / "written").exists()


def test_weights_from_an_address_are_refused_alike(malicious, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda url, path, prefix: os.link(malicious, path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    with pytest.raises(DataError, match="holds more than weights"):
        CheckpointLoader.load_checkpoint("https://example.org/bad.pth")
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    "name",
    [
        *("open-mmlab://resnet50_caffe", "openmmlab://resnet50_caffe", "torchvision://resnet18", "modelzoo://resnet18"),
        *("mmcls://vgg11", "http://example.org/bad.pth"),
    ],
)
def test_weights_by_the_names_of_model_zoos_are_refused_alike(malicious, tmp_path, monkeypatch, name):
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda url, path, prefix: os.link(malicious, path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("MMENGINE_HOME", str(tmp_path / "mmengine"))
    with pytest.raises(DataError, match="holds more than weights"):
        CheckpointLoader.load_checkpoint(name)
    assert not (tmp_path / "written").exists()


def test_weights_in_the_cache_of_mmengine_are_refused_alike(malicious, tmp_path, monkeypatch):
    monkeypatch.setenv("MMENGINE_HOME", str(tmp_path))
    (tmp_path / "open_mmlab.json").write_text('{"mine": "bad.pth"}')
    with pytest.raises(DataError, match="holds more than weights"):
        CheckpointLoader.load_checkpoint("open-mmlab://mine")
    assert not (tmp_path / "written").exists()


def test_weights_from_object_storage_are_refused_alike(malicious, tmp_path, monkeypatch):
    class Storage:
        def get(self, name):
            return malicious.read_bytes()

    monkeypatch.setattr(mmengine.runner.checkpoint, "get_file_backend", lambda *args, **kwargs: Storage())
    with pytest.raises(DataError, match="holds more than weights"):
        CheckpointLoader.load_checkpoint("s3://bucket/bad.pth")
    assert not (tmp_path / "written").exists()


def test_every_way_to_load_is_known():
    """A new one of MMEngine needs a look, and a test here."""
    assert set(CheckpointLoader._schemes) == {
        *("", "http://", "https://", "pavi://", r"(\S+\:)?s3://", r"(\S+\:)?petrel://"),
        *("modelzoo://", "torchvision://", "open-mmlab://", "openmmlab://", "mmcls://"),
    }


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(saved, tmp_path, number):
    checkpoint = load_file(saved)
    checkpoint["state_dict"]["1.weight"][2, 1] = number
    torch.save(checkpoint, tmp_path / "nan.pth")
    with pytest.raises(DataError, match=r"nan.pth: 1 of its tensors are not finite \(state_dict.1.weight\)"):
        load_file(tmp_path / "nan.pth")


def test_weights_of_another_kind_are_refused(tmp_path):
    for weights, message in ((5, "its state_dict is a int"), ({"0.weight": "text"}, r"no tensors \(0.weight\)")):
        torch.save({"state_dict": weights}, tmp_path / "odd.pth")
        with pytest.raises(DataError, match=message):
            load_file(tmp_path / "odd.pth")


def test_trust_loads_it_after_all(malicious, tmp_path):
    secure_loading(trust=True)
    try:
        CheckpointLoader.load_checkpoint(str(malicious))
    finally:
        secure_loading()
    assert (tmp_path / "written").exists()


class ReachesForGlobals:
    def __reduce__(self):
        return getattr, (HistoryBuffer, "__init__")


def test_getattr_gives_nothing_but_the_statistics_of_a_history(tmp_path):
    path = tmp_path / "getattr.pth"
    torch.save({"state_dict": ReachesForGlobals()}, path)
    with pytest.raises(DataError, match="holds more than weights"):
        load_file(path)


@pytest.mark.parametrize("size", [0, 10, 300, 2000, -50])
def test_a_cut_off_checkpoint_is_named(saved, tmp_path, size):
    cut = tmp_path / "cut.pth"
    cut.write_bytes(saved.read_bytes()[:size])
    with pytest.raises(DataError, match=r"cut.pth: not a readable checkpoint"):
        load_file(cut)


def test_a_file_that_is_no_checkpoint_is_named(tmp_path):
    (tmp_path / "x.pth").write_text("weights")
    with pytest.raises(DataError, match=r"x.pth: not a readable checkpoint"):
        load_file(tmp_path / "x.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(DataError, match=r"list.pth: holds a list, expected a checkpoint"):
        load_file(tmp_path / "list.pth")


def test_a_fitting_checkpoint_passes(saved, model):
    check_fit(model, load_file(saved), "good.pth")


def test_misfits_are_told_by_their_first_keys(model):
    weights = {"0.weight": torch.zeros(2, 3), "0.bias": torch.zeros(7), "2.bias": torch.zeros(1)}
    with pytest.raises(DataError) as error:
        check_fit(model, {"state_dict": weights}, "other.pth")
    assert "2 keys are missing (1.weight, 1.bias)" in str(error.value)
    assert "1 are unexpected (2.bias)" in str(error.value)
    assert "1 have another shape (0.bias (7,) for (2,))" in str(error.value)


def test_only_named_parts_may_start_anew(saved, model):
    other = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 4))
    checkpoint = load_file(saved)
    with pytest.raises(DataError, match="2 have another shape"):
        check_fit(other, checkpoint, "good.pth")
    check_fit(other, checkpoint, "good.pth", new_parts=["1."])
    assert set(checkpoint["state_dict"]) == {"0.weight", "0.bias"}
