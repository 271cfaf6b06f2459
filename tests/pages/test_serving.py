import os
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import draw_pair, load_tool

from lesionseg.errors import DataError
from lesionseg.pages import serving
from lesionseg.pages.address import Address

httpx = pytest.importorskip("httpx", reason="the extra apps is not installed")


@pytest.fixture
def ask(serve, tmp_path):
    """Serve the demo without a model; gives a client of it."""
    pages = []

    def start(address=None):
        from lesionseg.pages.demo_page import demo_page

        client = httpx.Client(base_url=serve(lambda: demo_page([]), address), trust_env=False)
        pages.append(client)
        return client

    yield start
    for client in pages:
        client.close()


def test_only_what_was_uploaded_is_sent(ask, tmp_path):
    client = ask()
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    for path in (secret, "/etc/hostname", "../../etc/hostname", "pyproject.toml", Path.cwd() / "pyproject.toml"):
        assert client.get(f"/gradio_api/file={path}").status_code in (403, 404)
    sent = client.post("/gradio_api/upload", files={"files": ("a.png", b"picture")})
    (kept,) = sent.json()
    assert client.get(f"/gradio_api/file={kept}").content == b"picture"
    assert Path(kept).is_relative_to(os.environ["GRADIO_TEMP_DIR"])
    assert os.stat(os.environ["GRADIO_TEMP_DIR"]).st_mode & 0o077 == 0


@pytest.mark.parametrize("path", ["secret", "http://127.0.0.1:9/a.png"])
def test_a_photograph_from_elsewhere_is_refused_without_a_path(ask, tmp_path, path, capfd):
    client = ask()
    if path == "secret":
        path = str(tmp_path / "secret.png")
        Path(path).write_bytes(b"secret")
    (look,) = [each["id"] for each in client.get("/config").json()["dependencies"] if len(each["inputs"]) > 6][:1]
    upload = {"path": path, "meta": {"_type": "gradio.FileData"}}
    data = [upload, None, None, None, None, 0, 0, []]
    asked = dict(fn_index=look, data=data, session_hash="one")
    assert client.post("/gradio_api/queue/join", json=asked).status_code == 200
    with client.stream("GET", "/gradio_api/queue/data", params=dict(session_hash="one")) as events:
        told = "".join(events.iter_text())
    assert '"success":false' in told
    assert str(tmp_path) not in told
    assert "secret" not in told.replace(str(tmp_path), "")


def test_too_large_an_upload_is_refused(ask, monkeypatch):
    monkeypatch.setattr(serving, "MOST_BYTES", 1000)
    sent = ask().post("/gradio_api/upload", files={"files": ("a.png", b"0" * 2000)})
    assert sent.status_code == 413


def test_browsers_are_told_to_ask_nobody_else(ask):
    client = ask()
    answer = client.get("/")
    assert answer.headers["content-security-policy"].startswith("default-src 'self' data: blob:")
    assert "fonts.googleapis.com" not in answer.text
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400


def test_with_a_password_nothing_is_told_before_it_is_given(ask):
    client = ask(Address("0.0.0.0", auth=("clinic", "s3cret")))
    assert "dependencies" not in client.get("/config").text
    for call in ("upload", "component_server", "queue/join"):
        assert client.post(f"/gradio_api/{call}", json={}).status_code == 401
    assert client.post("/login", data=dict(username="clinic", password="wrong")).status_code == 400
    assert client.post("/login", data=dict(username="clinic", password="s3cret")).status_code == 200
    assert "dependencies" in client.get("/config").text


def test_settings_in_the_environment_do_not_share_the_page(monkeypatch):
    for name, value in (("GRADIO_SHARE", "True"), ("GRADIO_ALLOWED_PATHS", "/")):
        monkeypatch.setenv(name, value)
    with serving.private_gradio():
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        (folder / "upload.png").touch()
        assert not {"GRADIO_SHARE", "GRADIO_ALLOWED_PATHS"} & set(os.environ)
        assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert not folder.exists()
    assert os.environ["GRADIO_SHARE"] == "True"
    assert "GRADIO_TEMP_DIR" not in os.environ


def test_without_gradio_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(DataError, match=r"gradio: not installed, expected it to serve a page. Install the extra apps"):
        serving.import_gradio()


def test_what_is_told_in_a_page_has_no_path(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = str(tmp_path / "a.png")
    names = {path: "a.png"}
    assert serving.told(DataError(f"{path}: odd, expected even. Count."), names) == "a.png: odd, expected even. Count."
    assert serving.told(FileNotFoundError(2, "No such file or directory", path), names).startswith(
        "a.png: No such file"
    )
    assert serving.told(DataError("/srv/models/best.onnx: odd, expected 1/2 or a/b."), names) == (
        "best.onnx: odd, expected 1/2 or a/b."
    )
    assert "terminal" in serving.told(ZeroDivisionError(f"{path} by zero"), names)
    printed = capsys.readouterr().err
    assert printed.startswith("error: ended by ZeroDivisionError")
    assert printed.count("\n") == 1


def test_drawn_pairs_are_shown_as_pictures_that_the_page_holds():
    from lesionseg.pages.photographs import jpeg_url

    assert jpeg_url(draw_pair(0)[0]).startswith("data:image/jpeg;base64,/9j/")


@pytest.fixture
def ending(monkeypatch):
    """Let pages of tools end at once."""
    pytest.importorskip("gradio", reason="the extra apps is not installed")
    monkeypatch.setattr(serving, "wait_for_the_end", lambda: None)


def test_masks_that_do_not_fit_are_told_and_nothing_is_served(images, tmp_path, ending, capsys):
    masks = tmp_path / "masks"
    masks.mkdir()
    cv2.imwrite(str(masks / "ISIC_0.png"), np.zeros((5, 7), np.uint8))
    (masks / "ISIC_1.png").write_bytes(b"")
    assert load_tool("annotate").main([str(images), "--out", str(masks)]) == 1
    printed = capsys.readouterr()
    assert printed.err.count("error: ") == 2
    assert printed.out == ""
    assert sorted(path.name for path in masks.iterdir()) == ["ISIC_0.png", "ISIC_1.png"]


def test_the_last_line_says_how_many_masks_there_are(images, tmp_path, ending, capsys):
    masks = tmp_path / "masks"
    (masks / "acne").mkdir(parents=True)
    cv2.imwrite(str(masks / "acne" / "ISIC_1.png"), draw_pair(1)[1])
    assert load_tool("annotate").main([str(images), "--out", str(masks), "--findings", "acne", "mela"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("annotating 3 images at http://127.0.0.1:")
    assert lines[-1] == f"of 3 images, 1 have a mask of acne, 0 have a mask of mela; masks are in {masks}"
    assert [path.name for path in masks.iterdir()] == ["acne"]


def test_two_models_are_served_and_three_are_wrong_usage(model, ending, capsys):
    assert load_tool("demo").main([str(model), str(model)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"showing {model} and {model} at http://127.0.0.1:")
    assert lines[-1] == "the page has ended; its uploads are removed"
    with pytest.raises(SystemExit):
        load_tool("demo").main([str(model)] * 3)
