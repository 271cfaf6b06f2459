import math
import shutil

import pytest
import torch
from tiny_training import KillHook, PoisonHook, run, settings

from lesionseg.engine.resuming import newest_checkpoint
from lesionseg.errors import DataError

LENGTH = 6


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """The work_dir of a training that was killed after four of six iterations; do not change it."""
    work_dir = tmp_path_factory.mktemp("half")
    run(changed(work_dir), KillHook("before_train_iter", 4))
    return work_dir


def changed(work_dir, length=LENGTH, **changes):
    cfg = settings(work_dir, length=length)
    # Parameters with settings of their own, as Mask2Former has them.
    cfg.optim_wrapper.paramwise_cfg = dict(bias_lr_mult=2.0)
    cfg.merge_from_dict(changes)
    return cfg


def resume(half, work_dir, **changes):
    shutil.copytree(half, work_dir, dirs_exist_ok=True)
    return run(changed(work_dir, **changes), resume_from=newest_checkpoint(work_dir))


def rates(runner):
    return list(runner.message_hub.get_scalar("train/lr").data[0])


@pytest.mark.parametrize("length", [5, 12])
def test_a_training_of_another_length_goes_on_by_its_schedule(half, tmp_path, length):
    resumed = rates(resume(half, tmp_path / "resumed", length=length))
    fresh = rates(run(changed(tmp_path / "fresh", length=length)))
    assert len(resumed) == len(fresh) == length
    assert resumed[4:] == fresh[4:]
    assert all(resumed[4:-1])


def test_a_resumed_training_needs_nothing_that_its_weights_began_with(half, tmp_path, monkeypatch):
    def gone(model):
        raise FileNotFoundError

    monkeypatch.setattr("tiny_training.NoisyNet.init_weights", gone)
    assert resume(half, tmp_path / "resumed").iter == LENGTH
    with pytest.raises(FileNotFoundError):
        run(changed(tmp_path / "fresh"))


def test_a_resumed_training_keeps_its_patience(tmp_path):
    def impatient():
        cfg = settings(tmp_path, length=12, scores={done: 1 / done for done in range(2, 14, 2)})
        rule = dict(monitor="tiny/score", rule="greater", patience=2)
        cfg.custom_hooks.append(dict(type="ResumableEarlyStoppingHook", **rule))
        return cfg

    run(impatient(), KillHook("before_train_iter", 4))
    assert run(impatient(), resume_from=newest_checkpoint(tmp_path)).iter == 6
    assert run(impatient(), resume_from=newest_checkpoint(tmp_path)).iter == 6


def test_what_is_no_longer_than_before_has_nothing_left(half, tmp_path):
    assert resume(half, tmp_path, length=4).iter == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_dataloader.batch_size": 3}, r"train_dataloader.batch_size was 2 and is 3"),
        ({"train_dataloader.dataset.images": 5}, r"was trained on 6 images \w+, not on 5 images"),
        ({"optim_wrapper.optimizer.lr": 0.2}, r"optim_wrapper.optimizer.lr was 0.1 and is 0.2"),
        ({"param_scheduler.1.power": 1.0}, r"param_scheduler.1.power was 0.9 and is 1.0"),
    ],
)
def test_another_training_is_refused(half, tmp_path, change, message):
    with pytest.raises(DataError, match=rf"iter_4.pth: was trained .*{message}|iter_4.pth: {message}.*load_from="):
        resume(half, tmp_path, **change)


@pytest.mark.parametrize("change", [{"train_dataloader.num_workers": 1}, {"train_cfg.val_interval": 3}])
def test_what_changes_no_weights_may_change(half, tmp_path, change):
    assert resume(half, tmp_path, **change).iter == LENGTH


DAMAGES = {
    "iter is text": lambda c: c["meta"].update(iter="4"),
    "iter is negative": lambda c: c["meta"].update(iter=-4),
    "iter of another": lambda c: c["meta"].update(iter=2),
    "learning rate is negative": lambda c: c["optimizer"]["param_groups"][0].update(lr=-0.1),
    "learning rate is text": lambda c: c["optimizer"]["param_groups"][0].update(lr="fast"),
    "learning curve is a number": lambda c: c["message_hub"]["runtime_info"].update(learning_curve=5),
    "learning curve without steps": lambda c: c["message_hub"]["runtime_info"].update(learning_curve=[{"loss": 1}]),
    "no epoch": lambda c: c["meta"].pop("epoch"),
    "meta is a number": lambda c: c.update(meta=5),
    "no optimizer": lambda c: c.pop("optimizer"),
    "optimizer is text": lambda c: c.update(optimizer="AdamW"),
    "no groups": lambda c: c["optimizer"].pop("param_groups"),
    "groups of another model": lambda c: c["optimizer"]["param_groups"].pop(),
    "moments of another shape": lambda c: c["optimizer"]["state"][0].update(exp_avg=torch.zeros(2, 3)),
    "no schedules": lambda c: c.pop("param_schedulers"),
    "a schedule is text": lambda c: c["param_schedulers"][0].update(last_step="four"),
    "a schedule is lost": lambda c: c["param_schedulers"].pop(),
    "a schedule is not a number": lambda c: c["param_schedulers"][1].update(_global_step=math.nan),
    "schedules are numbers": lambda c: c.update(param_schedulers=[1, 2]),
    "message hub is a list": lambda c: c.update(message_hub=[1]),
    "message hub is empty": lambda c: c.update(message_hub={}),
    "best score is text": lambda c: c["message_hub"]["runtime_info"].update(best_score="high"),
    "best checkpoint is a number": lambda c: c["message_hub"]["runtime_info"].update(best_ckpt=3),
    "random state is text": lambda c: c.update(random_state="seed"),
    "random state of numpy is short": lambda c: c["random_state"].update(numpy=("MT19937", torch.zeros(3), 0, 0, 0.0)),
    "random state of torch is short": lambda c: c["random_state"].update(torch=torch.zeros(3, dtype=torch.uint8)),
    "settings are text": lambda c: c.update(settings={"images": 3}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_state_of_the_wrong_kind_is_told_in_one_line(half, tmp_path, damage):
    shutil.copytree(half, tmp_path, dirs_exist_ok=True)
    checkpoint = torch.load(tmp_path / "iter_4.pth", weights_only=False)
    DAMAGES[damage](checkpoint)
    torch.save(checkpoint, tmp_path / "iter_4.pth")
    before = torch.get_rng_state()
    with pytest.raises(DataError) as error:
        run(changed(tmp_path), resume_from=tmp_path / "iter_4.pth")
    assert str(error.value).startswith(f"{tmp_path / 'iter_4.pth'}: ")
    assert torch.equal(torch.get_rng_state(), before) or "random state" not in damage


def test_checkpoints_that_are_not_finite_are_passed_over(half, tmp_path, capsys):
    shutil.copytree(half, tmp_path, dirs_exist_ok=True)
    checkpoint = torch.load(tmp_path / "iter_4.pth", weights_only=False)
    checkpoint["optimizer"]["state"][0]["exp_avg"][0, 0, 0, 0] = math.nan
    torch.save(checkpoint, tmp_path / "iter_4.pth")
    assert newest_checkpoint(tmp_path).name == "iter_2.pth"
    assert "optimizer.state.0.exp_avg" in capsys.readouterr().out


def test_a_training_that_diverges_ends_in_one_line_and_keeps_its_checkpoints(tmp_path):
    cfg = settings(tmp_path)
    with pytest.raises(DataError, match=r"in iteration 5 (the loss|some weights) .*optim_wrapper.optimizer.lr=0.01"):
        run(cfg, PoisonHook(4))
    assert newest_checkpoint(tmp_path).name == "iter_4.pth"
