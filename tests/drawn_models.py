"""Tiny ONNX files with a card, as tools/export.py would write them, made without training or exporting a network."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lesionseg.engine.families import INSTANCES, SEMANTIC
from lesionseg.inference.runtimes.model_card import LOGITS, SIGMOID, ModelCard

# Dark is lesion: `draw_pair` draws skin at about 180 and lesions at about 77 gray levels.
DARK = 128
CARD = ModelCard(
    task=SEMANTIC,
    classes=("background", "lesion"),
    mean=(120.0, 110.0, 100.0),
    std=(50.0, 60.0, 70.0),
    channel_order="RGB",
    scale=(96, 72),
    interpolation="bilinear",
    size_divisor=16,
    score_rule=LOGITS,
)


def semantic_model(path: Path, card: ModelCard = CARD, aside: int = 0) -> Path:
    """Write a model whose lesion is what is darker than 128 on average over the channels.

    The lesion's score is (128 - gray) / 20, and the background's is 0. Outputs (N, 2, H, W) float32 `scores`.

    Args:
        path: where to.
        card: its properties.
        aside: the pixel that decides lies so many columns to the left: such a model is not symmetric.
    """
    width = 2 * aside + 1
    weight = np.zeros((2, 3, 1, width), np.float32)
    weight[1, :, 0, 0] = -np.float32(card.std) / 60
    bias = np.float32([0, (DARK - np.mean(card.mean)) / 20])
    node = helper.make_node("Conv", ["input", "weight", "bias"], ["scores"], pads=[0, aside, 0, aside])
    return _write(path, [node], dict(weight=weight, bias=bias), dict(scores=("N", 2, "H", "W")), card)


FINDINGS = ("dark", "red")


def findings_model(path: Path) -> Path:
    """Write a model that tells apart what is darker than 128 on average over the channels and what has red above 90.

    The findings' logits are (128 - gray) / 20 and (red - 90) / 20. Outputs (N, 2, H, W) float32 `scores`.
    """
    card = replace(CARD, classes=FINDINGS, score_rule=SIGMOID)
    mean, std = np.float32(card.mean), np.float32(card.std)
    weight = np.zeros((2, 3, 1, 1), np.float32)
    weight[0, :, 0, 0] = -std / 60
    weight[1, 0] = std[0] / 20
    bias = np.float32([(DARK - mean.mean()) / 20, (mean[0] - 90) / 20])
    node = helper.make_node("Conv", ["input", "weight", "bias"], ["scores"])
    return _write(path, [node], dict(weight=weight, bias=bias), dict(scores=("N", 2, "H", "W")), card)


def instance_model(
    path: Path, detections: list[tuple[tuple[float, float, float, float], float, int]], card: ModelCard | None = None
) -> Path:
    """Write a Mask R-CNN that finds the same in every image of a batch.

    Args:
        path: where to.
        detections: of each, the box (left, top, right, bottom) in pixels of the input, the score and the label. Its
            mask is 1 all over the box.
        card: its properties.
    """
    card = card or replace(CARD, task=INSTANCES, classes=("lesion",), score_rule="union", min_score=0.5)
    dets = np.float32([[*box, score] for box, score, _ in detections]).reshape(1, -1, 5)
    labels = np.int64([label for *_, label in detections])[None]
    masks = np.ones((1, len(detections), 28, 28), np.float32)
    constants = dict(
        dets_of_one=dets, labels_of_one=labels, masks_of_one=masks, first=np.int64([0]), last=np.int64([1])
    )
    nodes = [
        helper.make_node("Shape", ["input"], ["shape"]),
        helper.make_node("Slice", ["shape", "first", "last"], ["n"]),
    ]
    for name, array in (("dets", dets), ("labels", labels), ("masks", masks)):
        constants[f"{name}_ones"] = np.ones(array.ndim - 1, np.int64)
        nodes += [
            helper.make_node("Concat", ["n", f"{name}_ones"], [f"{name}_repeats"], axis=0),
            helper.make_node("Tile", [f"{name}_of_one", f"{name}_repeats"], [name]),
        ]
    shapes = dict(dets=("N", "K", 5), labels=("N", "K"), masks=("N", "K", "h", "w"))
    return _write(path, nodes, constants, shapes, card)


def without_card(path: Path) -> Path:
    """Write an ONNX file of someone else's: a semantic model without this project's metadata."""
    model = onnx.load(semantic_model(path))
    del model.metadata_props[:]
    onnx.save(model, path)
    return path


def _write(path: Path, nodes: list, constants: dict, outputs: dict, card: ModelCard) -> Path:
    graph = helper.make_graph(
        nodes,
        "drawn",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ("N", 3, "H", "W"))],
        [
            helper.make_tensor_value_info(name, TensorProto.INT64 if name == "labels" else TensorProto.FLOAT, shape)
            for name, shape in outputs.items()
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    helper.set_model_props(model, card.properties())
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path
