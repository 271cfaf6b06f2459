import re

import pytest
import torch

import lesionseg.openmmlab  # noqa: F401  Loads checkpoints as data.
from lesionseg.errors import DataError
from lesionseg.models.vision_transformer import TIMMVisionTransformer

SMALL = dict(model_name="vit_tiny_patch16_224", embed_dim=24, depth=4, num_heads=2, out_indices=(1, 3))


def backbone(path=None, **settings):
    init_cfg = path and dict(type="Pretrained", checkpoint=str(path))
    return TIMMVisionTransformer(**{**SMALL, "img_size": 64, **settings}, init_cfg=init_cfg)


def save(path, weights):
    torch.save(dict(state_dict=weights, meta=dict(model="drawn")), path)
    return path


@pytest.fixture
def pretrained(tmp_path):
    """A file as of a pre-training on images of 32 px, with the last normalisation, and its weights."""
    weights = backbone(img_size=32).timm_model.model.state_dict()
    weights = {name: torch.randn_like(value) for name, value in weights.items()}
    # Of the 2x2 patches, the lower two are 1.
    weights["pos_embed"] = torch.tensor([7.0, 0, 0, 1, 1])[None, :, None].repeat(1, 1, 24)
    norm = {"norm.weight": torch.ones(24), "norm.bias": torch.zeros(24)}
    return save(tmp_path / "ssl_backbone.pth", weights | norm), weights


@torch.no_grad()
def test_blocks_give_maps_of_images_of_any_size():
    vit = backbone().eval()
    for height, width in ((64, 64), (32, 80)):
        maps = vit(torch.randn(2, 3, height, width))
        assert [each.shape for each in maps] == [(2, 24, height // 16, width // 16)] * 2
        assert not torch.equal(*maps)


def test_a_training_begins_with_the_weights_of_the_file(pretrained):
    path, weights = pretrained
    vit = backbone(path)
    vit.init_weights()
    begun = vit.timm_model.model.state_dict()
    positions = begun.pop("pos_embed")[0]
    assert all(torch.equal(value, weights[name]) for name, value in begun.items())
    assert torch.equal(positions[0], torch.full((24,), 7.0))
    rows = positions[1:].reshape(4, 4, 24)
    assert torch.allclose(rows, rows[:, :1, :1])
    # From 0 to 1 from top to bottom, as steep in both halves.
    assert torch.allclose(rows + rows.flip(0), torch.ones(()))
    assert (rows.diff(dim=0) > 0).all()


def test_without_a_training_nobody_asks_for_the_file(tmp_path):
    backbone(tmp_path / "none.pth").load_state_dict(backbone().state_dict())


def without_a_block(weights):
    return {name: value for name, value in weights.items() if not name.startswith("blocks.2.")}


@pytest.mark.parametrize(
    ("change", "settings", "fault"),
    [
        (dict, dict(embed_dim=48), r"52 have another shape \(cls_token \(1, 1, 24\) for \(1, 1, 48\), pos_embed"),
        (dict, dict(depth=3, out_indices=(1, 2)), r"12 are unexpected \(blocks\.3\.norm1\.weight"),
        (without_a_block, {}, r"12 keys are missing \(blocks\.2\.norm1\.weight"),
        (lambda weights: weights | {"decoder": torch.ones(1)}, {}, r"1 are unexpected \(decoder\)"),
        (
            lambda weights: weights | {"pos_embed": torch.ones(1, 4, 24)},
            {},
            r"pos_embed \(1, 4, 24\) for \(1, 17, 24\)",
        ),
    ],
    ids=["another width", "fewer blocks", "a block less", "a decoder", "patches in no square"],
)
def test_weights_of_another_model_are_refused(pretrained, tmp_path, change, settings, fault):
    path = save(tmp_path / "other.pth", change(pretrained[1]))
    vit = backbone(path, **settings)
    before = {name: value.clone() for name, value in vit.state_dict().items()}
    with pytest.raises(DataError, match=rf"^{re.escape(str(path))}: does not fit vit_tiny_patch16_224: .*{fault}"):
        vit.init_weights()
    assert all(torch.equal(value, before[name]) for name, value in vit.state_dict().items())


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("lesionseg.models.vision_transformer.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"^timm: not installed, expected it for a ViT. Install the extra vit"):
        backbone()
