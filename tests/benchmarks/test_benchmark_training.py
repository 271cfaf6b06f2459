"""How tools/benchmark.py times training steps."""

import pytest
from helpers import MASK2FORMER, ROOT

from lesionseg.benchmarks.training import OURS, STOCK, train_rows, train_table, use_stock
from lesionseg.engine.config import Options, load_config
from lesionseg.errors import DataError


def options(data_root):
    return Options(MASK2FORMER, cfg_options=[f"data_root={data_root}", "train_dataloader.batch_size=1"])


@pytest.mark.slow
def test_training_steps_are_timed_beside_stock(isic_folder):
    stock, ours = rows = train_rows(options(isic_folder), steps=1, rounds=1)
    assert (stock.name, ours.name) == (STOCK, OURS)
    assert stock.times_stock == 1
    assert ours.times_stock == pytest.approx(stock.seconds / ours.seconds)
    assert ours.images_per_second == pytest.approx(1 / ours.seconds)
    assert 0 < ours.operators < stock.operators
    lines = train_table(rows).splitlines()[-2:]
    for row, line in zip(rows, lines, strict=True):
        assert line.split()[-3:] == [f"{row.times_stock:.2f}", f"{row.memory:,.0f}", f"{row.operators:,}"]


@pytest.mark.slow
def test_a_fault_of_the_data_is_told_by_the_one_who_asked(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        train_rows(options(tmp_path / "nowhere"), steps=1, rounds=1)


def test_stock_has_nothing_of_this_project_in_its_steps():
    cfg = load_config(Options(MASK2FORMER))
    use_stock(cfg)
    assert cfg.model.decode_head.type == "Mask2FormerHead"
    instances = load_config(
        Options(str(ROOT / "configs/mask_rcnn/mask-rcnn_r18-w64_fpn_1xb8-1300i_isic2018-160x160.py"))
    )
    use_stock(instances)
    assert instances.model.type == "MaskRCNN"
    assert cfg.optim_wrapper.type == "OptimWrapper"
    assert "constructor" not in cfg.optim_wrapper
