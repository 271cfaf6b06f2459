"""Several processes of one run of tools/predict.py: each image is predicted by one of them, and one makes the table."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Queue

import cv2
import pytest
from drawn_models import CARD, instance_model
from helpers import ROOT, draw_pair, load_tool, start_as_srun, torchrun
from predicted import files, table

from lesionseg.commands.crops import Crops
from lesionseg.commands.outputs import Outputs
from lesionseg.commands.predict import predict_files
from lesionseg.engine.families import INSTANCES
from lesionseg.engine.processes import Processes
from lesionseg.inference.inputs import find_inputs
from lesionseg.inference.segmenter import Segmenter

main = load_tool("predict").main


@dataclass(frozen=True)
class Threads(Processes):
    """Threads in the place of processes, each of which sees the others as `Processes` does."""

    answers: list[Queue] = field(default_factory=list)
    values: Queue = field(default_factory=Queue)

    def first(self, work):
        if not self.is_first:
            return self.answers[self.rank].get(timeout=60)
        result = work()
        for queue in self.answers[1:]:
            queue.put(result)
        return result

    def gather(self, value):
        self.values.put((self.rank, value))
        return (
            [value for _, value in sorted(self.values.get(timeout=60) for _ in self.answers)] if self.is_first else []
        )


def shared(size):
    first = Threads(0, size, answers=[Queue() for _ in range(size)])
    return [replace(first, rank=rank) for rank in range(size)]


def predict(segmenter, photos, outputs, processes):
    """Predict in all of these at once, and give what each of them gives."""
    images = find_inputs([str(photos)]).images
    with ThreadPoolExecutor(len(processes)) as pool:
        return list(pool.map(lambda each: predict_files(segmenter, images, outputs, processes=each), processes))


def rows(folder, name="predictions.csv"):
    with (folder / name).open() as file:
        lines = [line.rstrip("\n").split(",") for line in file]
    seconds = lines[0].index("seconds") if "seconds" in lines[0] else None
    return [[cell for number, cell in enumerate(line) if number != seconds] for line in lines]


def contents(folder):
    return {name: (folder / name).read_bytes() for name in files(folder) if not name.endswith("predictions.csv")}


def test_each_image_is_predicted_once_and_the_table_is_that_of_one_process(model, photos, tmp_path, monkeypatch):
    predict_batch, asked = Segmenter.predict_batch, []

    def note(self, images):
        asked.extend(image.id for image in images)
        return predict_batch(self, images)

    monkeypatch.setattr(Segmenter, "predict_batch", note)
    segmenter = Segmenter(model)
    predict(segmenter, photos, Outputs(tmp_path / "alone"), [Processes()])
    asked.clear()
    told, *others = predict(segmenter, photos, Outputs(tmp_path / "out"), shared(3))
    assert sorted(asked) == ["ISIC_0", "ISIC_1", "ISIC_2", "ISIC_3", "ISIC_4", "more/ISIC_0"]
    assert [row.id for row in told.rows] == sorted(asked)
    assert [len(each.rows) for each in others] == [2, 2]
    assert rows(tmp_path / "out") == rows(tmp_path / "alone")
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")


def test_more_processes_than_images(model, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), draw_pair(0)[0])
    told = predict(Segmenter(model), tmp_path / "a.png", Outputs(tmp_path / "out"), shared(3))
    assert [len(each.rows) for each in told] == [1, 0, 0]
    assert files(tmp_path / "out") == ["a_segmentation.png", "predictions.csv"]


def test_instances_and_crops_of_all_processes_stand_in_one_table(photos, tmp_path):
    card = replace(CARD, task=INSTANCES, classes=("nail",), score_rule="union", min_score=0.5)
    model = instance_model(tmp_path / "nails.onnx", [((10, 10, 40, 50), 0.6, 0), ((50, 20, 70, 30), 0.9, 0)], card)
    for name, processes in (("alone", [Processes()]), ("out", shared(2))):
        crops = Crops(tmp_path / name / "crops")
        (told, *_) = predict(
            Segmenter(model), photos, Outputs(tmp_path / name / "masks", category="nail", crops=crops), processes
        )
        assert (told.instances, told.crops) == (12, 12)
    assert rows(tmp_path / "out" / "masks") == rows(tmp_path / "alone" / "masks")
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")
    assert len(json.loads((tmp_path / "out" / "masks" / "instances.json").read_text())["annotations"]) == 12


def test_what_any_process_could_not_predict_is_told_and_done_by_the_next_run(model, photos, tmp_path):
    image = (photos / "ISIC_1.png").read_bytes()
    (photos / "ISIC_1.png").write_text("odd")
    told, _ = predict(Segmenter(model), photos, Outputs(tmp_path / "out"), shared(2))
    assert [fault.partition(": ")[0] for fault in told.faults] == [str(photos / "ISIC_1.png")]
    assert [row["id"] for row in table(tmp_path / "out")] == ["ISIC_0", "ISIC_2", "ISIC_3", "ISIC_4", "more/ISIC_0"]
    (photos / "ISIC_1.png").write_bytes(image)
    assert main([str(model), str(photos), "--out", str(tmp_path / "out")]) == 0
    assert [row["id"] for row in table(tmp_path / "out")][:2] == ["ISIC_0", "ISIC_1"]


@pytest.mark.parametrize("size", [1, 3])
def test_a_run_that_was_ended_is_taken_up_by_any_number_of_processes(model, photos, tmp_path, monkeypatch, size):
    predict_batch, asked = Segmenter.predict_batch, []
    os.rename(os.fsencode(photos / "ISIC_1.png"), os.fsencode(photos) + b"/ISIC_1\xe9.png")

    def stop(self, images):
        if images[0].id == "ISIC_4":
            raise KeyboardInterrupt
        return predict_batch(self, images)

    monkeypatch.setattr(Segmenter, "predict_batch", stop)
    outputs = Outputs(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        predict(Segmenter(model), photos, outputs, shared(2))
    left = [name for name in files(tmp_path / "out") if name.endswith(".csv")]
    assert left == ["predictions.csv", "predictions.unfinished.1.csv"]
    done = [row[0] for name in left for row in rows(tmp_path / "out", name)[1:]]

    def note(self, images):
        asked.extend(image.id for image in images)
        return predict_batch(self, images)

    monkeypatch.setattr(Segmenter, "predict_batch", note)
    told, *_ = predict(Segmenter(model), photos, outputs, shared(size))
    assert "ISIC_4" not in done
    assert sorted([*asked, *done]) == ["ISIC_0", "ISIC_1%E9", "ISIC_2", "ISIC_3", "ISIC_4", "more/ISIC_0"]
    assert len(told.rows) == 6
    assert all(Path(row.image).is_file() for row in told.rows)
    assert [name for name in files(tmp_path / "out") if "unfinished" in name] == []


def test_tables_that_a_killed_run_has_left_do_not_join_a_run_that_begins_anew(model, photos, tmp_path):
    predict(Segmenter(model), photos, Outputs(tmp_path / "out"), [Processes()])
    whole = (tmp_path / "out" / "predictions.csv").read_bytes()
    (tmp_path / "out" / "predictions.unfinished.1.csv").write_bytes(whole.replace(b"ISIC_2", b"ISIC_7"))
    (tmp_path / "out" / "predictions.unfinished.json").write_text("{}")
    assert main([str(model), str(photos), "--out", str(tmp_path / "out"), "--overwrite"]) == 0
    assert len(table(tmp_path / "out")) == 6
    assert "predictions.unfinished.1.csv" not in files(tmp_path / "out")


@pytest.mark.slow
def test_torchrun_starts_processes_that_predict_as_one(model, photos, tmp_path):
    arguments = [model, photos, "--overlay", "--out"]
    assert main([*map(str, arguments), str(tmp_path / "alone")]) == 0
    torchrun(ROOT / "tools/predict.py", *arguments, tmp_path / "out", "--launcher", "pytorch")
    assert rows(tmp_path / "out") == rows(tmp_path / "alone")
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.slow
def test_where_one_process_is_killed_the_others_end_and_the_next_run_goes_on(model, photos, tmp_path):
    """As srun starts them, and does not end the others."""
    code = f"""
import os, runpy, sys
from lesionseg.inference.segmenter import Segmenter

def kill(self, images):
    os.kill(os.getpid(), 9)

if os.environ["SLURM_PROCID"] == "1":
    Segmenter.predict_batch = kill
sys.argv = ["predict.py", {str(model)!r}, {str(photos)!r}, "--out", {str(tmp_path / "out")!r}, "--launcher", "slurm"]
runpy.run_path({str(ROOT / "tools/predict.py")!r}, run_name="__main__")
"""
    started = start_as_srun("-c", code)
    first, second = (process.communicate(timeout=120)[1] for process in started)
    assert [process.returncode for process in started] == [1, -9]
    assert "error: process 1 of 2: another one has ended (" in first, first
    # Without a network, torch warns that it cannot look up this machine's name.
    assert [line for line in second.splitlines() if "[c10d]" not in line] == []
    assert [row["id"] for row in table(tmp_path / "out")] == ["ISIC_0", "ISIC_2", "ISIC_4"]
    assert main([str(model), str(photos), "--out", str(tmp_path / "out")]) == 0
    assert len(table(tmp_path / "out")) == 6


def test_a_process_that_was_not_started_with_others_is_told_how_to_be(model, photos, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    assert main([str(model), str(photos), "--out", str(tmp_path / "out"), "--launcher", "slurm"]) == 1
    assert capsys.readouterr().err == (
        "error: --launcher slurm: SLURM_PROCID is not set, expected a process of several. Start it as `srun --ntasks N "
        "python tools/... --launcher slurm`, or leave --launcher out.\n"
    )
    assert not (tmp_path / "out").exists()
