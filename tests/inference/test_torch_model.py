from importlib.metadata import PackageNotFoundError

import cv2
import numpy as np
import pytest
import torch
from helpers import MASK2FORMER, ROOT, draw_pair
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope

import lesionseg
from lesionseg.deploy.upstream import Upstream
from lesionseg.engine.config import Options, load_config
from lesionseg.engine.families import INSTANCES, SEMANTIC
from lesionseg.errors import DataError
from lesionseg.inference.finder import Image
from lesionseg.inference.network import Network
from lesionseg.inference.prepare import prepare
from lesionseg.inference.runtimes.model_card import MASK_SCORES
from lesionseg.inference.runtimes.torch_model import TorchModel, build_module, content_size

MASK_RCNN = str(ROOT / "configs/mask_rcnn/mask-rcnn_r18-w64_fpn_1xb8-1300i_isic2018-160x160.py")


def model(config, tmp_path, *options):
    """With weights as they begin, which find something everywhere."""
    options = Options(config, cfg_options=options)
    torch.manual_seed(0)
    module = build_module(load_config(options), config)
    torch.save(dict(state_dict=module.state_dict()), tmp_path / "random.pth")
    return TorchModel(options, tmp_path / "random.pth", "cpu")


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return model(MASK_RCNN, tmp_path_factory.mktemp("detector"), "test_evaluator.1.min_score=0.2")


@pytest.mark.parametrize("config", [MASK2FORMER, MASK_RCNN], ids=["mask2former", "mask-rcnn"])
def test_images_go_in_as_the_test_pipeline_has_them(config, tmp_path, isic_folder):
    original = model(config, tmp_path)
    path = str(next((isic_folder / "images/test").iterdir()))
    init_default_scope(original.cfg.default_scope)
    steps = [step for step in original.cfg.test_dataloader.dataset.pipeline if step["type"] != "LoadLesionMask"]
    packed = Compose([dict(step, meta_keys=("ori_shape",)) if "Pack" in step["type"] else step for step in steps])(
        dict(img_path=path)
    )
    batch = dict(inputs=[packed["inputs"]], data_samples=[packed["data_samples"]])
    expected = original.module.data_preprocessor(batch, False)["inputs"].numpy()
    # Of the drawn images, 72x96, the width is padded: there is something to get wrong.
    np.testing.assert_array_equal(prepare(cv2.imread(path), original.card).tensor[None], expected)
    assert (expected[..., -1] == 0).all()


def test_cards(detector, tmp_path):
    card = model(MASK2FORMER, tmp_path).card
    assert (card.task, card.score_rule, card.size_divisor, card.scale) == (SEMANTIC, MASK_SCORES, 32, (512, 128))
    assert card.classes == ("background", "lesion")
    card = detector.card
    assert (card.task, card.score_rule, card.size_divisor, card.scale) == (INSTANCES, "union", 32, (640, 160))
    assert (card.classes, card.min_score) == (("lesion",), 0.2)


def test_a_checkout_that_is_not_installed_has_a_version(tmp_path, monkeypatch):
    def version(name):
        if name == "lesionseg":
            raise PackageNotFoundError(name)
        return "1.2"

    monkeypatch.setattr("lesionseg.inference.runtimes.config_card.version", version)
    versions = model(MASK2FORMER, tmp_path).card.versions
    assert versions["lesionseg"] == lesionseg.__version__
    assert versions["torch"] == "1.2"


def test_what_a_gpu_has_saved_is_opened_without_one(tmp_path, monkeypatch):
    expected = model(MASK2FORMER, tmp_path).module.state_dict()
    monkeypatch.setattr("torch.serialization.location_tag", lambda storage: "cuda:0")
    opened = model(MASK2FORMER, tmp_path)
    monkeypatch.undo()
    with pytest.raises(RuntimeError, match="CUDA"):
        torch.load(tmp_path / "random.pth", weights_only=True)
    for name, value in opened.module.state_dict().items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("size", [(72, 96), (131, 60), (160, 160)], ids=str)
def test_instances_are_those_of_mmdetection(detector, size):
    image = [Image(draw_pair(1, *size)[0])]
    (stock,), (ours,) = Upstream(detector.module, detector.card).find(image), Network(detector).find(image)
    assert len(stock.instances) > 0
    np.testing.assert_allclose(ours.instances.scores, stock.instances.scores, atol=1e-6)
    np.testing.assert_allclose(ours.instances.boxes, stock.instances.boxes, atol=1e-3)
    np.testing.assert_array_equal(ours.instances.chosen, stock.instances.chosen)
    # Rounding may decide a pixel at the edge.
    for number in range(len(stock.instances)):
        assert np.mean(ours.instances.draw(number) == stock.instances.draw(number)) > 0.9999
    assert np.mean(ours.mask == stock.mask) > 0.9999


def test_a_batch_of_images_of_different_sizes(detector):
    images = [prepare(draw_pair(number, *size)[0], detector.card) for number, size in enumerate([(72, 96), (72, 110)])]
    height, width = (max(image.tensor.shape[axis] for image in images) for axis in (1, 2))
    batch = np.zeros((2, 3, height, width), np.float32)
    for place, image in zip(batch, images, strict=True):
        place[:, : image.tensor.shape[1], : image.tensor.shape[2]] = image.tensor
    dets, labels, masks = detector.run(batch)
    assert dets.shape[0] == labels.shape[0] == masks.shape[0] == 2
    for number, image in enumerate(images):
        # Boxes end where the image ends, not where the batch does.
        assert dets[number, :, 2].max() <= image.content[1]


def test_content_ends_where_padding_begins():
    image = torch.zeros(3, 8, 12)
    image[1, :5, :7] = -0.01
    assert content_size(image) == (5, 7)


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        (MASK_RCNN, ("model.test_cfg.rcnn.mask_thr_binary=0.4",), "mask_thr_binary=0.4, expected 0.5"),
        (MASK_RCNN, ("model.data_preprocessor.pad_value=114",), "images are padded with 114, expected 0"),
        (MASK2FORMER, ("model.data_preprocessor.pad_val=7",), "images are padded with 7, expected 0"),
        (
            MASK2FORMER,
            ("test_dataloader.dataset.pipeline.1.keep_ratio=False",),
            r"its test pipeline resizes by Resize, expected one Resize\(scale=\.\.\., keep_ratio=True\)",
        ),
    ],
)
def test_what_a_card_cannot_tell_is_refused(config, options, message, tmp_path):
    with pytest.raises(DataError, match=message):
        model(config, tmp_path, *options)
