"""The page that a run of predictions leaves."""

import shutil

from helpers import draw_photos, load_tool

main = load_tool("predict").main


def test_a_page_shows_all_images_and_how_they_were_predicted(tmp_path, capsys):
    photos = draw_photos(tmp_path)
    (photos / "odd.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    arguments = ["otsu-blue", str(photos), "--out", str(out), "--fill-holes"]
    assert main(arguments) == 1
    page = (out / "report.html").read_text()
    assert page.count('<path class="prediction"') == 6
    assert "more/ISIC_0" in page
    assert page.index("odd.png: ") < page.index("<h2>Images</h2>")
    assert "<dt>masks: fill holes</dt><dd>yes</dd>" in page

    # Whatever becomes of the page, the masks are there.
    shutil.copy(photos / "ISIC_0.png", photos / "odd.png")
    (out / "ISIC_0_segmentation.png").write_bytes(b"")
    capsys.readouterr()
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert "report.html: not written, all else is: " in printed.err
    assert "predicted 7 images" in printed.out
    assert not (out / "report.html").exists()


def test_the_page_of_a_test_is_never_replaced(tmp_path, capsys):
    photos, work_dir = draw_photos(tmp_path), tmp_path / "work_dir"
    work_dir.mkdir()
    (work_dir / "report.json").touch()
    assert main(["otsu-blue", str(photos), "--out", str(work_dir), "--overwrite"]) == 1
    assert f"{work_dir}: it holds the report of a test, expected another folder." in capsys.readouterr().err
