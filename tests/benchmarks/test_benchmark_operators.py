import pytest

from lesionseg.benchmarks import operators as benchmark_ops
from lesionseg.errors import DataError


def test_benchmark_times_every_operator(monkeypatch):
    monkeypatch.setattr(benchmark_ops, "ROUNDS", 1)
    rows = benchmark_ops.run("cpu")
    assert len({row.operator for row in rows}) == len(rows) == 8
    lines = benchmark_ops.table(rows).splitlines()
    assert [line.strip().split("  ")[0] for line in lines[-len(rows) :]] == [row.operator for row in rows]
    assert all(row.ours > 0 for row in rows)


def test_a_device_that_is_not_there_is_told():
    with pytest.raises(
        DataError, match=r"^cuda:99: no such device here \(.*\), expected cpu or cuda\. Choose another\.$"
    ):
        benchmark_ops.run("cuda:99")
