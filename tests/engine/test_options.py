import pytest
from helpers import MASK2FORMER, ROOT

from lesionseg.engine.config import Options, load_config
from lesionseg.errors import DataError

MASK_RCNN = str(ROOT / "configs/mask_rcnn/mask-rcnn_r18-w64_fpn_1xb8-1300i_isic2018-160x160.py")


def load(*options, config=MASK2FORMER):
    return load_config(Options(config, cfg_options=options))


@pytest.mark.parametrize(
    ("option", "nearest"),
    [
        ("lr=1", "optim_wrapper.optimizer.lr"),
        ("batch_size=2", "train_dataloader.batch_size"),
        ("val_interval=10", "train_cfg.val_interval"),
        ("warmup_iters=5", ""),
        ("crop_size=(64,64)", "train_dataloader.dataset.pipeline.3.crop_size"),
        ("trian_dataloader.batch_size=2", "train_dataloader.batch_size"),
        ("train_pipeline.3.scales=[96]", "train_dataloader.dataset.pipeline.3.scales"),
        ("data_rot=/data", "data_root"),
        ("cuda_grap=False", "cuda_graph"),
        ("train_fracton=0.1", "train_fraction"),
        ("isic.data_root=/data", "train_dataloader.dataset.data_root"),
        ("data_preprocessor.size=(64,64)", "model.data_preprocessor.size"),
        ("train_dataloader.batchsize=2", "train_dataloader.batch_size"),
        ("train_dataloader.dataset.pipeline.30.scales=[96]", "train_dataloader.dataset.pipeline.3.scales"),
        ("train_dataloader.dataset.pipeline.x=1", ""),
        ("optim_wrapper.optimizer.learning_rate=1", ""),
        ("default_hooks.chekpoint.interval=3", "default_hooks.checkpoint.interval"),
        ("model.decode_head.num_querys=3", "model.decode_head.num_queries"),
        ("max_iters.x=3", ""),
        ("optim_wrapper.paramwise_cfg.custom_keys.head.lr_mul=1", "custom_keys.backbone.lr_mult"),
        ("train_dataloader.dataset.data_prefix.img=a", "train_dataloader.dataset.data_prefix.img_path"),
    ],
)
def test_what_nothing_reads_is_refused_with_what_there_is(option, nearest):
    with pytest.raises(DataError, match="nothing reads such a setting") as error:
        load(option)
    assert f"{nearest}" in str(error.value).partition("such as ")[2]


@pytest.mark.parametrize("option", ["nonsense", "=", "=5", "a b=1", ".=1"])
def test_what_is_no_setting_at_all_is_refused(option):
    with pytest.raises(DataError, match="not KEY=VALUE"):
        load(option)


@pytest.mark.parametrize(
    "option",
    [
        *("max_iters=abc", "max_iters=0", "max_iters=-5", "max_iters=1e3", "max_iters=None", "max_iters="),
        *("train_cfg.val_interval=0", "train_dataloader.batch_size=0", "train_dataloader.num_workers=-1"),
        *("optim_wrapper.optimizer.lr=abc", "optim_wrapper.optimizer.lr=nan", "optim_wrapper.optimizer.lr=1e999"),
        *("optim_wrapper.optimizer.lr=-1", "optim_wrapper.optimizer.lr=inf", "model=5", "train_dataloader=text"),
        *("model.type=Foo", "optim_wrapper.optimizer.type=Foo", "train_dataloader.dataset.type=Foo"),
        *("val_evaluator.0.type=Foo", "train_dataloader.dataset.pipeline=[]", "randomness.seed=-1"),
        *("model.decode_head.num_queries=2.5", "default_hooks.checkpoint.interval=0"),
        *("train_dataloader.persistent_workers=perhaps", "train_dataloader.num_workers=1000000"),
        # What the config does not have yet is held to what the class takes by itself.
        *("val_cfg.fp16=abc", "val_cfg.fp16=1", "train_dataloader.pin_memory=yes", "train_dataloader.timeout=abc"),
        *("randomness.deterministic=abc", "find_unused_parameters=1", "log_processor.window_size=0"),
    ],
)
def test_values_of_another_type_or_out_of_range_are_refused(option):
    with pytest.raises(DataError, match=r"not usable, expected .*\. Correct it") as error:
        load(option)
    assert str(error.value).startswith(f"--cfg-options {option}: ")


@pytest.mark.parametrize(
    "root", ["/data/my lesions", "/data/Smith, J", "2018", "/data/[v2]", "(copy)", "a=b", "'x'", "1e3"]
)
def test_a_data_root_is_taken_as_typed(root):
    cfg = load(f"data_root={root}")
    assert [cfg[f"{split}_dataloader"].dataset.data_root for split in ("train", "val", "test")] == [root] * 3


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("optim_wrapper.optimizer.lr=1", 1),
        ("optim_wrapper.optimizer.lr=5e-4", 0.0005),
        ("optim_wrapper.clip_grad=None", None),
        ("optim_wrapper.accumulative_counts=4", 4),
        ("optim_wrapper.optimizer.weight_decay=0", 0),
        ("load_from=work_dirs/a, b/iter_3.pth", "work_dirs/a, b/iter_3.pth"),
        ("load_from=5", "5"),
        ("load_from=None", None),
        ("train_dataloader.prefetch_factor=4", 4),
        ("train_dataloader.pin_memory=true", True),
        ("train_dataloader.dataset.indices=10", 10),
        ("train_dataloader.dataset.pipeline.3.scales=[96]", [96]),
        ("train_dataloader.dataset.pipeline.3.scales=96,128", (96, 128)),
        ("default_hooks.checkpoint.save_best=lesion/dice", "lesion/dice"),
        ("default_hooks.checkpoint.save_last=False", False),
        ("randomness.deterministic=True", True),
        ("model.test_cfg.mode=whole", "whole"),
        ("test_dataloader.dataset.data_prefix.img_path=images/validation", "images/validation"),
        ("visualizer.vis_backends.1.type=WandbVisBackend", "WandbVisBackend"),
    ],
)
def test_settings_that_something_reads_are_set(option, value):
    key = option.partition("=")[0]
    setting = load(option)
    for part in key.split("."):
        setting = setting[int(part)] if part.isdigit() else setting[part]
    assert setting == value


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("resume=True", r"resume: set by a flag, expected --resume\. Give that instead"),
        ("launcher=pytorch", "set by a flag, expected --launcher"),
        (
            "model.backbone.init_cfg.checkpoint=a.pth",
            r"model.backbone.init_cfg is None .*backbone.init_cfg=\{'checkpoint': ",
        ),
        ("train_dataloader.dataset=None", r"isic2018-128x128.py: does not run \("),
    ],
)
def test_sections_and_flags_are_told_in_one_line(option, message):
    with pytest.raises(DataError, match=message):
        load("data_root=a", option)


def test_a_section_is_given_whole_where_there_is_none():
    weights = {"type": "Pretrained", "checkpoint": "a.pth"}
    assert load(f"model.backbone.init_cfg={weights}").model.backbone.init_cfg == weights


@pytest.mark.parametrize("config", [MASK2FORMER, MASK_RCNN])
def test_fewer_images_are_trained_on_alone(config):
    cfg = load("train_fraction=0.1", "train_fraction_seed=3", config=config)
    assert cfg.train_dataloader.dataset.subset == dict(fraction=0.1, seed=3)
    assert not any("subset" in cfg[f"{split}_dataloader"].dataset for split in ("val", "test"))
    assert load("train_list=2018", config=config).train_dataloader.dataset.subset == dict(list_file="2018")


@pytest.mark.parametrize("config", [MASK2FORMER, MASK_RCNN])
def test_a_fold_is_validated_on(config):
    plain, cfg = load(config=config), load("fold=folds.csv:2", config=config)
    assert cfg.train_dataloader.dataset.subset == dict(fold="folds.csv:2")
    assert cfg.val_dataloader.dataset.subset == dict(fold="folds.csv:2", held_out=True)
    places = [*cfg.val_dataloader.dataset.data_prefix.values(), cfg.val_dataloader.dataset.get("ann_file", "")]
    assert sum("training" in place for place in places) == len(list(filter(None, places))) >= 2
    assert cfg.test_dataloader == plain.test_dataloader


def test_the_shortest_training_is_its_warm_up():
    (scheduler,) = load("max_iters=1").param_scheduler
    assert (scheduler.begin, scheduler.end) == (0, 1)
    assert load("param_scheduler=None", "max_iters=3").param_scheduler == []


def test_settings_of_instances():
    options = ["model.test_cfg.rcnn.score_thr=0.01", "test_evaluator.1.min_score=0.05", "val_dataloader.num_workers=0"]
    cfg = load(*options, config=MASK_RCNN)
    assert cfg.test_evaluator[1].min_score == 0.05
    assert "persistent_workers" not in cfg.val_dataloader


def test_a_training_may_do_without_loader_processes():
    cfg = load("train_dataloader.num_workers=0")
    assert not cfg.train_dataloader.get("persistent_workers")
