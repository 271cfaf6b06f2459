"""What is kept for later calls, and for CUDA graphs."""

import gc
import weakref

import pytest
import torch

from lesionseg.ops.kept import kept


def squares(calls):
    @kept(2)
    def square(number):
        calls.append(number)
        return torch.tensor(number) ** 2

    return square


def test_the_results_of_the_last_arguments_are_kept():
    calls = []
    square = squares(calls)
    assert square(3) is square(3)
    square(4), square(5), square(3)
    assert calls == [3, 4, 5, 3]


@pytest.mark.parametrize("capturing", [False, True])
def test_what_a_graph_was_made_with_is_kept_for_good(capturing, monkeypatch):
    square = squares([])
    square(3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: capturing)
    result = weakref.ref(square(3))
    monkeypatch.undo()
    square(4), square(5)
    gc.collect()
    assert (result() is not None) == capturing
