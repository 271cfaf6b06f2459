"""Downloads that are killed at drawn moments; see tests/test_kills.py."""

import hashlib

import pytest
from kills import KILLS, kill_after, moments, run, tree
from web_server import CHUNK, serving

from lesionseg.data.release.download import Archive


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_from_what_it_has(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    contents = {name: bytes([number]) * (40 * CHUNK) for number, name in enumerate(("images.zip", "masks.zip"))}
    archives = [tuple(Archive(name, hashlib.sha256(content).hexdigest())) for name, content in contents.items()]
    # Behind the tool's back, as it knows the sums of the real ones, which are 14 GB.
    before = f"""
from lesionseg.data.release import download
download.ARCHIVES["test"] = [download.Archive(*archive) for archive in {archives}]
"""
    with serving(contents) as server:
        server.seconds = 0.5
        arguments = ["download_isic", "--splits", "test", "--base-url", server.url]
        seconds = run(*arguments, tmp_path / "whole", before=before)
        wanted = tree(tmp_path / "whole")
        assert list(wanted) == sorted(contents)
        for moment in moments(seconds, KILLS):
            out = tmp_path / f"{moment:.3f}"
            kill_after(moment, *arguments, out, before=before)
            left = tree(out) if out.exists() else {}
            assert {name: digest for name, digest in left.items() if name in contents}.items() <= wanted.items()
            begun = [
                (out / name).stat().st_size for name in left if name.endswith(".part") and f"{name}.version" in left
            ]
            server.requests.clear()
            run(*arguments, out, before=before)
            assert tree(out) == wanted
            ranges = [found for found in server.ranges() if found]
            assert ranges == [f"bytes={size}-" for size in begun if 0 < size < 40 * CHUNK]
