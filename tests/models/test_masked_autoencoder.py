import sys
from types import SimpleNamespace

import pytest
import timm
import torch
from mmengine.structures import BaseDataElement

from lesionseg.errors import DataError
from lesionseg.models.masked_autoencoder import MaskedAutoencoder

VIT = "vit_tiny_patch16_224"
PREPROCESSOR = dict(
    type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
)


def build(image_size=64, **settings):
    torch.manual_seed(0)
    return MaskedAutoencoder(VIT, image_size, dict(width=32, depth=1, heads=4), **settings).eval()


def samples(*names):
    return [BaseDataElement(metainfo=dict(image_id=name)) for name in names]


@pytest.fixture(scope="module")
def model():
    return build(data_preprocessor=PREPROCESSOR)


@pytest.mark.parametrize("shape", [(192, 192), (256, 320), (512, 512)])
@torch.no_grad()
def test_encoder_is_timms_to_the_last_bit(shape):
    model = build(192, mask_ratio=0.0)
    vit = timm.create_model(VIT, img_size=192, num_classes=0, global_pool="", dynamic_img_size=True).eval()
    vit.load_state_dict(model.encoder_weights(), strict=True)
    image = torch.randn(2, 3, *shape)
    grid = [edge // 16 for edge in shape]
    embeddings, patches = model.mae.vit.embeddings, grid[0] * grid[1]
    # Where the image has another size, both are given timm's positions.
    positions = timm.layers.resample_abs_pos_embed(vit.pos_embed, grid, num_prefix_tokens=1)
    embeddings.position_embeddings, embeddings.image_size = torch.nn.Parameter(positions, False), shape
    in_order = torch.linspace(0, 1, patches).expand(2, -1)
    ours = model.mae.vit(image, noise=in_order).last_hidden_state
    assert (ours - vit(image)).abs().max() == 0.0


def test_patches_are_told_apart_by_their_place(model):
    # transformers 5.24 leaves these zero in a model that was not downloaded.
    for positions in (model.mae.vit.embeddings.position_embeddings, model.mae.decoder.decoder_pos_embed):
        assert len(positions[0].unique(dim=0)) == 1 + 16
        assert not positions.requires_grad
    assert model.mae.decoder.mask_token.std() > 0.01


def test_loss_is_that_of_hidden_patches_only(model):
    image = torch.randn(2, 3, 64, 64)
    torch.manual_seed(0)
    loss = model(image)["loss"]
    torch.manual_seed(0)
    output = model.mae(image)
    assert output.mask.sum(1).tolist() == [12, 12]  # three quarters of 16
    patches = model.mae.patchify(image)
    target = (patches - patches.mean(-1, keepdim=True)) / (patches.var(-1, keepdim=True) + 1e-6).sqrt()
    error = (output.logits - target).square().mean(-1)
    assert loss.item() == pytest.approx(error[output.mask.bool()].mean().item(), rel=1e-5)


@pytest.mark.parametrize("normalised", [True, False])
@torch.no_grad()
def test_a_perfect_decoder_gives_the_image_back(normalised, monkeypatch):
    model = build(norm_pix_loss=normalised, data_preprocessor=PREPROCESSOR)
    pixels = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    inputs = model.data_preprocessor(dict(inputs=[pixels]))["inputs"]
    target = patches = model.mae.patchify(inputs)
    if normalised:
        target = (patches - patches.mean(-1, keepdim=True)) / (patches.var(-1, keepdim=True) + 1e-6).sqrt()
    hidden = torch.tensor([[0.0, 1.0] * 8])
    found = SimpleNamespace(loss=torch.tensor(0.0), logits=target, mask=hidden)
    monkeypatch.setattr(model.mae, "forward", lambda **_: found)
    (sample,) = model(inputs, samples("a"), mode="predict")
    assert torch.equal(sample.reconstruction, pixels)
    # Of the second patch nothing is seen, and the mean colour stands in its place; the first is as it was.
    assert torch.equal(sample.masked[:, :16, :16], pixels[:, :16, :16])
    assert sample.masked[:, :16, 16:32].flatten(1).unique(dim=1).flatten().tolist() == [104, 116, 124]


@torch.no_grad()
def test_what_is_hidden_depends_on_the_id_alone(model):
    image = torch.randn(1, 3, 64, 64)
    alone = model(image, samples("b"), mode="predict")[0].masked
    among = model(torch.cat([torch.randn(1, 3, 64, 64), image]), samples("a", "b"), mode="predict")[1].masked
    other = model(image, samples("c"), mode="predict")[0].masked
    assert torch.equal(alone, among)
    assert not torch.equal(alone, other)


@pytest.mark.parametrize(
    ("encoder", "size", "said"),
    [
        ("vit_tiny_patch16_224", 100, "image_size=100: expected a multiple of vit_tiny_patch16_224's patches of 16"),
        ("vit_tiny_patch16_224", 8, "expected a multiple of vit_tiny_patch16_224's patches of 16"),
        ("vit_mini", 64, "vit_mini: timm makes no ViT of it"),
        ("resnet18", 64, "resnet18: "),
    ],
)
def test_encoders_that_cannot_be(encoder, size, said):
    with pytest.raises(DataError, match=said):
        MaskedAutoencoder(encoder, size)


@pytest.mark.parametrize(("module", "extra"), [("timm", "vit"), ("transformers.models.vit_mae", "mae")])
def test_a_missing_package_is_named_with_its_extra(module, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError, match=rf"^{module.partition('.')[0]}: .*`pip install \.\[{extra}\]`"):
        MaskedAutoencoder(VIT, 64)
