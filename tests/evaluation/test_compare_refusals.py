"""Which tests cannot be compared, and what is said of them."""

import json
import math

import pytest
from finished_tests import COCO, FIRST, SECOND, result

from lesionseg.errors import DataError
from lesionseg.evaluation.compare import compare, read_tests
from lesionseg.evaluation.report_file import NO_CONFIG
from lesionseg.evaluation.scores import POOLED


def refusal(*work_dirs) -> str:
    with pytest.raises(DataError) as refused:
        compare(read_tests(work_dirs))
    assert len(refused.value.args) == len(str(refused.value).splitlines()) == 1
    return str(refused.value)


def test_other_images_are_refused_and_named(finish):
    first, second = finish("first", FIRST), finish("second", [*SECOND[1:], result("e", 4)], dataset_sha256="2" * 64)
    message = refusal(first, second)
    assert message.startswith(f"{second}: not made on the images of {first}: ")
    assert f"1 of 4 images only in {second} (e)" in message
    assert f"1 of 4 images only in {first} (a)" in message
    assert "data set fingerprint 222222222222, not 111111111111" in message
    assert "shared images" not in message


def test_one_test_of_other_images_among_several_is_to_be_left_out(finish):
    others = [finish("first"), finish("third", SECOND)]
    odd = finish("second", [*SECOND[1:], result("e", 4)], dataset_sha256="2" * 64)
    for work_dirs in ([others[0], odd, others[1]], [odd, *others]):
        message = refusal(*work_dirs)
        assert message.startswith(f"{odd}: not made on the images of {others[0]}: ")
        assert message.endswith("Or leave it out, and compare the 2 others.")


def test_of_many_other_images_five_are_named(finish):
    first = finish("first", [*FIRST, *(result(f"e{number}", 4) for number in range(9))])
    assert f"9 of 13 images only in {first} (e0, e1, e2, e3, e4 and 4 more)" in refusal(first, finish("second"))


def test_true_masks_of_another_size_or_area_are_refused(finish):
    others = [result("a", 4, pixels=80), result("b", 6, lesion=9), *FIRST[2:]]
    message = refusal(finish("first"), finish("second", others, dataset_sha256="2" * 64))
    assert "1 of 4 shared images with another size (a)" in message
    assert "1 of 4 shared images with a true lesion of another area (b)" in message


def test_files_of_other_bytes_are_refused(finish):
    message = refusal(finish("first"), finish("second", dataset_sha256="2" * 64))
    assert "ids, sizes and lesion areas agree, but the bytes of images or masks do not" in message


def test_masks_without_images_need_the_same_true_masks_only(finish):
    tested = finish("tested", truth_sha256="3" * 64)
    masks = dict(config=NO_CONFIG, dataset_sha256="3" * 64, truth_sha256="3" * 64, checkpoint_sha256="4" * 64)
    rows = compare(read_tests([tested, finish("masks", SECOND, **masks)]))
    assert rows[1].remarks == "other config none: folders of masks"
    others = finish("others", **(masks | dict.fromkeys(("dataset_sha256", "truth_sha256"), "5" * 64)))
    assert "data set fingerprint 555555555555, not 333333333333" in refusal(tested, others)
    # An earlier version did not write the fingerprint of the masks.
    assert "data set fingerprint 333333333333, not 111111111111" in refusal(finish("earlier"), finish("masks", **masks))


def test_coco_scores_of_other_instances_are_refused(finish):
    # The first has none, so that it is the second which the others must agree with.
    semantic = finish("semantic", annotations_sha256=None)
    instances = finish("instances", SECOND, coco=COCO, annotations_sha256="3" * 64)
    same = finish("same", coco=COCO, annotations_sha256="3" * 64)
    others = finish("others", coco=COCO, annotations_sha256="4" * 64)
    message = refusal(semantic, instances, same, others)
    assert message.startswith(f"{others}: its COCO scores do not have the true instances of {instances}: ")
    assert "annotations_sha256 444444444444, not 333333333333" in message
    assert len(compare(read_tests([semantic, instances, same]))) == 3


def test_every_test_on_other_images_has_its_line(finish):
    work_dirs = [finish("first"), finish("second", SECOND), finish("third", FIRST[1:]), finish("fourth", FIRST[:1])]
    with pytest.raises(DataError) as refused:
        compare(read_tests(work_dirs))
    assert [fault.split(":")[0] for fault in refused.value.args] == list(map(str, work_dirs[2:]))


def test_the_same_folder_twice_is_refused(finish, tmp_path):
    first = finish("first")
    (tmp_path / "link").symlink_to(first)
    for again in (first, f"{first}/../first", tmp_path / "link"):
        assert refusal(first, again) == f"{again}: given twice, expected every work_dir once. Leave one out."


def test_folders_without_a_finished_test_are_all_named(finish, tmp_path):
    trained = tmp_path / "trained"
    trained.mkdir()
    with pytest.raises(DataError) as refused:
        read_tests([trained, finish("first"), tmp_path / "none"])
    assert [fault.split(":")[0] for fault in refused.value.args] == [
        str(trained / "report.json"),
        str(tmp_path / "none" / "report.json"),
    ]
    assert refused.value.args[0].endswith(f"Run `tools/test.py CONFIG CHECKPOINT --work-dir {trained}`.")


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ('{"images": 4', "not JSON (Expecting"),
        ("[" * 100_000, "not JSON (maximum recursion"),
        ("[1]", "images, notes, per_image.jaccard, per_image.dice, per_image.threshold_jaccard and 14 more missing"),
        (None, "provenance.dataset_sha256, coco missing or damaged, expected a report of this version"),
    ],
)
def test_damaged_reports_are_refused(finish, text, fact):
    first = finish("first", dataset_sha256=None, coco=[])
    if text is not None:
        (first / "report.json").write_text(text)
    message = refusal(first)
    assert message.startswith(f"{first}/report.json: ")
    assert fact in message


@pytest.mark.parametrize(
    ("part", "named"),
    [
        (dict(coco={"segm_mAP": "x"}), "coco.segm_mAP"),
        (dict(coco={"segm_mAP": math.nan, "bbox_mAP": [0.5]}), "coco.segm_mAP, coco.bbox_mAP"),
        (dict(coco={"segm_mAP": 7.0}), "coco.segm_mAP"),
        (dict(pooled=dict.fromkeys(POOLED, 0.5) | dict(mDice=math.inf)), "pooled.mDice"),
        (dict(notes=["A note.", 3]), "notes[1]"),
        (dict(optimistic="yes"), "optimistic"),
    ],
)
def test_damaged_parts_of_a_report_are_named(finish, part, named):
    first = finish("first")
    path = first / "report.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | part))
    assert refusal(first).startswith(f"{path}: {named} missing or damaged, expected a report of this version. Run")


def test_a_damaged_fingerprint_of_annotations_is_named(finish):
    first = finish("first", annotations_sha256=7)
    assert refusal(first).startswith(f"{first}/report.json: provenance.annotations_sha256 missing or damaged")


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (lambda text: text.replace("jaccard", "iou"), "no column 'jaccard'"),
        (lambda text: text.replace("0.75", "0.75x"), "line 3 is damaged"),
        (lambda text: text.replace("0.75", "nan"), "line 3 is damaged"),
        (lambda text: text[:-30], "line 5 is damaged"),
        (lambda text: text.replace("b,b.jpg", "a,b.jpg"), "line 3 is damaged"),
        (lambda text: text.replace("b,b.jpg", '"b,b.jpg'), "is damaged"),
        (lambda text: text.replace("0.75", "0.74"), "per_image.csv does not have the means of report.json"),
        (lambda text: "\n".join(text.splitlines()[:-1]), "per_image.csv does not have the means of report.json"),
        (lambda text: text.splitlines()[0], "per_image.csv does not have the means of report.json"),
        (lambda text: "", "per_image.csv does not have the means of report.json"),
        (lambda text: None, "per_image.csv: no such file"),
    ],
)
def test_damaged_tables_are_refused(finish, change, fact):
    first = finish("first")
    path = first / "per_image.csv"
    text = change(path.read_text())
    path.unlink() if text is None else path.write_text(text)
    assert fact in refusal(first)


def test_bytes_that_are_no_text_are_refused(finish):
    for name in ("report.json", "per_image.csv"):
        first = finish("first")
        (first / name).write_bytes(b"\xff\xfe\x00")
        assert str(first / name) in refusal(first)
