"""The ratios that tools/benchmark.py prints."""

import pytest
from helpers import ROOT, load_tool

from lesionseg.benchmarks.input import input_rows, input_table
from lesionseg.data.phantoms.phantom import draw_release
from lesionseg.engine.config import Options, load_config

CONFIG = str(ROOT / "configs/mask2former/mask2former_r50_1xb4-20k_isic2018-512x512.py")


@pytest.fixture(autouse=True)
def cache_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_every_way_of_reading_is_compared_to_stock_of_the_same_extent(isic_folder, cache_home):
    cfg = load_config(Options(CONFIG, cfg_options=[f"data_root={isic_folder}"]))
    rows = {row.name: row for row in input_rows(cfg, None, images=2, rounds=1)}
    assert list(rows) == [
        "stock loading and resizing",
        "this config's loading and resizing",
        "this config's loading and resizing, masks not cached",
        "stock whole pipeline",
        "this config's whole pipeline",
        "this config's whole pipeline, masks not cached",
        "bare decoding of the images it reads",
    ]
    for name, row in rows.items():
        stock = rows["stock whole pipeline" if "whole" in name else "stock loading and resizing"]
        assert row.times_stock == pytest.approx(row.images_per_second / stock.images_per_second)
    lines = input_table(list(rows.values())).splitlines()[-len(rows) :]
    assert [float(line.split()[-1]) for line in lines] == [round(row.times_stock, 2) for row in rows.values()]
    assert list(cache_home.rglob("*.json")), "the masks were not checked as a training checks them"


def test_a_config_of_instances_is_refused_in_one_line(coco_folder, capsys):
    config = str(ROOT / "configs/mask_rcnn/mask-rcnn_r18-w64_fpn_1xb8-1300i_isic2018-160x160.py")
    assert load_tool("benchmark").main(["input", config, "--cfg-options", f"data_root={coco_folder}"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {config}: no LoadLesionMask in its training pipeline, expected a config of sem")
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    "option", ["train_dataloader=None", "train_dataloader.dataset=None", "train_dataloader.dataset.pipeline=['x']"]
)
def test_a_config_without_expected_parts_is_told(option, isic_folder, capsys):
    assert load_tool("benchmark").main(["input", CONFIG, "--cfg-options", f"data_root={isic_folder}", option]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {CONFIG}: does not run (")
    assert printed.count("\n") == 1


def test_a_conversion_is_compared_to_decoding_every_file(tmp_path, capsys):
    draw_release(tmp_path / "release", 3, 1, 1, seed=0, height=96, width=130)
    arguments = ["convert", str(tmp_path / "release"), "--short-edge", "48", "--workers", "2", "--rounds", "1"]
    assert load_tool("benchmark").main(arguments) == 0
    decoding, shrinking, linking = capsys.readouterr().out.splitlines()[-3:]
    assert decoding.split()[-1] == "1.00"
    assert shrinking.strip().startswith("converting with --short-edge 48 ")
    assert all(float(line.split()[-1]) > 0 for line in (shrinking, linking))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["release"]


def test_a_conversion_of_nothing_is_an_error(tmp_path, capsys):
    assert load_tool("benchmark").main(["convert", str(tmp_path / "none")]) == 1
    assert "none: no such folder" in capsys.readouterr().err
