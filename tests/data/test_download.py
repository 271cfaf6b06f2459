import errno
import hashlib
import importlib.util
import io
import itertools
import os
import re
from collections import namedtuple
from pathlib import Path

import pytest
from web_server import Handler, serving

from lesionseg.data.release import download as download_module
from lesionseg.data.release.download import ARCHIVES, Archive, download
from lesionseg.errors import DataError
from lesionseg.files import lock_folder

NAME = "ISIC2018_Task1_Test_GroundTruth.zip"
CONTENT = bytes(range(256)) * 40
ARCHIVE = Archive(NAME, hashlib.sha256(CONTENT).hexdigest())
PART, VERSION = f"{NAME}.part", f"{NAME}.part.version"
OWN_VERSION = f'{len(CONTENT)} "1"'
QUICK = (0.0, 0.0)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving({NAME: CONTENT}) as server:
        yield server


@pytest.fixture
def main(monkeypatch):
    """tools/download_isic.py's main, with one small archive for the test split."""
    path = Path(__file__).parents[2] / "tools" / "download_isic.py"
    spec = importlib.util.spec_from_file_location("download_isic", path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setitem(download_module.ARCHIVES, "test", (ARCHIVE,))
    return tool.main


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def leave_part(folder, length, version=OWN_VERSION):
    (folder / PART).write_bytes(CONTENT[:length])
    (folder / VERSION).write_text(version)


def test_whole_fetch(server, tmp_path):
    out = tmp_path / "new" / "folder"
    assert download([ARCHIVE], out, server.url, QUICK) == [out / NAME]
    assert (out / NAME).read_bytes() == CONTENT
    assert names(out) == [NAME]
    assert server.requests == [("HEAD", None), ("GET", None)]


def test_second_run_checks_and_asks_nothing(server, tmp_path):
    download([ARCHIVE], tmp_path, server.url, QUICK)
    server.requests.clear()
    assert download([ARCHIVE], tmp_path, server.url, QUICK) == []
    assert server.requests == []


def test_a_cut_connection_is_taken_up_where_it_broke(server, tmp_path):
    server.cuts = iter([1000, 5000])
    download([ARCHIVE], tmp_path, server.url, QUICK)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=1000-", "bytes=6000-"]


def test_a_later_run_goes_on_from_the_part(server, tmp_path):
    leave_part(tmp_path, 4000)
    download([ARCHIVE], tmp_path, server.url, QUICK)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert server.ranges() == ["bytes=4000-"]
    assert names(tmp_path) == [NAME]


def test_a_whole_part_is_only_checked(server, tmp_path):
    leave_part(tmp_path, len(CONTENT))
    download([ARCHIVE], tmp_path, server.url, QUICK)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert server.ranges() == []


def test_a_server_that_ignores_ranges_starts_over(server, tmp_path):
    server.honours_range = False
    server.cuts = iter([1000])
    download([ARCHIVE], tmp_path, server.url, QUICK)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=1000-"]


def test_a_server_that_ignores_ranges_and_always_breaks_off_is_given_up(server, tmp_path):
    server.honours_range = False
    server.cuts = itertools.repeat(1000)
    with pytest.raises(DataError, match="the connection ended at byte 1000, expected more"):
        download([ARCHIVE], tmp_path, server.url, QUICK)
    assert len(server.ranges()) == 1 + len(QUICK) + 1


@pytest.mark.parametrize("version", [f'{len(CONTENT)} "0"', f'{len(CONTENT) - 1} "1"', ""])
def test_a_changed_file_starts_over(server, tmp_path, version):
    leave_part(tmp_path, 4000, version)
    download([ARCHIVE], tmp_path, server.url, QUICK)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert server.ranges() == [None]


def test_a_part_of_unknown_origin_starts_over(server, tmp_path):
    (tmp_path / PART).write_bytes(b"something else")
    download([ARCHIVE], tmp_path, server.url, QUICK)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert server.ranges() == [None]


def test_a_wrong_checksum_is_told_and_the_next_run_starts_anew(server, tmp_path):
    server.files[NAME] = bytes(len(CONTENT))
    found = hashlib.sha256(server.files[NAME]).hexdigest()
    with pytest.raises(DataError, match=f"{NAME}: what came has the SHA-256 {found}, expected {ARCHIVE.sha256}"):
        download([ARCHIVE], tmp_path, server.url, QUICK)
    assert names(tmp_path) == []
    server.files[NAME] = CONTENT
    download([ARCHIVE], tmp_path, server.url, QUICK)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_wrong_file_of_the_same_name_stays_and_is_told(server, tmp_path):
    (tmp_path / NAME).write_bytes(b"mine")
    with pytest.raises(
        DataError, match=rf"{NAME}: it was there already .* Move it away or delete it, and run the same"
    ):
        download([ARCHIVE], tmp_path, server.url, QUICK)
    assert (tmp_path / NAME).read_bytes() == b"mine"
    assert names(tmp_path) == [NAME]
    (tmp_path / NAME).unlink()
    download([ARCHIVE], tmp_path, server.url, QUICK)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_two_downloads_into_one_folder_do_not_mix(server, tmp_path):
    with (
        lock_folder(tmp_path, "download"),
        pytest.raises(DataError, match="another run is writing it, expected one at a time"),
    ):
        download([ARCHIVE], tmp_path, server.url, QUICK)
    assert names(tmp_path) == []
    assert download([ARCHIVE], tmp_path, server.url, QUICK) == [tmp_path / NAME]


@pytest.mark.parametrize("name", [PART, VERSION])
def test_links_and_pipes_at_the_names_of_parts_are_refused(server, tmp_path, name):
    out, mine = tmp_path / "out", tmp_path / "mine"
    out.mkdir()
    mine.write_bytes(b"mine")
    (out / name).symlink_to(mine)
    with pytest.raises(DataError, match=r"a link or no file, expected nothing there .* Remove it"):
        download([ARCHIVE], out, server.url, QUICK)
    assert mine.read_bytes() == b"mine"


def test_a_pipe_in_place_of_an_archive_is_not_waited_for(server, tmp_path):
    os.mkfifo(tmp_path / NAME)
    with pytest.raises(DataError, match=rf"{NAME}: a pipe or a device, expected a regular file"):
        download([ARCHIVE], tmp_path, server.url, QUICK)


def test_a_damaged_version_starts_over(server, tmp_path):
    leave_part(tmp_path, 3000)
    (tmp_path / VERSION).write_bytes(b"\xff\xfe")
    download([ARCHIVE], tmp_path, server.url, QUICK)
    assert server.ranges() == [None]


@pytest.mark.parametrize("length", ["many", "-1", "", "1e3", "0"])
def test_a_size_that_is_no_number_is_told(server, tmp_path, monkeypatch, length):
    send = Handler.send_header
    monkeypatch.setattr(
        Handler, "send_header", lambda self, key, value: send(self, key, length if key == "Content-Length" else value)
    )
    with pytest.raises(DataError, match="the server does not say the size, expected a Content-Length"):
        download([ARCHIVE], tmp_path, server.url, QUICK)


@pytest.mark.parametrize(
    "address",
    [
        "http://[::1",
        "http://[x]/",
        "http://",
        "https:///2018",
        "http://example.org:port/",
        "http://example.org:99999/",
        "http://ex ample.org/",
        "http://example.org/2018 archives",
        "http://exämple.org/",
        "http://example.org/lésion",
        "http://example.org/\n",
    ],
)
def test_what_is_no_address_is_told_at_once(tmp_path, address):
    with pytest.raises(
        DataError, match=r"not a web address \(.*\), expected one such as https://.* Correct --base-url"
    ):
        download([ARCHIVE], tmp_path / "out", address)
    assert not (tmp_path / "out").exists()


def test_a_server_that_sends_on_to_no_address_is_told(server, tmp_path, monkeypatch):
    def answer(self, send_body):
        self.send_response(302)
        self.send_header("Location", "http://[::1/")
        self.end_headers()

    monkeypatch.setattr(Handler, "answer", answer)
    with pytest.raises(DataError, match=r"expected the (server to answer|archive)"):
        download([ARCHIVE], tmp_path, server.url, QUICK)


def test_a_missing_archive_is_told_before_anything_is_fetched(server, tmp_path):
    other = Archive("ISIC2018_Task1_Other.zip", "0" * 64)
    with pytest.raises(DataError, match=r"Other\.zip: the server says 404 .*, expected the archive\. .*by hand"):
        download([ARCHIVE, other], tmp_path / "new", server.url, QUICK)
    assert server.requests == [("HEAD", None), ("HEAD", None)]
    assert names(tmp_path) == []


def test_a_download_that_brings_nothing_leaves_nothing(server, tmp_path):
    server.cuts = itertools.repeat(0)
    with pytest.raises(DataError, match="the connection ended at byte 0"):
        download([ARCHIVE], tmp_path / "new", server.url, QUICK)
    assert names(tmp_path) == []


def test_a_busy_server_is_asked_again(server, tmp_path, capsys):
    server.statuses = iter([503, 429])
    download([ARCHIVE], tmp_path, server.url, QUICK)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert "503" in capsys.readouterr().err


def test_a_server_that_stays_busy_is_given_up(server, tmp_path):
    server.statuses = itertools.repeat(503)
    with pytest.raises(DataError, match="the server says 503"):
        download([ARCHIVE], tmp_path, server.url, QUICK)
    assert len(server.requests) == len(QUICK) + 1


def test_waits_grow_between_the_tries(server, tmp_path, monkeypatch):
    slept = []
    monkeypatch.setattr(download_module.time, "sleep", slept.append)
    server.statuses = iter([503, 503, 503])
    download([ARCHIVE], tmp_path, server.url)
    assert slept == [1, 2, 4]


def test_refused_connection_says_what_to_do(server, tmp_path):
    server.server_close()
    with pytest.raises(DataError) as caught:
        download([ARCHIVE], tmp_path, server.url, QUICK)
    text = str(caught.value)
    assert text.startswith(f"{server.url}/{NAME}: Connection refused, expected the server to answer")
    assert f"by hand from https://challenge.isic-archive.com/data/#2018 and put them into {tmp_path}" in text


def test_too_little_space_is_told_before_anything_is_fetched(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(download_module.shutil, "disk_usage", lambda _: usage(0, 0, len(CONTENT) - 4001))
    leave_part(tmp_path, 4000)
    with pytest.raises(DataError, match=r"GB are free, expected .* still to come"):
        download([ARCHIVE], tmp_path, server.url, QUICK)
    assert server.ranges() == []
    monkeypatch.setattr(download_module.shutil, "disk_usage", lambda _: usage(0, 0, len(CONTENT) - 4000))
    download([ARCHIVE], tmp_path, server.url, QUICK)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_full_disk_leaves_the_part_for_the_next_run(server, tmp_path, monkeypatch):
    class FullDisk(io.FileIO):
        room = 3000

        def write(self, data):
            if not self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            written = super().write(data[: self.room])
            self.room -= written
            return written

    with monkeypatch.context() as patched:
        patched.setattr(download_module, "open", lambda path, mode, buffering: FullDisk(path, mode), raising=False)
        with pytest.raises(DataError, match=rf"{PART}: No space left on device, expected room"):
            download([ARCHIVE], tmp_path, server.url, QUICK)
    assert (tmp_path / PART).read_bytes() == CONTENT[:3000]
    assert not (tmp_path / NAME).exists()
    download([ARCHIVE], tmp_path, server.url, QUICK)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=3000-"]


def test_tool_fetches_and_names_the_next_command(server, tmp_path, main, capsys):
    assert main([str(tmp_path), "--splits", "test", "--base-url", server.url + "/"]) == 0
    assert (tmp_path / NAME).read_bytes() == CONTENT
    note, last = capsys.readouterr().out.splitlines()
    assert "CC BY-NC 4.0" in note
    assert "1902.03368" in note
    assert last.startswith(f"{tmp_path} holds 1 archives, 1 of them fetched now")
    assert last.endswith(f"uv run tools/convert_isic.py {tmp_path} data/ISIC --short-edge 512")


def test_tool_refuses_a_file_as_folder(server, tmp_path, main, capsys):
    (tmp_path / "file").write_text("mine")
    assert main([str(tmp_path / "file"), "--base-url", server.url]) == 1
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'file'}: a file, expected a folder for the archives. Choose another name.\n"
    )
    assert server.requests == []


def test_tool_refuses_another_kind_of_address(tmp_path, main, capsys):
    assert main([str(tmp_path / "out"), "--base-url", "file:///tmp"]) == 1
    assert "expected http:// or https://" in capsys.readouterr().err
    assert names(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_tool_names_a_folder_without_permission(server, tmp_path, main, capsys):
    tmp_path.chmod(0o500)
    assert main([str(tmp_path / "out"), "--splits", "test", "--base-url", server.url]) == 1
    tmp_path.chmod(0o700)
    assert "Permission denied, expected a path that you may write to. Choose a folder" in capsys.readouterr().err


def test_every_split_has_its_two_archives():
    assert {split: [archive.name for archive in archives] for split, archives in ARCHIVES.items()} == {
        split.lower(): [f"ISIC2018_Task1-2_{split}_Input.zip", f"ISIC2018_Task1_{split}_GroundTruth.zip"]
        for split in ("Training", "Validation", "Test")
    }
    assert all(re.fullmatch("[0-9a-f]{64}", archive.sha256) for pair in ARCHIVES.values() for archive in pair)
