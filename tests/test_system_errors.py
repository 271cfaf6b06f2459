import errno
import os

import pytest

from lesionseg.files import write_bytes
from lesionseg.system_errors import describe_system_error


@pytest.fixture
def there(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to("circle")
    return tmp_path


def said(function, *arguments):
    with pytest.raises(OSError, match="Errno") as raised:
        function(*arguments)
    return describe_system_error(raised.value)


def test_what_is_in_the_way_and_what_to_do(there):
    file, folder, circle = there / "file", there / "folder", there / "circle"
    for line, expected in [
        (said(open, there / "none"), f"{there / 'none'}: No such file or directory, expected a path that exists. C"),
        (said(open, folder), f"{folder}: Is a directory, expected a file. Choose another path, or move that folder"),
        (said(folder.mkdir), f"{folder}: File exists, expected nothing there. Choose another path, or move away"),
        (said(file.mkdir), f"{file}: File exists, expected a folder. Choose another path, or move that file away."),
        (said((file / "a" / "b").mkdir), f"{file}: Not a directory, expected a folder. Choose another path, or move"),
        (said(os.mkdir, "/dev/null/x"), "/dev/null: Not a directory, expected a folder. Choose another path"),
        (said(there.rmdir), f"{there}: Directory not empty, expected an empty folder. Choose another path"),
        (said(open, there / ("x" * 256)), "x: File name too long, expected a name of at most 255 bytes. Give it a sh"),
        (said(open, circle), f"{circle}: Too many levels of symbolic links, expected a file or folder that is no link"),
    ]:
        assert expected in line
        assert line.endswith(".")


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_system_error_has_a_next_step(number):
    line = describe_system_error(OSError(number, os.strerror(number), "a.png"))
    assert line.startswith(f"a.png: {os.strerror(number)}, expected ")
    assert line.count(". ") >= 1


def test_scratch_names_are_not_shown(there):
    assert said(write_bytes, there / "folder", b"").startswith(f"{there / 'folder'}: Is a directory")
    assert said(write_bytes, there / "file" / "a.png", b"").startswith(f"{there / 'file'}: ")
    for aside in (".a1b2c3_4.part/a.png", ".a.png.a1b2c3_4.part/a.png"):
        assert describe_system_error(OSError(28, "Full", str(there / aside))).startswith(f"{there / 'a.png'}: Full")
    converting = there / ".ISIC.converting" / "new" / "index.csv"
    assert describe_system_error(OSError(28, "Full", str(converting))).startswith(f"{there / 'ISIC' / 'index.csv'}: F")


def test_bytes_and_no_names():
    assert describe_system_error(OSError(5, "Odd", b"l\xe9sion.png")).startswith("l\udce9sion.png: Odd, expected")
    assert describe_system_error(OSError(5, "Odd")).startswith("file system: Odd, expected")
    assert describe_system_error(OSError(5, "Odd", 3)).startswith("file system: Odd, expected")


def test_what_may_not_be_read_is_no_matter_of_where_results_go(there, monkeypatch):
    denied = PermissionError(errno.EACCES, "Permission denied", str(there / "file"))
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.R_OK)
    assert describe_system_error(denied) == (
        f"{there / 'file'}: Permission denied, expected a path that you may read. Change its permissions, or ask its "
        "owner to."
    )
    below = PermissionError(errno.EACCES, "Permission denied", str(there / "folder" / "a.png"))
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.X_OK)
    assert describe_system_error(below).startswith(f"{there / 'folder'}: Permission denied, expected a path that you m")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    assert "Choose a folder that you may write to" in describe_system_error(below)
