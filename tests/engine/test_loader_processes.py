"""What loads the data of a run is gone after it."""

from multiprocessing import active_children
from types import SimpleNamespace

import pytest
from mmengine.runner.loops import _InfiniteDataloaderIterator
from torch.utils.data import DataLoader

from lesionseg.engine.loader_processes import loaders_end_with


@pytest.mark.parametrize("persistent", [True, False])
def test_processes_are_told_to_end_and_not_waited_for_in_vain(persistent):
    loader = DataLoader(range(4), num_workers=1, persistent_workers=persistent)
    train = SimpleNamespace(dataloader=loader, dataloader_iterator=_InfiniteDataloaderIterator(loader))
    runner = SimpleNamespace(_train_loop=train, _val_loop=None, _test_loop=SimpleNamespace(dataloader=[]))
    # As hooks and loops lead back to theirs.
    runner.runner = runner
    next(train.dataloader_iterator)
    (process,) = train.dataloader_iterator._iterator._workers
    assert process in active_children()
    with pytest.raises(KeyboardInterrupt), loaders_end_with(runner):
        raise KeyboardInterrupt
    # It is -15 where a process is ended by a signal, after five seconds.
    assert process.exitcode == 0
    assert process not in active_children()


def test_a_loader_that_has_ended_begins_anew():
    loader = DataLoader(range(4), num_workers=1, persistent_workers=True)
    runner = SimpleNamespace(_train_loop=None, _val_loop=SimpleNamespace(dataloader=loader), _test_loop=None)
    for _ in range(2):
        with loaders_end_with(runner):
            assert [int(item) for item in loader] == [0, 1, 2, 3]
