import pickle

import cv2
import numpy as np
import pytest
import torch
from drawn_pairs import HEIGHT, WIDTH, draw_pair, make_sample
from mmengine.evaluator import Evaluator

from lesionseg.errors import DataError
from lesionseg.evaluation.lesion_metric import LesionMetric
from lesionseg.evaluation.results import image_ids, pack_mask, unpack_mask
from lesionseg.evaluation.scores import PER_IMAGE, POOLED, Confusion, mean_scores, per_image_scores, pooled_scores


def sample_of(index: int, folder: str = "images"):
    return make_sample(f"{folder}/ISIC_{index:07}.jpg", f"masks/ISIC_{index:07}.png", *draw_pair(index))


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
    metric.process({}, [sample_of(3, "images").to_dict(), sample_of(3, "images/second").to_dict()])
    metric.evaluate(2)

    written = sorted(path.relative_to(tmp_path / "masks").as_posix() for path in tmp_path.rglob("*.png"))
    assert written == ["ISIC_0000003_segmentation.png", "second/ISIC_0000003_segmentation.png"]
    picture = cv2.imread(str(tmp_path / "masks" / written[0]), cv2.IMREAD_UNCHANGED)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, draw_pair(3)[1] * np.uint8(255))


@pytest.mark.parametrize(
    ("paths", "ids"),
    [
        (["/data/images/a.jpg"], ["a"]),
        (["/data/images/b.jpg", "/data/images/a.png"], ["b", "a"]),
        (["/data/images/1/a.jpg", "/data/images/2/a.jpg"], ["1/a", "2/a"]),
        (["/data/images/a.jpg", "/data/images/2/a.jpg"], ["a", "2/a"]),
        (["images/a.v2.jpg", "images/c_segmentation.png"], ["a.v2", "c"]),
    ],
)
def test_ids_keep_the_sub_folder(paths, ids):
    assert image_ids(paths) == ids


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
