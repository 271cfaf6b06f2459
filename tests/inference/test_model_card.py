from dataclasses import replace

import onnx
import pytest
from drawn_models import CARD, semantic_model, without_card

from lesionseg.errors import DataError
from lesionseg.inference.opening import ENGINES, open_model
from lesionseg.inference.runtimes.model_card import FORMAT_KEY, ModelCard

FULL = replace(
    CARD,
    classes=("background", "lesion, \u201cdark\u201d"),
    input_size=(64, 96),
    min_score=0.35,
    precision="float16",
    config="a config.py",
    config_sha256="0" * 64,
    versions={"lesionseg": "0.1.0", "torch": "2.13.0"},
)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("card", [CARD, FULL], ids=["least", "full"])
def test_a_card_comes_back_from_a_file(card, engine, tmp_path):
    path = semantic_model(tmp_path / "model.onnx", card)
    assert open_model(path, engine).card == card


def test_all_properties_are_text():
    properties = FULL.properties()
    assert all(isinstance(value, str) for value in properties.values())
    assert properties["task"] == "semantic"
    assert properties["input_size"] == "[64, 96]"
    assert CARD.properties()["input_size"] == "null"


@pytest.mark.parametrize("engine", ENGINES)
def test_an_onnx_file_of_someone_else_is_refused(engine, tmp_path):
    path = without_card(tmp_path / "model.onnx")
    with pytest.raises(DataError, match=r"model\.onnx: an ONNX file without this project's metadata") as raised:
        open_model(path, engine)
    assert "\n" not in str(raised.value)


def test_a_newer_format_is_refused():
    with pytest.raises(DataError, match="metadata of format 2, expected 1"):
        ModelCard.from_properties({**CARD.properties(), FORMAT_KEY: "2"}, "model.onnx")


@pytest.mark.parametrize(
    ("name", "text"), [("mean", "[120.0, 110"), ("scale", None), ("task", "poetry"), ("size_divisor", "")]
)
def test_damaged_metadata_are_refused(name, text, tmp_path):
    path = semantic_model(tmp_path / "model.onnx")
    model = onnx.load(path)
    properties = {**CARD.properties(), name: text}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {key: value for key, value in properties.items() if value is not None})
    onnx.save(model, path)
    with pytest.raises(DataError, match=r"model\.onnx: damaged metadata .*Export the model again"):
        open_model(path)
