"""ONNX files with weights of 16 bits."""

from collections.abc import Iterator
from os import PathLike

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lesionseg.deploy.graph import load_graph, save_graph

# Nearly all weights and nearly all of the time.
_WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
# Where all that comes in is float16 already, these lose nothing or little more. All others stay float32: softmax,
# normalisations and sums need the range, and coordinates of pixels (of Resize, GridSample, RoiAlign, of boxes and
# position encodings) the digits, of which float16 has no more than 11 bits.
_FOLLOWING = {
    *("Add", "MaxPool", "Relu"),
    *("Concat", "Expand", "Flatten", "Gather", "Identity", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Tile"),
    *("Transpose", "Unsqueeze"),
}
# They choose among the nearly equal: the last digit of what they read decides which of two boxes stays.
_CHOOSING = {"NonMaxSuppression", "TopK"}
_SUFFIX = "_float16"


def to_float16(source: str | PathLike, target: str | PathLike) -> None:
    """Give a model float16 weights, and let it compute in float16 where that keeps its masks.

    Inputs and outputs stay float32, and so does all computation that detections are chosen by. onnxruntime's own
    converter is not used: it writes an invalid graph where two operators that stay float32 read one float16 tensor,
    and rounds what passes from one such operator to the next.

    Args:
        source: a float32 ONNX file.
        target: where the float16 one goes.

    Raises:
        DataError: `source` cannot be read.
    """
    model = load_graph(source)
    _Halved(model.graph, _float_tensors(model)).rewrite()
    save_graph(model, target)


class _Halved:
    """Rewrites a graph: a tensor keeps its name in float32, its float16 twin has a suffix.

    So whatever reads by name, branches of other nodes and graph outputs included, goes on reading float32.
    """

    def __init__(self, graph: onnx.GraphProto, floats: set[str]) -> None:
        self._graph = graph
        self._floats = floats
        self._weights = {tensor.name: tensor for tensor in graph.initializer if tensor.name in floats}
        self._chosen_by = _ancestors(graph, _CHOOSING)
        self._halves: set[str] = set()
        self._restored: dict[str, onnx.NodeProto] = {}
        self._nodes: list[onnx.NodeProto] = []

    def rewrite(self) -> None:
        for node in self._graph.node:
            inputs = [name for name in node.input if name in self._floats]
            if inputs and self._floats.issuperset(node.output) and self._is_halved(node, inputs):
                self._halve(node)
            else:
                if node.op_type in _WEIGHTED:
                    self._compress(inputs)
                self._nodes.append(node)
        self._nodes = [*self._restored.values(), *self._nodes]
        wanted = {output.name for output in self._graph.output}
        kept = []
        for node in reversed(self._nodes):
            if node.op_type != "Cast" or wanted.intersection(node.output):
                wanted.update(_names_read(node))
                kept.append(node)
        del self._graph.node[:]
        self._graph.node.extend(reversed(kept))
        initializers = [tensor for tensor in self._graph.initializer if tensor.name in wanted - self._restored.keys()]
        del self._graph.initializer[:]
        self._graph.initializer.extend(initializers)
        # Of shapes and types inferred earlier, some are wrong now.
        del self._graph.value_info[:]

    def _is_halved(self, node: onnx.NodeProto, inputs: list[str]) -> bool:
        if self._chosen_by.intersection(node.output):
            return False
        if node.op_type in _WEIGHTED:
            return True
        fed = [name for name in inputs if name not in self._weights]
        return node.op_type in _FOLLOWING and bool(fed) and self._halves.issuperset(fed)

    def _halve(self, node: onnx.NodeProto) -> None:
        for place, name in enumerate(node.input):
            if name in self._floats:
                node.input[place] = self._half(name)
        for place, name in enumerate(node.output):
            node.output[place] = name + _SUFFIX
        self._nodes.append(node)
        for name in node.output:
            whole = name.removesuffix(_SUFFIX)
            self._halves.add(whole)
            self._nodes.append(_to_float32(name, whole))

    def _compress(self, names: list[str]) -> None:
        """Keep weights in float16 only, for an operator that computes in float32; biases would save nothing."""
        for name in names:
            if name in self._weights and len(self._weights[name].dims) > 1:
                self._restored[name] = _to_float32(self._half(name), name)

    def _half(self, name: str) -> str:
        """The name of a tensor's float16 twin, which is made if there is none."""
        half = name + _SUFFIX
        if name not in self._halves:
            self._halves.add(name)
            if name in self._weights:
                values = numpy_helper.to_array(self._weights[name]).astype(np.float16)
                self._graph.initializer.append(numpy_helper.from_array(values, half))
            else:
                self._nodes.append(helper.make_node("Cast", [name], [half], name=half, to=TensorProto.FLOAT16))
        return half


def _to_float32(half: str, whole: str) -> onnx.NodeProto:
    return helper.make_node("Cast", [half], [whole], name=f"{whole}_to_float32", to=TensorProto.FLOAT)


def _ancestors(graph: onnx.GraphProto, kinds: set[str]) -> set[str]:
    """Names of all tensors that operators of some kinds depend on."""
    found: set[str] = set()
    for node in reversed(graph.node):
        if node.op_type in kinds or found.intersection(node.output):
            found.update(_names_read(node))
    return found


def _float_tensors(model: onnx.ModelProto) -> set[str]:
    """Names of the graph's float32 tensors."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    typed = [*graph.input, *graph.output, *graph.value_info]
    names = {value.name for value in typed if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    return names | {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}


def _names_read(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads, by its branches and bodies, too."""
    yield from node.input
    for attribute in node.attribute:
        for graph in [attribute.g, *attribute.graphs]:
            yield from (value.name for value in graph.output)
            for inner in graph.node:
                yield from _names_read(inner)
