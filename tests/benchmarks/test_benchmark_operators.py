from lesionseg.benchmarks import operators as benchmark_ops


def test_benchmark_times_every_operator(monkeypatch):
    monkeypatch.setattr(benchmark_ops, "ROUNDS", 1)
    rows = benchmark_ops.run("cpu")
    assert len({row.operator for row in rows}) == len(rows) == 8
    lines = benchmark_ops.table(rows).splitlines()
    assert [line.strip().split("  ")[0] for line in lines[-len(rows) :]] == [row.operator for row in rows]
    assert all(row.plain > 0 for row in rows)
