"""Trains a really small network in stages, by MMEngine's own Runner."""

import os
from collections import OrderedDict
from itertools import count
from pathlib import Path

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.nn import functional

import lesionseg.data.datasets.transforms  # noqa: F401  Registers the sampler.
from lesionseg.engine.stages import TrainingStagesHook
from lesionseg.errors import DataError

HEAD = r"^head\."
UPPER = r"^backbone\.layer[34]\."
ALL = r""
IMAGES = 6
BATCH = 2
STEPS = IMAGES // BATCH
experiments = count()


class TinyNet(BaseModel):
    def __init__(self, affine=True):
        super().__init__()
        torch.manual_seed(0)
        layers = OrderedDict()
        for number, (inside, outside) in enumerate([(3, 4), (4, 5), (5, 4), (4, 3)], 1):
            layers[f"layer{number}"] = nn.Sequential(
                nn.Conv2d(inside, outside, 3, padding=1), nn.BatchNorm2d(outside, affine=affine), nn.ReLU()
            )
        self.backbone = nn.Sequential(layers)
        self.head = nn.Conv2d(3, 1, 1)

    def forward(self, image, mask, mode="loss"):
        logits = self.head(self.backbone(torch.stack(image)))
        if mode == "predict":
            return list(logits)
        return dict(loss=functional.binary_cross_entropy_with_logits(logits, torch.stack(mask)))


class DrawnPairs(torch.utils.data.Dataset):
    def __len__(self):
        return IMAGES

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(int(index))
        image = torch.randn(3, 6, 8, generator=generator)
        return dict(image=image, mask=(image.mean(0, keepdim=True) > 0).float())


class Killed(BaseException):
    pass


class KillHook(Hook):
    """Ends a training as a signal would, when an iteration begins."""

    def __init__(self, done):
        self.done = done

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.done:
            raise Killed


class RecordHook(Hook):
    """Records the state at the start of each epoch, and which modules learn or collect statistics in each iteration."""

    priority = "LOWEST"

    def __init__(self):
        self.states, self.learning, self.collecting = [], [], []

    def before_train_epoch(self, runner):
        self.states.append(state(runner.model))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        model = runner.model
        self.learning.append({name.rpartition(".")[0] for name, p in model.named_parameters() if p.requires_grad})
        self.collecting.append(
            {name for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d) and m.training}
        )


def stages(*settings, **more):
    return dict(
        type="TrainingStagesHook",
        stages=[dict(begin=begin, trains=list(trains)) for begin, *trains in settings],
        **more,
    )


def make_runner(work_dir, hook, length, *more_hooks, model=None, by_epoch=True, optim_wrapper=(), **settings):
    """Build a runner of `length` epochs, or as many iterations in `by_epoch=False`, that validates every epoch."""
    sampler = dict(type="DefaultSampler" if by_epoch else "SeededInfiniteSampler", shuffle=True)
    loader = dict(dataset=DrawnPairs(), sampler=sampler, batch_size=BATCH, num_workers=0)
    validation = dict(loader, sampler=dict(type="DefaultSampler", shuffle=False))
    return Runner(
        model or TinyNet(),
        str(work_dir),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=length)
        if by_epoch
        else dict(by_epoch=False, max_iters=length, val_interval=STEPS),
        val_dataloader=validation,
        val_cfg=dict(),
        val_evaluator=Evaluator([]),
        optim_wrapper=dict(
            optimizer=dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=0.1),
            clip_grad=dict(max_norm=1.0),
            **dict(optim_wrapper),
        ),
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1, by_epoch=by_epoch)),
        custom_hooks=[hook, *more_hooks],
        randomness=dict(seed=3),
        experiment_name=f"stages_{os.getpid()}_{next(experiments)}",
        **settings,
    )


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(before, after):
    """The modules of which any weight or statistic differs."""
    assert before.keys() == after.keys()
    return {name.rpartition(".")[0] for name in before if not torch.equal(before[name], after[name])}


UPPER_MODULES = {"backbone.layer3.0", "backbone.layer3.1", "backbone.layer4.0", "backbone.layer4.1"}
ALL_MODULES = {f"backbone.layer{layer}.{part}" for layer in (1, 2, 3, 4) for part in (0, 1)} | {"head"}


@pytest.mark.parametrize("by_epoch", [True, False])
def test_frozen_parts_keep_weights_and_statistics_to_the_last_bit(tmp_path, by_epoch):
    heads_only = stages((0, HEAD), by_epoch=by_epoch)
    runner = make_runner(tmp_path, heads_only, 2 if by_epoch else 2 * STEPS, by_epoch=by_epoch)
    before = state(runner.model)
    runner.train()
    assert changed(before, state(runner.model)) == {"head"}


@pytest.mark.parametrize(("by_epoch", "begin"), [(True, 2), (False, 2), (False, 4)])
def test_stages_begin_on_time_and_norms_follow(tmp_path, by_epoch, begin):
    record = RecordHook()
    hook = stages((0, HEAD), (begin, HEAD, UPPER), by_epoch=by_epoch)
    make_runner(tmp_path, hook, 4 if by_epoch else 4 * STEPS, record, by_epoch=by_epoch).train()
    switch = begin * STEPS if by_epoch else begin
    later = 4 * STEPS - switch
    assert record.learning == [{"head"}] * switch + [{"head"} | UPPER_MODULES] * later
    assert record.collecting == [set()] * switch + [{"backbone.layer3.1", "backbone.layer4.1"}] * later


def test_epochs_also_count_where_stages_are_given_in_iterations(tmp_path):
    record = RecordHook()
    make_runner(tmp_path, stages((0, HEAD), (STEPS + 1, ALL), by_epoch=False), 2, record).train()
    assert record.learning == [{"head"}] * (STEPS + 1) + [ALL_MODULES] * (STEPS - 1)


def test_a_part_that_is_frozen_again_stops_despite_its_momentum(tmp_path):
    record = RecordHook()
    # An accumulated gradient that has not been applied yet must not be applied later, either.
    optim_wrapper = dict(accumulative_counts=2)
    runner = make_runner(tmp_path, stages((0, ALL), (1, HEAD)), 2, record, optim_wrapper=optim_wrapper)
    runner.train()
    before, between = record.states
    assert changed(before, between) == ALL_MODULES
    assert changed(between, state(runner.model)) == {"head"}


def test_norm_layers_without_parameters_follow_the_names_of_their_statistics(tmp_path):
    runner = make_runner(tmp_path, stages((0, HEAD, UPPER)), 1, model=TinyNet(affine=False))
    before = state(runner.model)
    runner.train()
    assert changed(before, state(runner.model)) == UPPER_MODULES | {"head"}


@pytest.mark.parametrize("paramwise", [None, dict(custom_keys={"backbone": dict(lr_mult=0.1)})])
def test_optimizer_holds_all_parameters_from_the_start(tmp_path, paramwise):
    hook = stages((0, HEAD), (1, HEAD, UPPER))
    runner = make_runner(tmp_path, hook, 2, optim_wrapper=dict(paramwise_cfg=paramwise))
    runner.train()
    names = [name for name, _ in runner.model.named_parameters()]
    first, second = (torch.load(tmp_path / f"epoch_{n}.pth", weights_only=False)["optimizer"] for n in (1, 2))
    groups = [[group["params"] for group in saved["param_groups"]] for saved in (first, second)]
    assert groups[0] == groups[1]
    assert sum(map(len, groups[0])) == len(names)
    # Only what has trained has momentum.
    moved = [{names[number].rpartition(".")[0] for number in saved["state"]} for saved in (first, second)]
    assert moved == [{"head"}, {"head"} | UPPER_MODULES]


@pytest.mark.parametrize("by_epoch", [True, False])
@pytest.mark.parametrize("killed_after", [1, 2, 3], ids=["first-stage", "between", "second-stage"])
def test_resumed_training_ends_with_the_same_weights(tmp_path, by_epoch, killed_after):
    hook = stages((0, HEAD), (2, HEAD, UPPER), by_epoch=by_epoch)

    def runner(folder, *more, **settings):
        return make_runner(tmp_path / folder, hook, 5, *more, by_epoch=by_epoch, **settings)

    through = runner("through")
    before = state(through.model)
    through.train()
    with pytest.raises(Killed):
        runner("killed", KillHook(killed_after * STEPS if by_epoch else killed_after)).train()
    record = RecordHook()
    resumed = runner("killed", record, resume=True)
    resumed.train()
    assert len(record.learning) == (5 - killed_after) * (STEPS if by_epoch else 1)
    assert changed(before, state(through.model)) == UPPER_MODULES | {"head"}
    assert changed(state(through.model), state(resumed.model)) == set()


def test_log_says_what_trains(tmp_path):
    make_runner(tmp_path, stages((0, HEAD), (1, HEAD, UPPER), (7, ALL)), 2).train()
    text = next(tmp_path.glob("*/*.log")).read_text()
    backbone = sum(p.numel() for p in TinyNet().backbone.parameters())
    upper = sum(p.numel() for p in [*TinyNet().backbone[2].parameters(), *TinyNet().backbone[3].parameters()])
    assert (
        f"Stage 1 of 3, after 0 epochs: 2 of 18 tensors train, 4 of {backbone + 4} parameters "
        f"(backbone 0 of {backbone}, head 4 of 4); 4 of 4 normalization layers are frozen."
    ) in text
    assert (
        f"Stage 2 of 3, after 1 epochs: 10 of 18 tensors train, {upper + 4} of {backbone + 4} parameters "
        f"(backbone {upper} of {backbone}, head 4 of 4); 2 of 4 normalization layers are frozen."
    ) in text
    assert "Stage 3 begins after 7 epochs, but the training has only 2." in text


# Settings that cannot be meant: told before anything trains.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([], r"begin at \[\], expected 0 for the first"),
        ([dict(begin=1, trains=[HEAD])], r"begin at \[1\], expected 0 for the first"),
        ([dict(begin=0, trains=[HEAD]), dict(begin=0, trains=[ALL])], r"begin at \[0, 0\]"),
        ([dict(begin=n, trains=[HEAD]) for n in (0, 9, 5)], r"begin at \[0, 9, 5\]"),
        ([dict(begin=0, trains=[])], r"stage 1 is .*expected begin=<whole number>"),
        ([dict(begin=0, trains=HEAD)], r"stage 1 is .*expected begin=<whole number>"),
        ([dict(begin=0, trains=[HEAD]), dict(begins=5, trains=[ALL])], r"stage 2 is \{'begins': 5"),
        ([dict(begin=0, trains=["(head"])], r"'\(head' is no regular expression \(missing \)"),
    ],
)
def test_stages_that_cannot_be_meant(settings, message):
    with pytest.raises(DataError, match=message):
        TrainingStagesHook(settings)


def test_patterns_that_match_nothing_are_all_told_with_near_names(tmp_path):
    hook = stages((0, HEAD, r"^hed\."), (1, HEAD, r"^backbone\.layr3\."))
    with pytest.raises(DataError) as caught:
        make_runner(tmp_path, hook, 2).train()
    first, second = caught.value.args
    assert r"'^hed\.' is found in no name of the model's 18 parameters" in first
    assert "names such as head" in first
    assert r"'^backbone\.layr3\.'" in second
    assert "names such as backbone.layer3" in second


def test_epochs_in_a_training_by_iterations(tmp_path):
    with pytest.raises(DataError, match=r"by epochs in a training by iterations.*by_epoch=False"):
        make_runner(tmp_path, stages((0, HEAD)), 2, by_epoch=False).train()


# MMDetection's backbone, which freezes by itself.


class WithResNet(TinyNet):
    def __init__(self, **settings):
        from mmdet.models.backbones import ResNet

        super().__init__()
        self.backbone = ResNet(18, base_channels=4, num_stages=4, out_indices=(3,), init_cfg=None, **settings)
        self.head = nn.Conv2d(32, 1, 1)

    def forward(self, image, mask, mode="loss"):
        (features,) = self.backbone(torch.stack(image))
        logits = functional.interpolate(self.head(features), mask[0].shape[-2:])
        if mode == "predict":
            return list(logits)
        return dict(loss=functional.binary_cross_entropy_with_logits(logits, torch.stack(mask)))


@pytest.mark.parametrize(("frozen_stages", "norm_eval"), [(-1, False), (1, False), (-1, True)])
def test_resnet_trains_from_its_third_layer_up(tmp_path, frozen_stages, norm_eval):
    model = WithResNet(frozen_stages=frozen_stages, norm_eval=norm_eval)
    record = RecordHook()
    runner = make_runner(tmp_path, stages((0, HEAD), (1, HEAD, UPPER)), 2, record, model=model)
    runner.train()
    assert {name.split(".")[1] for name in changed(record.states[0], state(model)) - {"head"}} == {"layer3", "layer4"}
    assert record.collecting[0] == set()
    collecting = set() if norm_eval else {"layer3", "layer4"}
    assert {name.split(".")[1] for name in record.collecting[-1]} == collecting


class FreezesLate(TinyNet):
    """Freezes in train() only, as MMDetection's MobileNetV2 does."""

    def train(self, mode=True):
        super().train(mode)
        return self.requires_grad_(False)


@pytest.mark.parametrize(
    ("make_model", "first"),
    [(lambda: WithResNet(frozen_stages=1), "backbone.conv1.weight"), (FreezesLate, "backbone.layer1.0.weight")],
)
def test_what_the_model_freezes_itself_cannot_train(tmp_path, make_model, first):
    runner = make_runner(tmp_path, stages((0, ALL)), 1, model=make_model())
    with pytest.raises(DataError, match=rf"model itself freezes {first}, .*frozen_stages=-1"):
        runner.train()


# Two processes.


def train_in_two(rank, folder):
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)

    def runner(name, **ddp):
        wrapper = dict(type="MMDistributedDataParallel", device_ids=None, broadcast_buffers=False, **ddp)
        hook = stages((0, HEAD), (1, HEAD, UPPER))
        return make_runner(Path(folder) / name, hook, 3, launcher="pytorch", cfg=dict(model_wrapper_cfg=wrapper))

    with pytest.raises(DataError, match=r"MMDistributedDataParallel waits .*find_unused_parameters=True"):
        runner("refused").train()
    trained = runner("trained", find_unused_parameters=True)
    before = state(trained.model.module)
    trained.train()
    after = state(trained.model.module)
    torch.save(
        dict(parameters=dict(trained.model.module.named_parameters()), changed=changed(before, after)),
        f"{folder}/{rank}.pth",
    )
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_keep_the_same_weights_in_both_stages(tmp_path):
    torch.multiprocessing.start_processes(train_in_two, (str(tmp_path),), nprocs=2, start_method="spawn")
    first, second = (torch.load(tmp_path / f"{rank}.pth") for rank in (0, 1))
    assert first["changed"] == second["changed"] == UPPER_MODULES | {"head"}
    assert [
        name for name, value in first["parameters"].items() if not torch.equal(value, second["parameters"][name])
    ] == []
