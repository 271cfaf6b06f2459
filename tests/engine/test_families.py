import pytest
from helpers import ROOT
from mmengine.config import Config

from lesionseg.engine.families import INSTANCES, SEMANTIC, family_for, family_of
from lesionseg.errors import DataError


@pytest.mark.parametrize(("scope", "task", "prefix"), [("mmseg", SEMANTIC, "img_path"), ("mmdet", INSTANCES, "img")])
def test_a_config_is_known_by_its_scope(scope, task, prefix):
    family = family_of(Config(dict(default_scope=scope)))
    assert (family.task, family.image_prefix) == (task, prefix)
    assert family == family_for(task)
    assert family.registry.MODELS.scope == scope


@pytest.mark.parametrize("settings", [dict(), dict(default_scope="mmpretrain")])
def test_others_are_refused_by_name(settings, tmp_path):
    (tmp_path / "other.py").write_text("".join(f"{key} = {value!r}\n" for key, value in settings.items()))
    with pytest.raises(DataError, match=r"other\.py: default_scope=\w+, expected mmseg .* or mmdet"):
        family_of(Config.fromfile(tmp_path / "other.py"))


def test_no_other_module_asks():
    for path in (ROOT / "lesionseg").rglob("*.py"):
        if path.name not in ("families.py", "environment.py", "openmmlab.py"):
            text = path.read_text()
            assert '== "mmseg"' not in text, path
            assert '== "mmdet"' not in text, path
