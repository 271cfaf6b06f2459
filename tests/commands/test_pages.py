"""The tools that serve a page, up to the page: tests/pages has the rest."""

import os
import socket
import subprocess
import sys

import pytest
from helpers import ROOT, load_tool

annotate, demo = load_tool("annotate").main, load_tool("demo").main


@pytest.mark.parametrize("tool", [annotate, demo])
@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0 lets others see the images: it needs --auth USER:PASSWORD"),
        (["--port", "70000"], "'70000', expected a whole number from 1 to 65535"),
        (["--auth", "clinic"], "expected a name and a password with a colon between them"),
        (["--auth", ":secret"], "expected a name and a password with a colon between them"),
    ],
)
def test_others_are_let_in_by_a_password_only(tool, flags, told, capsys):
    with pytest.raises(SystemExit) as ending:
        tool(["a", *(["--out", "masks"] if tool is annotate else []), *flags])
    assert ending.value.code == 2
    printed = capsys.readouterr().err
    assert told in printed
    assert "secret" not in printed


def test_faults_are_told_before_anything_heavy_is_imported(images, tmp_path):
    for command in (
        ["annotate", str(images), "--out", "masks", "--model", "none.onnx"],
        ["annotate", "none", "--out", "masks"],
        ["demo", "none.onnx"],
    ):
        code = (
            "import sys, runpy; sys.modules.update(torch=None, numpy=None, cv2=None, gradio=None); "
            f"sys.argv = {command!r}; runpy.run_path('{ROOT}/tools/{command[0]}.py', run_name='__main__')"
        )
        environment = dict(os.environ, PYTHONPATH=str(ROOT))
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment
        )
        assert done.returncode == 1
        assert done.stderr.startswith("error: none")
        assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


@pytest.mark.parametrize(
    ("findings", "told"),
    [
        (["acne", "a/b", "..", ""], "--findings: 'a/b', '..', '' cannot be the name of a folder, expected names such"),
        (["acne", "Acne"], "--findings: acne, Acne, expected each name once"),
    ],
)
def test_findings_are_folders(images, tmp_path, findings, told, capsys):
    assert annotate([str(images), "--out", str(tmp_path / "masks"), "--findings", *findings]) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "masks").exists()


def test_masks_lie_apart_from_images(images, tmp_path, capsys):
    assert annotate([str(images), "--out", str(images / "masks")]) == 1
    assert "is searched for images, expected a folder apart" in capsys.readouterr().err
    (tmp_path / "masks").touch()
    assert annotate([str(images), "--out", str(tmp_path / "masks")]) == 1
    assert "a file, expected a folder to write to" in capsys.readouterr().err


def test_a_checkpoint_follows_its_config(capsys):
    assert demo(["none.py", "best.pth", "model.onnx"]) == 1
    assert "none.py: no such config" in capsys.readouterr().err


def test_an_address_that_cannot_be_listened_on_is_told_at_once(images, tmp_path, capsys):
    command = [str(images), "--out", str(tmp_path / "masks")]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert annotate([*command, "--port", port]) == 1
    told = f"error: 127.0.0.1: port {port} cannot be listened on (Address already in use), expected an address of"
    assert told in capsys.readouterr().err
    # TEST-NET-1, which no machine has.
    assert annotate([*command, "--host", "192.0.2.1", "--auth", "a:b"]) == 1
    assert "error: 192.0.2.1: this address cannot be listened on (Cannot assign" in capsys.readouterr().err
    assert not (tmp_path / "masks").exists()
