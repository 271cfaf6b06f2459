"""Masks from marked photographs, and masks of several findings."""

import cv2
import numpy as np
import pytest
from drawn_release import failure, image_bytes, index, mask_bytes, write_folder

from lesionseg.data.release.layouts.marked import find_marked

HEIGHT, WIDTH = 60, 80
SKIN = np.random.default_rng(0).integers(100, 110, (HEIGHT, WIDTH, 3), np.uint8)


@pytest.fixture
def marked(run):
    """Run the tool on marked photographs."""
    return lambda *argv: run(*argv[:2], "--layout", "marked", *argv[2:])


def png(picture: np.ndarray) -> bytes:
    return cv2.imencode(".png", picture)[1].tobytes()


def photograph(number: int = 0) -> np.ndarray:
    return SKIN + np.uint8(number)


def with_mark(number: int = 0, left: int = 10) -> np.ndarray:
    """A photograph with a mark of 12 x 20 pixels."""
    picture = photograph(number)
    picture[20:32, left : left + 20] = (0, 255, 255)
    return picture


def write(folder, **pictures):
    write_folder(folder, {f"{name}.png": png(picture) for name, picture in pictures.items()})
    return folder


def test_folders_tell_the_splits(tmp_path):
    names = {
        f"{split}/{id}_{kind}_acne": photograph() for split, id in (("train", 1), ("test", 2)) for kind in ("org", 9)
    }
    listing = find_marked(write(tmp_path, **names))
    assert not listing.faults
    assert [(pair.split, pair.id, pair.finding) for pair in listing.pairs] == [
        ("training", "1", "acne"),
        ("test", "2", "acne"),
    ]


def write_two_findings(folder):
    """One photograph with two findings that overlap, and one with one."""
    return write(
        folder,
        **{"1_org_acne": photograph(), "1_39_acne": with_mark(), "1_org_hemo": photograph()},
        **{"1_40_hemo": with_mark(left=20), "2_ORG_hemo": photograph(1), "2_1_Hemo": with_mark(1)},
    )


def lesion(path) -> np.ndarray:
    mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) <= {0, 255}
    return mask > 0


def test_the_mask_is_where_both_photographs_differ(tmp_path, out, marked):
    raw = write(tmp_path / "raw", **{"0001_org_acne": photograph(), "0001_39_acne": with_mark()})
    code, printed, _ = marked(raw, out)
    assert (code, printed.splitlines()[-1]) == (0, f"Made {out}: 1 training (files: 1 copied, 1 rewritten)")
    mask = lesion(out / "annotations/training/acne/0001.png")
    assert mask.sum() == 12 * 20
    assert mask[20:32, 10:30].all()
    assert (out / "images/training/0001.png").read_bytes() == (raw / "0001_org_acne.png").read_bytes()
    sheet = cv2.imread(str(out / "marks.jpg"))
    assert sheet.shape[1] > 3 * 300


def test_an_image_may_have_several_findings(tmp_path, out, marked):
    assert marked(write_two_findings(tmp_path / "raw"), out)[0] == 0
    found = sorted(str(path.relative_to(out / "annotations")) for path in out.rglob("annotations/*/*/*"))
    assert found == ["training/acne/1.png", "training/hemo/1.png", "training/hemo/2.png"]
    assert sorted(path.name for path in (out / "images/training").iterdir()) == ["1.png", "2.png"]
    assert (out / "splits/training.txt").read_text() == "1\n2\n"
    rows = (out / "index.csv").read_text().splitlines()
    assert rows[0] == "id,split,image,mask,width,height,lesion_share,components,finding"
    assert [row.split(",")[0::8] for row in rows[1:]] == [["1", "acne"], ["1", "hemo"], ["2", "hemo"]]
    # 240 / 4800
    assert rows[1] == "1,training,images/training/1.png,annotations/training/acne/1.png,80,60,0.050000,1,acne"


def test_random_splits_count_images_and_keep_their_masks_together(tmp_path, out, marked):
    raw = write_two_findings(tmp_path / "raw")
    for number in (3, 4):
        write(raw, **{f"{number}_org_acne": photograph(number), f"{number}_1_acne": with_mark(number)})
    assert marked(raw, out, "--split", "0.5,0.5")[0] == 0
    ids = {split: (out / f"splits/{split}.txt").read_text().split() for split in ("training", "validation")}
    assert [len(found) for found in ids.values()] == [2, 2]
    assert len(list(out.rglob("annotations/*/*/1.png"))) == 2
    assert len({path.parts[-3] for path in out.rglob("annotations/*/*/1.png")}) == 1


def test_an_earlier_folder_of_findings_may_be_replaced(tmp_path, out, marked):
    raw = write_two_findings(tmp_path / "raw")
    assert marked(raw, out)[0] == 0
    (line,) = failure(marked, out, raw, out)
    assert "pass --overwrite" in line
    assert marked(raw, out, "--overwrite")[0] == 0


def test_shrunk_photographs_have_shrunk_masks(tmp_path, out, marked):
    assert marked(write_two_findings(tmp_path / "raw"), out, "--short-edge", 30)[0] == 0
    assert lesion(out / "annotations/training/hemo/1.png").shape == (30, 40)
    assert index(out)["1"]["width"] == "80"


def test_thresholds_are_told_by_finding(tmp_path, out, marked):
    faint = photograph()
    faint[20:32, 10:30] += 15
    raw = write(tmp_path / "raw", **{"1_org_hemo": photograph(), "1_1_hemo": faint})
    assert marked(raw, out)[0] == 0, "10 for hemo"
    for thresholds in (["acne=1", "hemo=15"], ["15"]):
        (line,) = failure(marked, tmp_path / "x", raw, tmp_path / "x", "--threshold", *thresholds)
        assert "1 of 2 files: it does not differ from the original photograph by more than 15 of 255" in line
    assert marked(raw, tmp_path / "y", "--threshold", "auto", "--fill-outlines")[0] == 0
    (line,) = failure(marked, tmp_path / "x", raw, tmp_path / "x", "--threshold", "hem=15")
    assert line.startswith("--threshold: no photograph shows hem, expected findings of")
    assert "(hemo). Correct the name." in line


def test_all_faults_are_told_before_anything_is_written(tmp_path, out, marked):
    raw = write(
        tmp_path / "raw",
        **{"1_org_acne": photograph(), "1_2_acne": with_mark()[:50]},
        **{"2_org_acne": photograph(), "2_2_acne": photograph()},
        **{"3_org_acne": photograph(), "4_2_acne": with_mark()},
        **{"5_org_acne": photograph(), "5_1_acne": with_mark(), "5_2_acne": with_mark()},
        **{"6_org_acne": photograph(), "6_1_acne": with_mark(), "6_org_hemo": photograph(7), "6_1_hemo": with_mark(7)},
        **{"7_org_acne": photograph(), "7_1_acne": 255 - photograph()},
    )
    lines = failure(marked, out, raw, out)
    for fact in (
        "1 of 7 ids occur more than once (5 (acne) as 5_1_acne.png and 5_2_acne.png), expected one file each",
        "1 of 7 marked photographs have no original photograph (4 (acne)), expected <id>_org_<finding>.jpg",
        "1 of 7 original photographs have no marked photograph (3 (acne)), expected <id>_<digits>_<finding>.jpg",
        "the marked photograph has another size than its image (1: 80x50, image 80x60), expected the same",
        "it does not differ from the original photograph by more than 20 of 255, specks apart (2_2_acne.png)",
        "two photographs have one id and do not show the same (6_org_hemo.png and 6_org_acne.png), expected the same",
        "almost all of it differs from the original photograph by more than 20 of 255 (7_1_acne.png)",
    ):
        assert sum(fact in line for line in lines) == 1, (fact, lines)
    assert len(lines) == 7


def test_a_folder_without_marked_photographs(tmp_path, out, marked):
    raw = write(tmp_path / "raw", other=photograph())
    note, *lines = failure(marked, out, raw, out)
    assert "left out 1 files that are no photograph as taken or as marked (other.png)" in note
    assert "there is no original photograph in it, expected <id>_org_<finding>.jpg. Complete the pairs, or" in lines[0]
    (line,) = failure(marked, out, tmp_path / "none", out)
    assert "none: no such folder" in line


def test_two_folders_go_by_name(tmp_path):
    raw = tmp_path / "raw"
    for folder in ("taken", "drawn/acne", "drawn/hemo"):
        write(raw / folder, a_1_b=photograph())
    (pair,) = find_marked(raw, "taken", "drawn/acne").pairs
    assert (pair.id, pair.finding) == ("a_1_b", "")
    pairs = find_marked(raw, "taken", "drawn/{finding}").pairs
    assert [(pair.id, pair.finding) for pair in pairs] == [("a_1_b", "acne"), ("a_1_b", "hemo")]
    write(raw / "x", **{"c/a_org_mela": photograph()})
    write(raw / "y", **{"c/a_12_mela": with_mark()})
    (pair,) = find_marked(raw, "x", "y").pairs
    assert (pair.id, pair.finding, pair.mask.name) == ("c/a", "mela", "c/a_12_mela.png")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threshold", "acne=255"], "'acne=255', expected acne=20, 20 or auto, with numbers from 0 to 254"),
        (["--threshold", "acne=x"], "'acne=x', expected"),
        (["--masks", "x"], "--masks needs --images"),
        (["--foreground", "1"], "--foreground needs --layout isic or pairs"),
        (["--inverted"], "--inverted needs --layout isic or pairs"),
        (["--layout", "pairs", "--fill-outlines"], "--fill-outlines needs --layout marked"),
        (["--layout", "pairs", "--images", "{finding}"], "--images with {finding} needs --masks with it"),
    ],
)
def test_options_of_other_layouts_are_wrong_usage(tmp_path, marked, capsys, options, message):
    with pytest.raises(SystemExit) as ending:
        marked(tmp_path, tmp_path / "out", *options)
    assert ending.value.code == 2
    assert message in capsys.readouterr().err


def test_pairs_with_a_folder_a_finding(tmp_path, out, run):
    raw = tmp_path / "raw"
    write_folder(raw, {"photos/a.jpg": image_bytes(0), "photos/b/a.jpg": image_bytes(1)})
    write_folder(raw, {f"drawn/{name}_mask.png": mask_bytes(0) for name in ("acne/a", "hemo/a", "hemo/b/a")})
    options = ["--layout", "pairs", "--images", "photos", "--masks", "drawn/{finding}", "--mask-suffix", "_mask"]
    assert run(raw, out, *options)[0] == 0
    found = sorted(str(path.relative_to(out / "annotations")) for path in out.rglob("annotations/**/*.png"))
    assert found == ["training/acne/a.png", "training/hemo/a.png", "training/hemo/b/a.png"]
    write_folder(raw, {"photos/c.jpg": image_bytes(2), "drawn/acne/d.png": mask_bytes(0)})
    lines = failure(run, tmp_path / "x", raw, tmp_path / "x", *options)
    assert "1 of 4 masks have no image (d (acne))" in lines[0]
    assert "1 of 3 images have no mask (c)" in lines[1]


def test_images_may_lie_by_finding_too(tmp_path, out, run):
    raw = tmp_path / "raw"
    for number, finding in enumerate(("acne", "mela")):
        write_folder(raw / f"{finding}_test", {"image/1.jpg": image_bytes(number), "label/1.png": mask_bytes(number)})
    options = ["--layout", "pairs", "--masks", "{finding}_test/label"]
    (line,) = failure(run, out, raw, out, *options, "--images", "{finding}_test/image")
    assert "two photographs have one id and do not show the same (1.jpg and 1.jpg), expected the same" in line
    assert run(raw, out, "--layout", "pairs", "--masks", "*/label", "--images", "*/image")[0] == 0


@pytest.mark.shared_data
def test_real_marks(shared_data, out, marked):
    assert marked(shared_data / "marked", out)[0] == 0
    row = index(out)["0001"]
    assert (row["finding"], row["lesion_share"], row["components"]) == ("acne", "0.013704", "22")
