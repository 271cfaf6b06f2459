"""Holds every deploy config to its name and to what the exporter reads of it."""

import re

import pytest
from helpers import ROOT
from mmengine.config import Config

from lesionseg.deploy.parity import Thresholds
from lesionseg.inference.opening import ENGINES
from lesionseg.inference.runtimes.onnx_model import OUTPUTS

CONFIGS = sorted((ROOT / "configs/deploy").glob("*.py"))
NAME = re.compile(
    r"(?P<task>segmentation|instance-seg)_(?P<engine>[a-z]+(-bf16)?)(-pasted)?_(dynamic|static-(?P<size>\d+x\d+))"
)
TASKS = dict(segmentation=("mmseg", "semantic"), **{"instance-seg": ("mmdet", "instances")})


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_name_agrees_with_contents(path):
    cfg, name = Config.fromfile(path), NAME.fullmatch(path.stem)
    assert name, f"{path.stem} does not follow the naming rule"
    codebase, task = TASKS[name["task"]]
    assert cfg.codebase_config.type == codebase
    assert cfg.backend_config.type == name["engine"]
    assert name["engine"] in ENGINES
    shape, axes = cfg.onnx_config.get("input_shape"), cfg.onnx_config.get("dynamic_axes")
    if name["size"]:
        # MMDeploy's order is (width, height).
        assert f"{shape[1]}x{shape[0]}" == name["size"]
        assert not axes
    else:
        assert not shape
        assert axes["input"] == {0: "batch", 2: "height", 3: "width"}
        assert set(axes) <= {"input", *OUTPUTS[task]}
    assert cfg.onnx_config.opset_version >= 17
    settings = cfg.parity
    assert Thresholds(**settings) == Thresholds()
