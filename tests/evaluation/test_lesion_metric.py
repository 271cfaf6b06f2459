import pickle

import cv2
import numpy as np
import pytest
import torch
from drawn_pairs import HEIGHT, WIDTH, draw_pair, make_sample
from mmengine.evaluator import Evaluator

from lesionseg.errors import DataError
from lesionseg.evaluation.lesion_metric import LesionMetric
from lesionseg.evaluation.scores import PER_IMAGE, POOLED, Confusion, mean_scores, per_image_scores, pooled_scores
from lesionseg.pixels.rle import pack_mask, unpack_mask


def sample_of(index: int, folder: str = ""):
    id = f"{folder}ISIC_{index:07}"
    return make_sample(f"images/{id}.jpg", f"masks/{id}.png", *draw_pair(index), id=id)


def counts_of(indices) -> list[Confusion]:
    return [Confusion.from_masks(*draw_pair(index)) for index in indices]


def test_mmengine_builds_and_runs_it_by_name():
    evaluator = Evaluator([dict(type="LesionMetric")])
    evaluator.process([sample_of(3), sample_of(1)])
    evaluator.process([sample_of(2)])
    scores = evaluator.evaluate(size=3)

    counts = counts_of([1, 2, 3])
    means, pooled = mean_scores([per_image_scores(image) for image in counts]), pooled_scores(counts)
    assert scores == {f"lesion/{name}": means[name] for name in PER_IMAGE} | {
        f"lesion/pooled_{name}": pooled[name] for name in POOLED
    }
    assert evaluator.metrics[0].score_names == list(scores)


def test_rows_are_sorted_and_say_what_was_measured():
    metric = LesionMetric()
    metric.process({}, [sample_of(index).to_dict() for index in (4, 1)])
    metric.evaluate(2)

    assert [row.id for row in metric.table] == ["ISIC_0000001", "ISIC_0000004"]
    truth, prediction = draw_pair(4)
    row = metric.table[1].row()
    assert row["image"] == "images/ISIC_0000004.jpg"
    assert row["truth"] == "masks/ISIC_0000004.png"
    assert row["truth_share"] == np.mean(truth)
    assert row["prediction_share"] == np.mean(prediction)
    assert row["jaccard"] == np.sum(truth & prediction) / np.sum(truth | prediction)
    assert np.array_equal(unpack_mask(metric.table[1].prediction), prediction)


def test_memory_stays_flat():
    metric = LesionMetric()
    height, width = 1500, 2000
    mask = np.zeros((height, width), np.uint8)
    cv2.ellipse(mask, (900, 700), (500, 300), 30, 0, 360, 1, -1)
    sample = make_sample("a.jpg", "a.png", mask, mask, (height, width))
    metric.process({}, [sample.to_dict()])
    assert len(pickle.dumps(metric.results)) < 10_000


def test_masks_are_written_in_the_form_of_a_submission(tmp_path):
    metric = LesionMetric(out_dir=str(tmp_path / "masks"))
    metric.process({}, [sample_of(3).to_dict(), sample_of(3, "second/").to_dict()])
    metric.evaluate(2)

    written = sorted(path.relative_to(tmp_path / "masks").as_posix() for path in tmp_path.rglob("*.png"))
    assert written == ["ISIC_0000003_segmentation.png", "second/ISIC_0000003_segmentation.png"]
    picture = cv2.imread(str(tmp_path / "masks" / written[0]), cv2.IMREAD_UNCHANGED)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, draw_pair(3)[1] * np.uint8(255))


def test_packed_masks_are_exact():
    for index in range(30):
        for mask in draw_pair(index):
            assert np.array_equal(unpack_mask(pack_mask(mask)), mask)


def test_ignored_pixels_are_refused():
    sample = sample_of(3).to_dict()
    sample["gt_sem_seg"]["data"][0, 2, 5] = 255
    with pytest.raises(DataError, match=r"masks/ISIC_0000003\.png: class indices up to 255, expected"):
        LesionMetric().process({}, [sample])


@pytest.mark.parametrize("which", ["truth", "prediction"])
def test_masks_of_another_size_than_the_image_are_refused(which):
    sample = sample_of(3).to_dict()
    field = dict(truth="gt_sem_seg", prediction="pred_sem_seg")[which]
    sample[field]["data"] = torch.zeros(1, WIDTH, HEIGHT, dtype=torch.int64)
    with pytest.raises(DataError, match=rf"images/ISIC_0000003\.jpg: a {which} of 24x36 pixels, .* original 36x24"):
        LesionMetric().process({}, [sample])


def test_a_pipeline_that_drops_the_id_is_an_error():
    sample = sample_of(3).to_dict()
    del sample["image_id"]
    with pytest.raises(DataError, match=r"images/ISIC_0000003\.jpg: its sample has no image_id, .* meta_keys"):
        LesionMetric().process({}, [sample])


def test_a_missing_truth_is_an_error():
    sample = sample_of(3).to_dict()
    del sample["gt_sem_seg"]
    with pytest.raises(DataError, match=r"images/ISIC_0000003\.jpg: no true mask"):
        LesionMetric().process({}, [sample])


def test_an_image_measured_twice_is_an_error():
    metric = LesionMetric()
    metric.process({}, [sample_of(index).to_dict() for index in (3, 4, 3)])
    with pytest.raises(DataError, match=r"1 ids occur more than once \(ISIC_0000003\)"):
        metric.evaluate(3)


def test_no_images_are_an_error():
    with pytest.raises(DataError, match="no images"):
        LesionMetric().evaluate(0)


def test_two_processes_count_padded_images_once(tmp_path, monkeypatch):
    # Of five images, rank 0 measures 0, 2, 4 and rank 1 measures 1, 3 and 0 again as padding.
    other = LesionMetric()
    other.process({}, [sample_of(index).to_dict() for index in (1, 3, 0)])
    (tmp_path / "part_1.pkl").write_bytes(pickle.dumps(other.results, protocol=2))
    monkeypatch.setattr("mmengine.dist.dist.get_dist_info", lambda group=None: (0, 2))

    metric = LesionMetric(collect_dir=str(tmp_path))
    metric.process({}, [sample_of(index).to_dict() for index in (0, 2, 4)])
    scores = metric.evaluate(size=5)

    assert [row.id for row in metric.table] == [f"ISIC_{index:07}" for index in range(5)]
    assert (
        scores["lesion/jaccard"] == mean_scores([per_image_scores(image) for image in counts_of(range(5))])["jaccard"]
    )


# Instances of a detector


def instances_of(*boxes, scores, labels=None):
    """A (24, 36) bool mask for each (top, bottom, left, right), of the first class."""
    masks = np.zeros((len(boxes), HEIGHT, WIDTH), bool)
    for mask, (top, bottom, left, right) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = True
    labels = torch.tensor(labels or [0] * len(boxes), dtype=torch.long)
    return dict(masks=torch.from_numpy(masks), scores=torch.tensor(scores), labels=labels)


def detected(detections, truth=(0, 10, 0, 10)):
    """What a model of MMDetection returns for one image, as a dict."""
    mask = np.zeros((1, HEIGHT, WIDTH), np.uint8)
    mask[0, truth[0] : truth[1], truth[2] : truth[3]] = 1
    return dict(
        image_id="a",
        img_path="images/a.jpg",
        seg_map_path="masks/a.png",
        ori_shape=(HEIGHT, WIDTH),
        gt_sem_seg=dict(sem_seg=torch.from_numpy(mask)),
        pred_instances=detections,
    )


# The truth is 100 pixels; the best-scored detection has 50 of them, the next all of 100 beside another 100.
TWO_AND_A_WEAK_ONE = instances_of((0, 5, 0, 10), (0, 10, 0, 20), (20, 24, 30, 36), scores=[0.9, 0.5, 0.49])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (dict(), 100 / 200),
        (dict(min_score=0.6), 50 / 100),
        (dict(min_score=0.49), 100 / 224),
        (dict(min_score=0.95), 0.0),
        (dict(instances="top1", min_score=0.95), 50 / 100),
        (dict(instances="best"), 50 / 100),
    ],
)
def test_detections_become_one_mask(settings, expected):
    metric = LesionMetric(**settings)
    metric.process({}, [detected(TWO_AND_A_WEAK_ONE)])
    assert metric.evaluate(1)["lesion/jaccard"] == expected


def test_best_is_the_detection_that_overlaps_most_whatever_its_score():
    metric = LesionMetric(instances="best")
    metric.process({}, [detected(instances_of((0, 2, 0, 2), (0, 10, 0, 11), scores=[0.9, 0.1]))])
    assert metric.evaluate(1)["lesion/jaccard"] == 100 / 110


@pytest.mark.parametrize("rule", ["union", "top1", "best"])
def test_an_image_without_detections_is_an_empty_prediction(rule):
    metric = LesionMetric(instances=rule)
    metric.process({}, [detected(instances_of(scores=[]))])
    assert metric.evaluate(1)["lesion/jaccard"] == 0
    assert metric.table[0].counts == Confusion(tp=0, tn=HEIGHT * WIDTH - 100, fp=0, fn=100)
    assert metric.table[0].remark == ("no detection reached 0.5" if rule == "union" else "no detection")


def test_notes_say_what_became_of_the_detections():
    notes = {}
    for rule in ("union", "top1", "best"):
        metric = LesionMetric(instances=rule, min_score=0.25)
        assert metric.notes == []
        metric.process({}, [detected(TWO_AND_A_WEAK_ONE)])
        (notes[rule],) = metric.notes
    assert "at least 0.25" in notes["union"]
    assert [rule for rule in notes if "optimistic" in notes[rule]] == ["best"]


def test_only_the_best_matching_detection_is_optimistic():
    for rule in ("union", "top1", "best"):
        metric = LesionMetric(instances=rule)
        metric.process({}, [detected(TWO_AND_A_WEAK_ONE)])
        assert metric.optimistic == (rule == "best")
    semantic = LesionMetric(instances="best")
    semantic.process({}, [sample_of(1).to_dict()])
    assert not semantic.optimistic


def test_detections_of_other_classes_are_no_lesions():
    metric = LesionMetric()
    metric.process({}, [detected(instances_of((0, 10, 0, 10), (0, 24, 0, 36), scores=[0.9, 0.9], labels=[0, 1]))])
    assert metric.evaluate(1)["lesion/jaccard"] == 1


def test_detections_do_not_fill_the_memory():
    metric = LesionMetric()
    masks = torch.zeros(10, 1500, 2000, dtype=torch.bool)
    masks[:, 300:900, 400:1500] = True
    truth = dict(sem_seg=masks[:1].to(torch.uint8))
    detections = dict(masks=masks, scores=torch.ones(10), labels=torch.zeros(10, dtype=torch.long))
    metric.process({}, [detected(detections) | dict(ori_shape=(1500, 2000), gt_sem_seg=truth)])
    assert len(pickle.dumps(metric.results)) < 10_000


def test_detections_without_masks():
    boxes = dict(scores=torch.ones(1), labels=torch.zeros(1))
    with pytest.raises(DataError, match=r"images/a\.jpg: detections without masks"):
        LesionMetric().process({}, [detected(boxes)])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(instances="all"), r"instances=all, expected union or top1 or best"),
        (dict(min_score=50), r"min_score=50, expected a score from 0 to 1"),
    ],
)
def test_unusable_settings(settings, message):
    with pytest.raises(DataError, match=message):
        LesionMetric(**settings)
