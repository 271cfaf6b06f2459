import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from drawn_models import instance_model, semantic_model
from helpers import ROOT

from lesionseg.engine.families import INSTANCES, SEMANTIC
from lesionseg.errors import DataError
from lesionseg.inference.opening import check_task, is_onnx, open_model
from lesionseg.inference.runtimes.onnx_model import OnnxModel, OpenVinoModel

ON_CPU = ["onnxruntime", "openvino"]
BATCH = np.random.default_rng(0).normal(size=(3, 3, 48, 80)).astype(np.float32)
DETECTIONS = [((4, 8, 40, 30), 0.9, 0), ((10, 2, 70, 44), 0.4, 0)]


def test_engines_agree(tmp_path):
    path = semantic_model(tmp_path / "model.onnx")
    [first], [second] = (open_model(path, engine).run(BATCH) for engine in ON_CPU)
    assert first.shape == (3, 2, 48, 80)
    assert first.dtype == second.dtype == np.float32
    assert first.std() > 0.1
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_engines_agree_on_instances(tmp_path):
    path = instance_model(tmp_path / "model.onnx", DETECTIONS)
    first, second = (open_model(path, engine).run(BATCH) for engine in ON_CPU)
    assert [output.shape for output in first] == [(3, 2, 5), (3, 2), (3, 2, 28, 28)]
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("engine", ON_CPU)
def test_a_folder_means_the_model_in_it(engine, tmp_path):
    path = semantic_model(tmp_path / "out" / "model.onnx")
    [inside], [direct] = open_model(path.parent, engine).run(BATCH), open_model(path, engine).run(BATCH)
    np.testing.assert_array_equal(inside, direct)
    assert is_onnx(path.parent)
    assert is_onnx(path)
    assert not is_onnx(tmp_path)


@pytest.mark.parametrize("engine", ON_CPU)
@pytest.mark.parametrize("name", ["none.onnx", "."])
def test_a_missing_file_is_told(engine, name, tmp_path):
    with pytest.raises(DataError, match=r"none\.onnx: no such model, expected an ONNX|: a folder without model\.onnx"):
        open_model(tmp_path / name, engine)


@pytest.mark.parametrize("engine", ON_CPU)
@pytest.mark.parametrize("share", [0, 0.5, 0.9])
def test_a_cut_off_file_is_refused(engine, share, tmp_path):
    path = semantic_model(tmp_path / "model.onnx")
    os.truncate(path, int(share * path.stat().st_size))
    with pytest.raises(DataError, match=r"model\.onnx: not a readable ONNX file"):
        open_model(path, engine)


@pytest.mark.parametrize("engine", ON_CPU)
def test_what_is_no_onnx_file_is_refused(engine, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_text("<html>404</html>\n")
    with pytest.raises(DataError, match="not a readable ONNX file"):
        open_model(path, engine)


def test_a_wrong_engine_name_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"ncnn: no such engine, expected onnxruntime or openvino or openvino-bf16\."):
        open_model(semantic_model(tmp_path / "model.onnx"), "ncnn")


def test_a_model_of_another_task_is_refused():
    check_task(SEMANTIC, SEMANTIC, "model.onnx")
    with pytest.raises(DataError, match="a model for semantic segmentation, expected one for instance segmentation"):
        check_task(SEMANTIC, INSTANCES, "model.onnx")


@pytest.mark.parametrize("engine", [OnnxModel, OpenVinoModel])
def test_threads_bound_what_the_engine_takes(engine, tmp_path):
    path = semantic_model(tmp_path / "model.onnx")
    one, all_cores = engine(path, threads=1), engine(path)
    if engine is OnnxModel:
        assert one._session.get_session_options().intra_op_num_threads == 1
    else:
        assert one._model.get_property("INFERENCE_NUM_THREADS") == 1
    np.testing.assert_array_equal(one.run(BATCH)[0], all_cores.run(BATCH)[0])


@pytest.mark.parametrize("engine", ON_CPU)
def test_concurrent_calls_do_not_mix(engine, tmp_path):
    model = open_model(semantic_model(tmp_path / "model.onnx"), engine, threads=1)
    batches = [BATCH[:1] + number for number in range(24)]
    expected = [model.run(batch)[0].copy() for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda batch: model.run(batch)[0], batches))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_signals_after_several_models_have_gone(tmp_path):
    """In a process of its own: what went wrong was a crash."""
    semantic_model(tmp_path / "model.onnx")
    code = """
import os, signal, sys
from lesionseg.inference.runtimes.onnx_model import OpenVinoModel
models = [OpenVinoModel(sys.argv[1]) for _ in range(3)]
# In the order in which they came.
while models:
    del models[0]
signal.signal(signal.SIGUSR1, lambda *_: print("alive"))
os.kill(os.getpid(), signal.SIGUSR1)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "model.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=100)
    assert (done.returncode, done.stdout) == (0, "alive\n")
