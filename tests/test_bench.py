"""`annx bench`: cases, timing on a fake clock, wrong results, the command line."""

from __future__ import annotations

import json
import pathlib
import random
import subprocess
import sys
import threading
import time
from typing import Any

import annx
import numpy as np
import pytest
from annx import _core, cli
from annx.bench import cli as bench_cli
from annx.bench import machine, peers, run, timing
from annx.bench.cases import SHAPES, SUITES, Case, load_suite, parse_case, select
from annx.bench.problem import Contender, Problem, arrays_of, build, error_of
from annx.bench.stats import geometric_mean, median, quantile
from annx.bench.suites import ops
from annx.bench.workloads import sklearn_mlp

ROOT = pathlib.Path(__file__).resolve().parents[1]
HAVE = [suite for suite in SUITES if (SHAPES / f"{suite}.txt").is_file()]
# What a test can afford; the rest differ in size alone.
BIG = 3e8


class FakeClock:
    """Time passes only where a test says so."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def call(self, nanoseconds: int) -> Any:
        def run() -> None:
            self.now += nanoseconds

        return run


# --- cases


def test_a_line_is_a_case() -> None:
    case = parse_case("nt m=32 n=10 k=7  # net layer", "gemm")
    assert case is not None
    assert (case.id, case.label) == ("gemm/nt m=32 n=10 k=7", "net layer")
    assert case.number("m") == 32
    assert parse_case("  # a heading", "gemm") is None
    assert parse_case("relu shape=4x5", "elementwise").sizes("shape") == (4, 5)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nt m", "x:3: expected key=value but got 'm'"),
        ("nt m=1 m=2", "x:3: m given twice"),
        ("NT m=1", "x:3: expected the name of a problem but got 'NT'"),
    ],
)
def test_a_malformed_line_is_named(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_case(line, "gemm", "x:3")


def test_wrong_values_are_named() -> None:
    case = Case("gemm", "nt", {"m": "a"})
    with pytest.raises(ValueError, match="gemm/nt m=a: expected a whole number m but got 'a'"):
        case.number("m")
    with pytest.raises(ValueError, match="expected k="):
        case.number("k")
    with pytest.raises(ValueError, match="expected shape like 32x64 but got ''"):
        case.sizes("shape")
    with pytest.raises(ValueError, match="expected one of nn, nt, tn, bmm but got 'mm'"):
        build(Case("gemm", "mm"))
    with pytest.raises(ValueError, match=r"expected a suite among gemm.* but got 'gem'"):
        load_suite("gem")


@pytest.mark.parametrize("suite", HAVE)
def test_suites_are_well_formed(suite: str) -> None:
    cases = load_suite(suite)
    assert cases
    assert all(case.label for case in cases) or suite in ("overhead", "ops")


def test_gemm_has_the_shapes_of_training() -> None:
    cases = load_suite("gemm")
    assert len([case for case in cases if not case.label.startswith(("small", "single"))]) >= 32
    assert {case.kind for case in cases} == {"nn", "nt", "tn", "bmm"}
    assert {case.name for case in select(cases, "mnist_mlp forward")} >= {"nt m=128 n=128 k=784"}


@pytest.mark.parametrize("suite", [s for s in HAVE if s != "ops"])
def test_problems_are_right(suite: str) -> None:
    """annx and NumPy on every case that is not large, against float64."""
    for case in load_suite(suite):
        problem = build(case)
        if problem.reference is None or max(problem.flops or 0, 8 * (problem.bytes or 0)) > BIG:
            continue
        expected = problem.reference()
        for name in ("annx", "numpy"):
            made = problem.makers[name]() if name in problem.makers else None
            if made is None:
                continue
            contender = made if isinstance(made, Contender) else Contender(made)
            result = (contender.result or contender.call)()
            assert error_of(arrays_of(result), expected) <= problem.tolerance, (case.id, name)
            contender.call()


def test_every_op_has_a_case_that_runs() -> None:
    assert ops.without_case() == []
    for case in ops.cases():
        problem = build(case)
        made = problem.makers["annx"]()
        assert isinstance(made, Contender)
        result = made.call()
        if problem.reference is not None:
            assert error_of(arrays_of(result), problem.reference()) <= problem.tolerance, case.id


def test_values_of_op_cases() -> None:
    rng = np.random.default_rng(0)
    a = ops.read_value("f32[3,4]", rng)
    assert (a.shape, a.dtype, a.min() < 0) == ((3, 4), np.float32, True)
    assert ops.read_value("f32+[50]", rng).min() >= 0.1
    b = ops.read_value("i64[50]<3", rng)
    assert (b.dtype, b.max(), b.min()) == (np.int64, 2, 0)
    assert ops.read_value("b8[5]", rng).dtype == bool
    assert [v.shape for v in ops.read_value("2*f64[2]", rng)] == [(2,), (2,)]
    assert ops.read_value("[1,-2]", rng) == [1, -2]
    assert ops.read_value("mean", rng) == "mean"


def test_costs_of_the_suites_are_the_ops_own() -> None:
    a, b = annx.rand(8, 5), annx.rand(5, 3)
    problem = build(Case("gemm", "nn", {"m": "8", "n": "3", "k": "5"}))
    assert _core.op_cost("matmul", a, b) == (problem.flops, problem.bytes)
    assert (problem.flops, problem.bytes) == (2 * 8 * 5 * 3, 4 * (40 + 15 + 24))


@pytest.mark.parametrize(
    "more",
    [
        "size=9x8 kernel=3x3 padding=2 stride=2 groups=2",
        "size=13 kernel=4 padding=1",
        "size=5x4x6 kernel=2x3x1",
    ],
)
def test_convolutions_of_any_kind(more: str) -> None:
    for kind in ("forward", "backward_data", "backward_weight"):
        case = parse_case(f"{kind} n=2 c=4 k=6 {more}", "conv")
        assert case is not None
        problem = build(case)
        assert problem.reference is not None
        made = problem.makers["annx"]()
        call = made.call if isinstance(made, Contender) else made
        assert call is not None
        expected = problem.reference()
        assert error_of(arrays_of(call()), expected) < 1e-6, case.id
        assert error_of(arrays_of(call()), expected) < 1e-6, "as often as called"


def test_costs_of_convolutions_and_recurrent_layers() -> None:
    line = "forward n=2 c=4 k=6 size=9x8 kernel=3x3 padding=1 groups=2"
    case = parse_case(line, "conv")
    assert case is not None
    problem = build(case)
    assert problem.flops == 2 * (2 * 6 * 9 * 8) * (2 * 9)
    assert problem.bytes == 4 * (2 * 4 * 72 + 6 * 2 * 9 + 2 * 6 * 72)
    case = parse_case("lstm_train batch=2 steps=3 inputs=4 hidden=5", "rnn")
    assert case is not None
    assert build(case).flops == 3 * 2 * (2 * 3) * 20 * (4 + 5)


def test_dropout_of_attention_has_no_reference_and_words_are_checked() -> None:
    base = {"batch": "1", "heads": "2", "steps": "4", "dim": "8"}
    assert build(Case("attention", "sdpa", {**base, "dropout": "0.1"})).reference is None
    with pytest.raises(ValueError, match="expected mask among none, causal, bool"):
        build(Case("attention", "sdpa", {**base, "mask": "diagonal"}))


# --- correctness


def test_error_is_relative_to_the_reference() -> None:
    expected = [np.array([3.0, 4.0]), np.zeros(2)]
    assert error_of([np.array([3.0, 4.0], np.float32), np.zeros(2)], expected) == 0
    assert error_of([np.array([3.0, 4.5]), np.zeros(2)], expected) == pytest.approx(0.5 / 12.5**0.5)
    assert error_of([np.array([3.0, np.nan]), np.zeros(2)], expected) == float("inf")
    assert error_of([np.array([3.0])], expected) == float("inf")
    assert error_of([np.zeros(3), np.zeros(2)], expected) == float("inf")


# --- timing


def test_samples_are_shuffled_and_long_enough() -> None:
    clock = FakeClock()
    order: list[str] = []
    effort = timing.Effort(seconds=1e-3, sample_ns=1000, warm_ns=100, least=5, most=9)

    def named(name: str, nanoseconds: int) -> Contender:
        step = clock.call(nanoseconds)

        def call() -> None:
            order.append(name)
            step()

        return Contender(call)

    samples = timing.time_contenders(
        {"a": named("a", 10), "b": named("b", 2000)}, effort, random.Random(0), clock=clock
    )
    assert samples == {"a": [10.0] * 9, "b": [2000.0] * 9}
    assert order.count("b") == 1 + 9 * 2  # warm-up; then one untimed and one timed call a sample
    assert order.count("a") == 10 + 9 * 101
    turns = [name for i, name in enumerate(order) if i == 0 or order[i - 1] != name]
    assert turns[1:] != [*"ab" * (len(turns) // 2)][: len(turns) - 1]


def test_few_samples_of_a_slow_call_and_measures() -> None:
    clock = FakeClock()
    effort = timing.Effort(seconds=1e-3, least=3)
    values = iter(range(1, 100))
    seen: list[str] = []
    samples = timing.time_contenders(
        {
            "slow": Contender(clock.call(10**9)),
            "own": Contender(lambda: None, measure=lambda: float(next(values))),
        },
        effort,
        random.Random(0),
        {"slow": lambda: seen.append("turn")},
        lambda: seen.append("control"),
        clock,
    )
    assert samples == {"slow": [1e9] * 3, "own": [2.0, 3.0, 4.0]}
    assert seen == ["turn", *["turn", "control"] * 3]


def test_statistics() -> None:
    assert median([3, 1, 2]) == 2
    assert median([4, 1, 2, 3]) == 2.5
    assert quantile([0, 10], 0.25) == 2.5
    assert geometric_mean([1, 4]) == pytest.approx(2)


def test_control_measures_drift() -> None:
    clock = FakeClock()
    control = machine.Control(clock)
    control.use_threads(1)
    speed = [100]

    def product(passes: int) -> float:
        clock.now += speed[0] * passes
        return 1.0

    control._run = product
    control.start_case()
    for _ in range(40):
        control()
    assert control.case_median() == 100
    control.start_case()
    speed[0] = 130
    for _ in range(9):
        control()
    assert control.case_median() / control.quiet(1) == pytest.approx(1.3)
    assert control.summary([1.0, 1.3]) == {
        "quiet_ns": {"1": 100.0}, "median_ns": {"1": 100.0}, "worst_case_ratio": 1.3,
    }  # fmt: skip


def test_probes_count_their_work() -> None:
    assert _core.bench_fma(1000) >= 1000 * 2 * 16 * 6
    assert _core.bench_split(100, 3) == 3 * _core.bench_split(100, 1) >= 3 * 2 * 100 * 2 * 16 * 6
    assert _core.bench_reference_gemm(2) == 2 * 2 * 192**3 * annx.num_threads()
    a, b, out = annx.rand(1003), annx.rand(1003), annx.zeros(1003)
    assert _core.bench_triad(a, b, out, 2) == 2 * 12 * 1003
    np.testing.assert_allclose(out.numpy(), a.numpy() + 2 * b.numpy(), rtol=1e-6)
    with pytest.raises(ValueError, match=r"\[bench_triad\] expected three tensors of one size"):
        _core.bench_triad(a, b, annx.zeros(5), 1)
    with pytest.raises(ValueError, match=r"\[bench_triad\] expected a contiguous float32 tensor"):
        _core.bench_triad(a, b, annx.zeros(1003, dtype="float64"), 1)


@pytest.mark.parametrize("size", [32, 1003, 100_000])
def test_streams_are_what_they_are_called(size: int) -> None:
    a, b = annx.rand(size), annx.rand(size)
    for way in range(_core.bench_stream_ways):
        out = annx.zeros(size)
        assert _core.bench_stream(a, b, out, way, 2) == 2 * 12 * size
        np.testing.assert_array_equal(out.numpy(), a.numpy() + b.numpy())
        assert _core.bench_stream(b, None, out, way, 1) == 8 * size
        np.testing.assert_array_equal(out.numpy(), b.numpy())


def test_a_stream_wants_arrays_of_one_size() -> None:
    a = annx.zeros(64)
    with pytest.raises(ValueError, match=r"\[bench_stream\] expected tensors of one size"):
        _core.bench_stream(a, annx.zeros(32), a, 0, 1)
    with pytest.raises(ValueError, match=r"\[bench_stream\] expected a way in \[0, 4\) but got 4"):
        _core.bench_stream(a, None, a, 4, 1)


def test_a_turn_waits_for_threads_that_spin(tmp_path: pathlib.Path) -> None:
    for task, state in (("mine", "R"), ("7", "S"), ("8", "R")):
        (tmp_path / task).mkdir()
        (tmp_path / task / "stat").write_text(f"{task} (a) R b) {state} 1 2 3")
    (tmp_path / "mine").rename(tmp_path / str(threading.get_native_id()))
    (tmp_path / "ended").mkdir()
    began = time.monotonic()
    machine.wait_for_idle_threads(0.1, tmp_path)
    assert time.monotonic() - began >= 0.1
    (tmp_path / "8" / "stat").write_text("8 (a) R b) S 1 2 3")
    machine.wait_for_idle_threads(1e6, tmp_path)


def test_roof_of_a_working_set() -> None:
    peaks = machine.Peaks("avx2", 1, 100.0, [(100, 50.0), (1000, 20.0)])
    assert [peaks.gbps(n) for n in (10, 100, 101, 10**9)] == [50, 50, 20, 20]
    peaks = machine.Peaks("avx2", 1, 100.0, [(100, 50.0), (1000, 20.0)], {"add": 15.0})
    assert [peaks.gbps(n, "add") for n in (10, 101, 10**9)] == [50, 15, 15]
    assert peaks.gbps(101, "copy") == 20


# --- run


QUICK = timing.Effort(seconds=1e-4, sample_ns=1e3, warm_ns=1e3, least=3, most=5)


@pytest.fixture
def no_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the seconds that measuring the machine takes."""
    fixed = machine.Peaks("", 1, 100.0, [(1 << 40, 10.0)])
    monkeypatch.setattr(machine, "measure_peaks", lambda *_: fixed)


def test_rows_say_everything(no_probes: None) -> None:
    cases = select(load_suite("gemm"), "guide_mlp")
    targets = _core.supported_targets()[:2]
    options = run.Options(against=["numpy"], targets=targets, effort=QUICK)
    lines: list[str] = []
    before = _core.active_target(), annx.num_threads()
    document = run.run(cases, options, lines.append)
    assert (_core.active_target(), annx.num_threads()) == before
    assert json.loads(json.dumps(document)) == document
    assert document["schema"] == 1
    assert document["peers"] == {"numpy": np.__version__}
    assert {"cpu", "compiler", "commit", "date", "annx"} <= set(document["machine"])
    rows = document["rows"]
    assert len(rows) == len(cases) * (len(options.targets) + 1)
    row = rows[0]
    assert (row["contender"], row["threads"], row["wrong"]) == ("annx", 1, "")
    assert row["min_ns"] <= row["q1_ns"] <= row["median_ns"] <= row["q3_ns"]
    assert row["gflops"] == pytest.approx(row["flops"] / row["median_ns"])
    assert row["percent_of_peak"] == pytest.approx(row["gflops"])
    assert row["percent_of_stream"] == pytest.approx(10 * row["gbps"])
    assert row["error"] < 1e-5
    peer = next(r for r in rows if r["case"] == row["case"] and r["contender"] == "numpy")
    assert row["ratio"] == {"numpy": peer["median_ns"] / row["median_ns"]}
    assert any("x numpy in the geometric mean" in line for line in lines)


def test_a_wrong_result_is_not_timed(no_probes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[str] = []
    problem = Problem(
        makers={"annx": lambda: lambda: np.ones(3), "numpy": lambda: lambda: timed.append("x")},
        reference=lambda: [np.ones(3)],
    )
    monkeypatch.setattr(run, "build", lambda case: problem)
    lines: list[str] = []
    options = run.Options(against=["numpy"], effort=QUICK)
    document = run.run([Case("gemm", "nn")], options, lines.append)
    good, bad = document["rows"]
    assert good["wrong"] == ""
    assert "median_ns" in good
    assert bad["wrong"].startswith("error inf")
    assert "median_ns" not in bad
    assert len(timed) == 1, "called once to be checked, never to be timed"
    assert good["ratio"] == {}
    assert any(line.startswith("  wrong: numpy") for line in lines)


def test_who_raises_is_not_timed_and_the_run_goes_on(
    no_probes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Any:
        raise RuntimeError("no such\nkernel")

    right = {"annx": lambda: lambda: np.ones(3)}
    problems = {
        "nn": Problem(makers={**right, "numpy": broken}, reference=lambda: [np.ones(3)]),
        "nt": Problem(makers={**right, "numpy": lambda: broken}),
        "tn": Problem(makers={"annx": lambda: broken}),
    }

    def build(case: Case) -> Problem:
        if case.kind == "no":
            raise ValueError("expected a kind")
        return problems[case.kind]

    monkeypatch.setattr(run, "build", build)
    lines: list[str] = []
    options = run.Options(against=["numpy"], effort=QUICK)
    cases = [Case("gemm", kind) for kind in ("no", "nn", "nt", "tn")]
    document = run.run(cases, options, lines.append)
    wrong = [(r["case"][-2:], r["contender"], r["wrong"]) for r in document["rows"]]
    assert wrong == [
        ("no", "annx", "raised ValueError: expected a kind"),
        ("nn", "annx", ""),
        ("nn", "numpy", "raised RuntimeError: no such kernel"),
        ("nt", "annx", ""),
        ("nt", "numpy", "raised RuntimeError: no such kernel"),
        ("tn", "annx", "raised RuntimeError: no such kernel"),
    ]
    timed = [r["case"][-2:] for r in document["rows"] if "median_ns" in r]
    assert timed == ["nn", "nt"]
    assert "  wrong: numpy: raised RuntimeError: no such kernel; not timed" in lines
    assert not document["stopped"]


def test_interrupting_a_run_keeps_what_was_measured(
    no_probes: None, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    whole = run.run_case
    began: list[str] = []

    def run_case(case: Case, *rest: Any) -> Any:
        began.append(case.id)
        if len(began) == 3:
            raise KeyboardInterrupt
        return whole(case, *rest)

    monkeypatch.setattr(run, "run_case", run_case)
    path = tmp_path / "x.json"
    arguments = ["run", "overhead", "-k", "n=8", "--seconds", "0.001", "--json", str(path)]
    before = annx.num_threads()
    assert cli.main(["bench", *arguments]) == 130
    assert annx.num_threads() == before
    document = json.loads(path.read_text())
    assert [row["case"] for row in document["rows"]] == began[:2]
    assert all(row["control"] > 0 and row["median_ns"] > 0 for row in document["rows"])
    assert document["stopped"]
    assert document["notes"] == ["stopped after 2 of 4 cases"]
    began[:] = ["", ""]
    path.unlink()
    assert cli.main(["bench", *arguments]) == 130
    assert not path.exists(), "nothing was measured"


def test_the_table_has_every_figure(no_probes: None) -> None:
    lines: list[str] = []
    options = run.Options(against=["numpy"], effort=QUICK, every=True)
    document = run.run(select(load_suite("gemm"), "fc1 one image"), options, lines.append)
    header = next(i for i, line in enumerate(lines) if line.startswith("case "))
    columns = ["median", "minimum", "quartiles", "GF/s", "GB/s", "of roof", "error", "vs numpy"]
    assert lines[header].split("  ")[0] == "case"
    assert [c for c in columns if c in lines[header]] == columns
    for row, line in zip(document["rows"], lines[header + 1 :], strict=False):
        own = row["contender"] == "annx"
        assert line.strip().startswith(row["case"] if own else "numpy")
        for shown in (
            run.duration(row["median_ns"]), run.duration(row["min_ns"]),
            run.span(row["q1_ns"], row["q3_ns"]), f"{row['gflops']:.1f}", f"{row['error']:.0e}",
        ):  # fmt: skip
            assert shown in line
        assert line.endswith(f"{row['ratio']['numpy']:.2f}x" if own else f"{row['error']:.0e}")
    assert run.span(950.0, 1050.0) == "0.95-1.05 us"
    assert run.span(0.5, 3.0) == "0.5-3 ns"


def test_a_name_given_twice_counts_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "run", "norm", "norm", "--list", "-k", "chargpt"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert bench_cli._counts("2,1,2") == [2, 1]
    assert bench_cli._names("numpy, torch,numpy") == ["numpy", "torch"]


def test_a_peer_of_several_ways_counts_by_its_fastest() -> None:
    made = dict.fromkeys(("annx", "numpy", "numpy:fast", "torch"), lambda: lambda: None)
    found = list(run.contenders_of(Problem(makers=dict(made)), ["avx2"], ["numpy"]))
    assert [name for name, _, _ in found] == ["annx", "numpy", "numpy:fast"]

    def row(contender: str, **median: float) -> dict[str, Any]:
        return {"contender": contender, **median}

    annx_row = row("annx", median_ns=4.0)
    others = [row("numpy", median_ns=20.0), row("numpy:fast", median_ns=2.0), row("numpy:wrong")]
    assert run.ratios(annx_row, [annx_row, *others]) == {"numpy": 0.5}
    assert run.ratios(others[0], [annx_row, *others]) == {}
    assert run.ratios(row("annx"), [annx_row, *others]) == {}


def test_networks_that_scikit_learn_has() -> None:
    nn = annx.nn
    plain = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Dropout(0.1), nn.Linear(3, 2))
    assert sklearn_mlp.layers(plain) == (["0", "3"], "tanh")
    for other in (
        nn.Linear(4, 3),
        nn.Sequential(nn.Linear(4, 3)),
        nn.Sequential(nn.Linear(4, 3), nn.GELU(), nn.Linear(3, 2)),
        nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2)),
        nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2)),
        nn.Sequential(nn.Linear(4, 3), nn.ReLU()),
    ):
        assert sklearn_mlp.layers(other) is None


def test_unknown_and_absent_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"expected peers among numpy, .* but got 'tensorflow'"):
        peers.check(["tensorflow"])
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    assert peers.check(["sklearn"]) == {
        "sklearn": "sklearn is not installed (pip install scikit-learn)"
    }
    with peers.threads(1, ["numpy"]) as notes:
        assert "pip install threadpoolctl" in notes[0]


def test_peers_are_kept_to_the_target() -> None:
    assert peers.capped("avx512", {})
    assert not peers.capped("avx2", {})
    assert peers.capped("avx2", peers.AVX2_ONLY)


# --- the command line


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "run", "gemm", "--list", "-k", "vae"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("gemm/") and "vae" in line for line in lines)


def test_bad_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "run", "nosuch"]) == 2
    assert "annx bench: expected a suite among gemm" in capsys.readouterr().err
    assert cli.main(["bench", "run", "gemm", "-k", "nosuch"]) == 2
    assert "no case of gemm contains 'nosuch'" in capsys.readouterr().err
    for wrong in (["--threads", "0"], ["--threads", "x"], ["--nosuch"]):
        with pytest.raises(SystemExit) as left:
            cli.main(["bench", "run", "gemm", *wrong])
        assert left.value.code == 2
    with pytest.raises(SystemExit) as left:
        cli.main(["bench", "--help"])
    assert left.value.code == 0


def test_run_writes_json(tmp_path: pathlib.Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "annx", "bench", "run", "overhead", "-k", "add", "--seconds", "0.01",
         "--json", str(tmp_path / "x.json")],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fma peak" in done.stdout
    document = json.loads((tmp_path / "x.json").read_text())
    assert [row["case"] for row in document["rows"]] == ["overhead/add n=8"]
    assert document["peaks"][0]["gflops"] > 0


def test_nothing_of_annx_imports_it() -> None:
    code = "import annx, annx.cli, sys; sys.exit(any('annx.bench' in m for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_peers_are_told_their_threads_where_they_cannot_be_set_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    told = peers.environment(["numpy"], "", [1])
    assert told == dict.fromkeys(peers.BLAS_THREADS, "1")
    assert peers.environment(["torch"], "", [1]) == {}
    assert peers.environment(["numpy"], "", [1, 2]) == {}
    assert peers.environment(["numpy"], "avx2", [1]) == {**peers.AVX2_ONLY, **told}
    assert peers.environment([], "avx2", [1]) == {}
    for name in peers.BLAS_THREADS:
        monkeypatch.setenv(name, "1")
    with peers.threads(1, ["numpy"]) as notes:
        assert notes == []
    with peers.threads(2, ["numpy"]) as notes:
        assert "threads of BLAS are as they are" in notes[0]
