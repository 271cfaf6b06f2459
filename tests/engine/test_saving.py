import signal
from pathlib import Path

import pytest
import torch
from tiny_training import Killed, KillHook, run, settings

import lesionseg.engine.saving
from lesionseg.commands.train import check_work_dir, remove_results
from lesionseg.engine.checkpoint import load_file
from lesionseg.engine.interruption import stop_request
from lesionseg.engine.resuming import newest_checkpoint
from lesionseg.engine.work_dir import best_checkpoints, checkpoints, instead_of
from lesionseg.errors import DataError, Stopped

LENGTH = 6


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The weights of a training with three validations that ran through."""
    work_dir = tmp_path_factory.mktemp("undisturbed")
    run(settings(work_dir, workers=1))
    return weights(work_dir)


def weights(work_dir, step=LENGTH):
    return load_file(work_dir / f"iter_{step}.pth")["state_dict"]


def different(one, other):
    return [name for name in one if not torch.equal(one[name], other[name])]


@pytest.mark.parametrize(("done", "workers"), [(2, 0), (3, 1), (5, 0)])
def test_a_resumed_training_ends_with_the_very_weights(undisturbed, tmp_path, done, workers):
    # A loader process that lives on makes validations draw differently: the first of a run draws its seed.
    run(settings(tmp_path, workers=workers), KillHook("before_train_iter", done))
    run(settings(tmp_path, workers=workers), resume_from=newest_checkpoint(tmp_path))
    assert different(undisturbed, weights(tmp_path)) == []


@pytest.mark.parametrize("done", [2, 4, 6])
def test_a_validation_that_was_killed_is_made_up_for(undisturbed, tmp_path, done):
    run(settings(tmp_path), KillHook("after_val_iter", done))
    newest = newest_checkpoint(tmp_path)
    assert newest.name == f"iter_{done}.pth"
    assert load_file(newest)["message_hub"]["runtime_info"].get("iter_validated") != done
    runner = run(settings(tmp_path), resume_from=newest)
    assert runner.message_hub.get_info("iter_validated") == LENGTH
    assert different(undisturbed, weights(tmp_path)) == []
    assert len(best_checkpoints(tmp_path, "tiny/score")) == 1


def test_a_finished_validation_is_not_made_again(tmp_path, monkeypatch):
    run(settings(tmp_path))
    monkeypatch.setattr("mmengine.runner.ValLoop.run", lambda loop: pytest.fail("validated again"))
    run(settings(tmp_path), resume_from=newest_checkpoint(tmp_path))


def test_every_validation_begins_with_a_checkpoint_which_stays_until_there_is_a_newer_one(tmp_path):
    cfg = settings(tmp_path)
    cfg.default_hooks.checkpoint.interval = 100
    run(cfg, KillHook("after_val_iter", 4))
    assert list(checkpoints(tmp_path)) == [4]


def test_checkpoints_are_saved_by_time(tmp_path):
    run(settings(tmp_path, interval=100, minutes=0), KillHook("before_train_iter", 3))
    assert list(checkpoints(tmp_path)) == [3]


@pytest.mark.parametrize(("most", "left"), [(1, [6]), (2, [4, 6]), (-1, [2, 4, 6])])
def test_as_many_stay_as_the_config_says(tmp_path, most, left):
    run(settings(tmp_path, max_keep_ckpts=most))
    assert list(checkpoints(tmp_path)) == left


def test_the_best_of_earlier_validations_stays_the_best(tmp_path):
    run(settings(tmp_path, scores={2: 1 / 7, 4: 3 / 7, 6: 2 / 7}))
    assert [path.name for path in best_checkpoints(tmp_path, "tiny/score")] == ["best_tiny_score_iter_4.pth"]


@pytest.mark.parametrize("killed_at", range(1, 11))
def test_a_kill_while_a_file_is_written_leaves_checkpoints_to_go_on_from(undisturbed, tmp_path, killed_at):
    """Each file in turn: 2, best of 2, 2 again, 4, and so on."""
    scores = {2: 1 / 7, 4: 2 / 7, 6: 3 / 7}
    written, calls = lesionseg.engine.saving.write_bytes, iter(range(1, 100))

    def write_or_die(path, data):
        if next(calls) == killed_at:
            # What was written so far lies beside the file, as after SIGKILL.
            scratch = Path(path).parent / f".{Path(path).name}.abcd_123.part"
            scratch.mkdir()
            (scratch / Path(path).name).write_bytes(data[: len(data) // 2])
            raise Killed
        written(path, data)

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(lesionseg.engine.saving, "write_bytes", write_or_die)
        run(settings(tmp_path, scores=scores))
    assert all(map(load_file, tmp_path.glob("*.pth")))
    run(settings(tmp_path, scores=scores), resume_from=newest_checkpoint(tmp_path) if killed_at > 1 else None)
    assert different(undisturbed, weights(tmp_path)) == []
    assert [path.name for path in best_checkpoints(tmp_path, "tiny/score")] == ["best_tiny_score_iter_6.pth"]
    assert not list(tmp_path.glob(".*.part"))


def test_broken_and_stale_files_do_not_stay(tmp_path):
    run(settings(tmp_path), KillHook("before_train_iter", 4))
    (tmp_path / "iter_6.pth").write_bytes(b"")
    (tmp_path / "best_tiny_score_iter_6.pth").write_bytes((tmp_path / "iter_4.pth").read_bytes()[:1000])
    assert newest_checkpoint(tmp_path).name == "iter_4.pth"
    run(settings(tmp_path), resume_from=newest_checkpoint(tmp_path))
    assert [path.name for path in best_checkpoints(tmp_path, "tiny/score")] == ["best_tiny_score_iter_2.pth"]
    assert load_file(tmp_path / "iter_6.pth")["meta"]["iter"] == 6


def test_the_newest_readable_checkpoint_is_taken_whatever_last_checkpoint_says(tmp_path, capsys):
    run(settings(tmp_path))
    (tmp_path / "last_checkpoint").write_text("")
    assert newest_checkpoint(tmp_path).name == "iter_6.pth"
    (tmp_path / "iter_6.pth").write_bytes((tmp_path / "iter_6.pth").read_bytes()[:5000])
    assert newest_checkpoint(tmp_path).name == "iter_4.pth"
    assert "passed over" in capsys.readouterr().out
    for path in checkpoints(tmp_path).values():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"iter_6\.pth: not a readable checkpoint"):
        newest_checkpoint(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("where", ["before_train_iter", "before_val_iter", "after_val_epoch"])
def test_a_signal_ends_the_training_after_its_step_with_a_checkpoint(undisturbed, tmp_path, number, where):
    hook = KillHook(where, 4)
    setattr(hook, where, lambda runner, *args, **kwargs: runner.iter == 4 and signal.raise_signal(number))
    with stop_request.noted(), pytest.raises(Stopped, match="--resume") as stopped:
        run(settings(tmp_path, interval=2), hook)
    done = 5 if where == "before_train_iter" else 4
    assert stopped.value.number == number
    assert newest_checkpoint(tmp_path).name == f"iter_{done}.pth"
    assert str(tmp_path / f"iter_{done}.pth") in str(stopped.value)
    run(settings(tmp_path), resume_from=newest_checkpoint(tmp_path))
    assert different(undisturbed, weights(tmp_path)) == []


def test_what_cannot_be_resumed_is_not_recommended(tmp_path):
    hook = KillHook("before_train_iter", 4)
    hook.before_train_iter = lambda runner, *args, **kwargs: runner.iter == 4 and signal.raise_signal(signal.SIGTERM)
    with stop_request.noted(), pytest.raises(Stopped, match=r"it cannot go on\. .*load_from=.*iter_5\.pth\.$"):
        run(settings(tmp_path, save_optimizer=False), hook)
    with pytest.raises(DataError, match=r"holds no optimizer.* To train on, start another .*load_from=.*iter_5\.pth"):
        run(settings(tmp_path), resume_from=tmp_path / "iter_5.pth")
    with pytest.raises(DataError, match=r"results of another run .* without\. Add --overwrite to replace"):
        check_work_dir(str(tmp_path), resume=False, overwrite=False)


def test_what_is_replaced_is_what_a_training_writes(tmp_path):
    for name in ("iter_4.pth", "best_lesion_jaccard_iter_2.pth", "best_lesion_dice_iter_2.pth", "best_model.pth"):
        (tmp_path / name).touch()
    remove_results(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["best_model.pth"]
    check_work_dir(str(tmp_path), resume=False, overwrite=False)


def test_advice_names_the_checkpoint_that_resume_takes_next(tmp_path):
    for step in (2, 10):
        (tmp_path / f"iter_{step}.pth").touch()
    assert instead_of(tmp_path / "iter_10.pth").startswith("Move it away, so that --resume takes iter_2.pth, or start")
    assert instead_of(tmp_path / "iter_2.pth").startswith("Train without --resume and with another --work-dir, or ")


def test_a_second_signal_ends_it_at_once(tmp_path):
    hook = KillHook("before_train_iter", 4)
    hook.before_train_iter = lambda runner, *args, **kwargs: (
        runner.iter == 4 and [signal.raise_signal(signal.SIGINT) for _ in range(2)]
    )
    with stop_request.noted(), pytest.raises(Stopped):
        run(settings(tmp_path), hook)
    assert newest_checkpoint(tmp_path).name == "iter_4.pth"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_before_the_first_step_ends_it_at_once():
    with pytest.raises(Stopped), stop_request.noted():
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (dict(by_epoch=True), "expected a training by iterations"),
        (dict(out_dir="elsewhere"), "where --resume looks"),
        (dict(filename_tmpl="epoch_{}.pth"), "where --resume looks"),
    ],
)
def test_what_cannot_be_resumed_is_refused(setting, message):
    from lesionseg.engine.saving import ValidatedCheckpointHook

    with pytest.raises(DataError, match=message):
        ValidatedCheckpointHook(**setting)
