import numpy as np
from matplotlib.figure import Figure

from lesionseg.engine.learning_curve import draw_learning_curve


def test_one_validation_stands_at_the_end_of_the_training(tmp_path, monkeypatch):
    drawn, save = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, *rest, **more: drawn.append(figure) or save(figure, *rest))
    draw_learning_curve(tmp_path / "a.png", np.linspace(2, 1, 300), [{"step": 300, "lesion/jaccard": 0.6}])
    losses, scores = drawn[0].axes
    assert losses.get_xlim() == scores.get_xlim()
    assert scores.get_xlim()[0] == 0
    assert 300 < scores.get_xlim()[1] < 320
    assert scores.get_ylim()[0] < 0 < 1 < scores.get_ylim()[1]
