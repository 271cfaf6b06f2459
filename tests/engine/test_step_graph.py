"""A training step as a CUDA graph computes what the step does, for every batch."""

import copy

import pytest
import torch
from helpers import ROOT
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

from lesionseg.engine import step_graph
from lesionseg.engine.config import Options, load_config
from lesionseg.engine.cpu_speed import use_float32
from lesionseg.engine.step_graph import StepGraphs, check_step_graph, uses_step_graph
from lesionseg.errors import DataError

MASK2FORMER = str(ROOT / "configs/mask2former/mask2former_r18c4-w64_1xb8-amp-albu-2500i_isic2018-128x128.py")
SEGFORMER = str(ROOT / "configs/segformer/segformer_mit-b0_1xb8-amp-albu-2500i_isic2018-128x128.py")
MASK_RCNN = str(ROOT / "configs/mask_rcnn/mask-rcnn_r18-w64_fpn_1xb8-1300i_isic2018-160x160.py")
MAE = str(ROOT / "configs/mae/mae_vit-t_1xb64-3k_unlabelled-128x128.py")
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.mark.parametrize(
    ("config", "options", "fault"),
    [
        (MASK_RCNN, ["model.type=MaskRCNN"], "the shapes in its steps depend on what is found"),
        (MAE, [], "it is a pre-training"),
        (MASK2FORMER, ["optim_wrapper.accumulative_counts=2"], "with accumulative_counts some steps differ"),
        (MASK2FORMER, ["compile=True"], "compile makes graphs, too"),
        (MASK2FORMER, ["activation_checkpointing=['backbone']"], "activation_checkpointing looks at the random state"),
    ],
)
def test_a_step_that_is_not_always_the_same_is_refused(config, options, fault):
    cfg = load_config(Options(config, cfg_options=["cuda_graph=True", *options]))
    with pytest.raises(DataError, match=f"cuda_graph=True, but {fault}.*Leave it out"):
        check_step_graph(cfg)


def test_several_processes_are_refused():
    with pytest.raises(DataError, match="several processes gather their gradients"):
        check_step_graph(load_config(Options(MASK2FORMER, cfg_options=["cuda_graph=True"], launcher="pytorch")))


@pytest.mark.parametrize(
    ("config", "options", "launcher", "expected"),
    [
        (MASK2FORMER, [], "none", True),
        (SEGFORMER, ["cuda_graph=True"], "none", True),
        (MASK2FORMER, ["cuda_graph=False"], "none", False),
        # What others' steps depend on is not known.
        (MASK2FORMER, ["model.decode_head.type=Mask2FormerHead"], "none", False),
        (MASK2FORMER, ["model.decode_head.type=Mask2FormerHead", "cuda_graph=True"], "none", True),
        # Nobody has asked for what cannot be.
        (MASK2FORMER, [], "pytorch", False),
        (MASK2FORMER, ["compile={}"], "none", False),
        (MASK_RCNN, [], "none", True),
        (MASK_RCNN, ["model.type=MaskRCNN"], "none", False),
    ],
)
def test_a_gpu_takes_steps_by_graphs_where_it_can(config, options, launcher, expected, monkeypatch):
    cfg = load_config(Options(config, cfg_options=options, launcher=launcher))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert uses_step_graph(cfg) == expected
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not uses_step_graph(cfg)


def test_it_is_on_or_off():
    with pytest.raises(DataError, match="cuda_graph=1: not usable, expected True or False"):
        load_config(Options(MASK2FORMER, cfg_options=["cuda_graph=1"]))


class Trained:
    """A model of a config on the GPU, with its batches; drawn alike every time."""

    def __init__(self, config, folder, *options, amp=False, device="cuda"):
        changes = [f"data_root={folder}", "train_dataloader.batch_size=2", *options]
        cfg = load_config(Options(config, cfg_options=changes))
        init_default_scope(cfg.default_scope)
        if amp:
            cfg.optim_wrapper.update(type="AmpOptimWrapper", dtype="bfloat16", loss_scale=dict(enabled=False))
        else:
            use_float32(cfg)
        loader = Runner.build_dataloader(dict(cfg.train_dataloader, num_workers=0, persistent_workers=False), seed=0)
        batches = iter(loader)
        self.batches = [next(batches) for _ in range(3)]
        torch.manual_seed(0)
        self.model = MODELS.build(cfg.model).to(device).train()
        self.optim_wrapper = build_optim_wrapper(self.model, cfg.optim_wrapper)
        self.gradients = None
        self.optim_wrapper.optimizer.register_step_pre_hook(self._keep_gradients)

    def _keep_gradients(self, *_):
        self.gradients = torch.cat([p.grad.flatten() for p in self.model.parameters() if p.grad is not None])

    def losses(self, step, order=(0, 1, 2)):
        """The values that are logged after each step of a training."""
        torch.manual_seed(1)
        found = []
        for number in order:
            logged = step(copy.deepcopy(self.batches[number]), self.optim_wrapper)
            found.append({name: value.item() for name, value in logged.items()})
        return found


@pytest.mark.parametrize("config", [MASK2FORMER, SEGFORMER, MASK_RCNN])
def test_what_a_graph_is_told_is_all_that_batches_differ_in(config, coco_folder):
    trained = Trained(config, coco_folder, device="cpu")
    losses = []
    # The graph is made with one batch, and told of another.
    first, second = (trained.model.data_preprocessor(copy.deepcopy(batch), True) for batch in trained.batches[:2])
    _, restore = step_graph._stack(trained.model, first)
    tensors, _ = step_graph._stack(trained.model, second)
    for batch in (second, restore(tensors)):
        torch.manual_seed(1)
        losses.append(trained.model(**batch, mode="loss"))
    torch.testing.assert_close(*losses, rtol=0, atol=0)


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("config", [MASK2FORMER, SEGFORMER, MASK_RCNN])
@pytest.mark.parametrize("amp", [False, True], ids=["float32", "bfloat16"])
def test_a_training_goes_as_without(config, amp, coco_folder):
    # Which regions Mask R-CNN draws next depends on the last digits of what it has learned.
    options = ["optim_wrapper.optimizer.lr=0"] if config == MASK_RCNN else []
    plain, graphed = (Trained(config, coco_folder, *options, amp=amp) for _ in range(2))
    expected = plain.losses(plain.model.train_step, (0, 1, 2, 1))
    found = graphed.losses(StepGraphs(graphed.model), (0, 1, 2, 1))
    # The first step is before any rounding was learned from. Other points would change a loss by more than that.
    assert found[0] == pytest.approx(expected[0], rel=1e-2 if amp else 1e-3)
    tolerance = 5e-2
    for ours, other in zip(found, expected, strict=True):
        assert ours == pytest.approx(other, rel=tolerance, abs=tolerance)
    assert torch.cosine_similarity(graphed.gradients, plain.gradients, 0) > 0.98
    for (name, ours), other in zip(graphed.model.named_buffers(), plain.model.buffers(), strict=True):
        torch.testing.assert_close(ours, other, rtol=tolerance, atol=tolerance, msg=name)
    assert torch.equal(torch.cuda.get_rng_state(), _state_after(plain, 4))


@pytest.mark.gpu
@on_a_gpu
def test_what_a_graph_reads_outlives_validations_of_other_sizes(isic_folder):
    plain, graphed = (Trained(MASK2FORMER, isic_folder) for _ in range(2))
    step = StepGraphs(graphed.model)
    graphed.losses(step, (0,))
    with torch.no_grad():
        for width in range(32, 32 * 40, 32):
            graphed.model.eval()(torch.rand(1, 3, 64, width, device="cuda"), mode="predict")
    graphed.model.train()
    torch.cuda.empty_cache()
    taken = [torch.full((1 << 20,), torch.nan, device="cuda") for _ in range(200)]
    plain.losses(plain.model.train_step, (0,))
    found, expected = graphed.losses(step, (1,)), plain.losses(plain.model.train_step, (1,))
    assert taken
    assert found[0] == pytest.approx(expected[0], rel=5e-2, abs=5e-2)


def _state_after(trained, steps):
    trained.losses(trained.model.train_step, (0,) * steps)
    return torch.cuda.get_rng_state()


@pytest.mark.gpu
@on_a_gpu
def test_weights_learn_and_gradients_are_not_summed_up(isic_folder):
    trained = Trained(MASK2FORMER, isic_folder)
    step = StepGraphs(trained.model)
    norms = []
    for _ in range(3):
        # Without a change of weights, the same batch and random state have the same gradients.
        torch.manual_seed(2)
        before = [each.detach().clone() for each in trained.model.parameters()]
        step(copy.deepcopy(trained.batches[0]), trained.optim_wrapper)
        norms.append(torch.nn.utils.get_total_norm([p.grad for p in trained.model.parameters() if p.grad is not None]))
        changed = [not torch.equal(old, new) for old, new in zip(before, trained.model.parameters(), strict=True)]
        assert sum(changed) > 0.9 * len(changed)
        with torch.no_grad():
            for old, new in zip(before, trained.model.parameters(), strict=True):
                new.copy_(old)
    assert norms[1].item() == pytest.approx(norms[0].item(), rel=0.02)
    assert norms[2].item() == pytest.approx(norms[0].item(), rel=0.02)


@pytest.mark.gpu
@on_a_gpu
def test_batches_of_many_shapes_and_frozen_weights_are_trained_on(isic_folder, monkeypatch):
    monkeypatch.setattr(step_graph, "MOST_GRAPHS", 4)
    plain, graphed = (Trained(MASK2FORMER, isic_folder) for _ in range(2))
    step = StepGraphs(graphed.model)
    for trained in (plain, graphed):
        whole = trained.batches[0]
        trained.batches = [dict(inputs=whole["inputs"][:1], data_samples=whole["data_samples"][:1]), whole]
        trained.batches += [
            dict(inputs=(whole["inputs"] * 3)[:n], data_samples=(whole["data_samples"] * 3)[:n]) for n in (3, 4, 5)
        ]
    order = (0, 1, 2, 3, 4, 1, 4, 0)
    for ours, other in zip(graphed.losses(step, order), plain.losses(plain.model.train_step, order), strict=True):
        assert ours == pytest.approx(other, rel=5e-2, abs=5e-2)
    assert len(step._graphs) == 4
    assert all(step._graphs.values())
    graphed.model.backbone.requires_grad_(False)
    before = [each.detach().clone() for each in graphed.model.backbone.parameters()]
    graphed.optim_wrapper.optimizer.param_groups[0]["weight_decay"] = 0.0
    graphed.losses(step, (1,))
    assert all(each.grad is None for each in graphed.model.backbone.parameters())
    assert all(torch.equal(*pair) for pair in zip(before, graphed.model.backbone.parameters(), strict=True))


@pytest.mark.gpu
@on_a_gpu
def test_a_step_that_waits_for_the_gpu_is_taken_without(isic_folder):
    plain, waiting = (Trained(MASK2FORMER, isic_folder) for _ in range(2))
    parse = waiting.model.parse_losses

    def parse_and_wait(losses):
        loss, logged = parse(losses)
        loss.item()
        return loss, logged

    waiting.model.parse_losses = parse_and_wait
    step = StepGraphs(waiting.model)
    found, expected = waiting.losses(step), plain.losses(plain.model.train_step)
    assert found[0] == pytest.approx(expected[0], rel=1e-3)
    assert found[2] == pytest.approx(expected[2], rel=5e-2, abs=5e-2)
    assert list(step._graphs.values()) == [None]
