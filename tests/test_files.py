"""Files that are whole or not there."""

import pytest

from lesionseg import files


def test_a_clone_is_a_copy_or_nothing(tmp_path):
    source, copy = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"bytes")
    if files.clone_file(source, copy):
        assert copy.read_bytes() == b"bytes"
        copy.write_bytes(b"other")
        assert source.read_bytes() == b"bytes"
    else:
        assert not copy.exists()


def test_a_clone_replaces_nothing(tmp_path):
    source, there = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"bytes")
    there.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        files.clone_file(source, there)
    assert there.read_bytes() == b"mine"
