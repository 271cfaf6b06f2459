"""Holds every deploy config to its name and to what the exporter reads of it."""

import re

import pytest
from drawn_models import CARD
from helpers import ROOT
from mmengine.config import Config

from lesionseg.deploy.deploy_config import default_deploy_config, load_deploy_config, thresholds
from lesionseg.deploy.parity import Thresholds
from lesionseg.errors import DataError
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


DYNAMIC = """
backend_config = dict(type="onnxruntime")
codebase_config = dict(type="mmseg")
onnx_config = dict(opset_version=17, dynamic_axes=dict(input={0: "batch"}))
"""


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("", "codebase_config.type is missing, expected mmseg or mmdet."),
        ("", "onnx_config.opset_version is missing, expected a whole number, 16 to 20."),
        ("codebase_config = 5", "codebase_config.type is missing, expected mmseg or mmdet."),
        (
            DYNAMIC.replace('"onnxruntime"', '"ncnn"'),
            "backend_config.type is 'ncnn', expected onnxruntime or openvino or",
        ),
        (DYNAMIC.replace('"onnxruntime"', "[]"), "backend_config.type is [], expected onnxruntime or openvino or"),
        (DYNAMIC.replace("17", "7"), "onnx_config.opset_version is 7, expected a whole number, 16 to 20."),
        (DYNAMIC.replace("17", "'17'"), "onnx_config.opset_version is '17', expected a whole number"),
        *(
            (
                DYNAMIC.replace("17", f"17, input_shape={shape}"),
                f"onnx_config.input_shape is {shape}, expected None or (",
            )
            for shape in ["(-512, -512)", "(512, -16)", "(0, 0)", "()", "(512,)", "(16.0, 32.0)", "512", "'512x512'"]
        ),
        (
            DYNAMIC.replace("17", "17, input_shape=(10**6, 10**6)"),
            "onnx_config.input_shape is (1000000, 1000000), expect",
        ),
        (
            DYNAMIC.replace('dict(input={0: "batch"})', "3"),
            "onnx_config.dynamic_axes is 3, expected None or a dict by name (dets, input, labels, masks, scores) of",
        ),
        *(
            (DYNAMIC.replace('dict(input={0: "batch"})', axes), f"onnx_config.dynamic_axes is {axes}, expected None or")
            for axes in ["{'inputs': {0: 'n'}}", "{'input': ['n']}", "{'input': {'n': 0}}", "{'input': {9: 'n'}}"]
        ),
        (
            DYNAMIC.replace('dict(input={0: "batch"})', "None"),
            "an input neither of one size nor of any, expected onnx_",
        ),
        (
            DYNAMIC.replace("17", "17, input_names=['x']"),
            "onnx_config.input_names is ['x'], expected None or ['input']",
        ),
        (
            DYNAMIC.replace("17", "17, output_names=3"),
            "onnx_config.output_names is 3, expected None or ['scores'] or [",
        ),
        (DYNAMIC + "parity = dict(min_agreement=-1)", "parity.min_agreement is -1, expected a number from 0 to 1."),
        (DYNAMIC + "parity = dict(min_agreement=float('nan'))", "parity.min_agreement is nan, expected a number"),
        (
            DYNAMIC + "parity = dict(min_agrement=1)",
            "parity is {'min_agrement': 1}, expected a dict of min_agreement, m",
        ),
        (DYNAMIC + "parity = 3", "parity is 3, expected a dict of min_agreement, min_score, min_mask_iou."),
    ],
)
def test_a_part_that_cannot_be_is_named(text, fact, tmp_path):
    path = tmp_path / "deploy.py"
    path.write_text(text)
    with pytest.raises(DataError) as refused:
        load_deploy_config(path, CARD)
    (line,) = [line for line in refused.value.args if fact in line]
    assert line.startswith(f"{path}: ")
    assert line.endswith(f". Correct it as in {default_deploy_config(CARD)}.")
    path.write_text(DYNAMIC)
    assert load_deploy_config(path, CARD).onnx_config.opset_version == 17


@pytest.mark.parametrize("parity", ["None", "dict(min_agreement=None)", "{}"])
def test_thresholds_that_are_left_out_are_the_usual_ones(parity, tmp_path):
    path = tmp_path / "deploy.py"
    path.write_text(f"{DYNAMIC}\nparity = {parity}")
    assert thresholds(load_deploy_config(path, CARD)) == Thresholds()


def test_what_does_not_load_is_named(tmp_path):
    path = tmp_path / "deploy.py"
    for text in ("1 / 0", "a b", "_base_ = 'none.py'", "raise SystemError", "exit(0)"):
        path.write_text(text)
        with pytest.raises(DataError, match=r"deploy\.py: does not load: .*\. Mend the deploy config\."):
            load_deploy_config(path, CARD)
