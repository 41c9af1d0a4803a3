"""The workloads of `annx bench run e2e`, and what --memory takes of them."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import annx
import numpy as np
import pytest
from annx import cli
from annx.bench import footprint, listing
from annx.bench.cases import Case, load_suite
from annx.bench.machine import Peaks
from annx.bench.problem import build, error_of
from annx.bench.suites.e2e import WORKLOADS, named
from annx.bench.workloads import jax_mlp
from annx.bench.workloads.base import Workload


def test_every_workload_is_a_case() -> None:
    kinds = [case.kind for case in load_suite("e2e")]
    assert [kind for kind in kinds if kind != "predict"] == [w.name for w in WORKLOADS]
    assert kinds.count("predict") == 2


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda w: w.name)
def test_a_captured_step_learns_as_in_float64(workload: type[Workload]) -> None:
    problem = build(Case("e2e", workload.name, {"batch": "4"}))
    assert problem.reference is not None
    expected = problem.reference()
    assert expected[0].dtype == np.float64
    assert len(set(map(float, expected))) == len(expected), "no step changed the weights"
    made: Any = problem.makers["annx"]()
    assert error_of(made.result(), expected) <= problem.tolerance
    made.call()


@pytest.mark.parametrize("model", [w.name for w in WORKLOADS])
def test_predictions_are_those_in_float64(model: str) -> None:
    problem = build(Case("e2e", "predict", {"model": model, "batch": "2"}))
    assert problem.reference is not None
    made: Any = problem.makers["annx"]()
    assert error_of([made().numpy()], problem.reference()) <= problem.tolerance


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(ValueError, match="expected a workload among guide_mlp, .* but got 'x'"):
        build(Case("e2e", "predict", {"model": "x", "batch": "1"}))


def test_weights_are_the_same_from_any_library() -> None:
    workload = named("guide_mlp")
    ours = workload.weights(np.random.default_rng(1))
    assert list(ours) == [name for name, _ in workload.model(annx, 0.0).named_parameters()]
    assert all(np.abs(w).max() <= 1 for w in ours.values())


def test_floor_is_the_larger_of_both_roofs() -> None:
    peaks = Peaks("avx2", 1, 100.0, [(1000, 50.0), (10000, 10.0)])
    found = footprint.floor_ns([["a", 1000.0, 100.0], ["b", 0.0, 5000.0]], peaks)
    assert found == {"compute_ns": 10.0, "memory_ns": 502.0, "floor_ns": 510.0}


def test_peak_of_memory_counts_this_process() -> None:
    before = footprint.peak_bytes()
    held = np.ones(64 << 20, np.uint8)
    after = footprint.peak_bytes()
    assert after >= max(before, held.nbytes)


def test_memory_of_a_step(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "memory.json"
    arguments = ["bench", "run", "e2e", "--memory", "-k", "guide_mlp batch=32", "--json", str(file)]
    assert cli.main(arguments) == 0
    (row,) = json.loads(file.read_text())["memory"]
    assert row["contender"] == "annx"
    assert row["arena"] >= row["alive"] > 0
    assert row["peak_bytes"] > 10 << 20
    assert min(row["cold_ns"], row["first_ns"], row["eager_ns"], row["steady_ns"]) > 0
    assert row["floor_ns"] >= max(row["compute_ns"], row["memory_ns"])
    assert "guide_mlp batch=32" in capsys.readouterr().out


def test_memory_is_for_training_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "run", "gemm", "--memory"]) == 2
    assert "expected training steps of the suite e2e" in capsys.readouterr().err


def test_jax_takes_part_in_stacks_of_its_layers() -> None:
    (first, *_, last) = jax_mlp.layers(named("guide_mlp").model(annx, 1.0)) or []
    assert (first[:2], last[:2]) == (("0", "Linear"), ("8", "Linear"))
    assert jax_mlp.layers(named("guide_cnn").model(annx, 1.0)) is None


def test_the_listing_runs_whole(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "listing.json"
    assert cli.main(["bench", "listing", "--rounds", "1", "--json", str(file)]) == 0
    rows = {row["script"]: row for row in json.loads(file.read_text())["listing"]}
    assert set(rows) == {"annx_fit", "annx_loop"}
    assert all(len(row["seconds"]) == 1 and row["loss"] < 0.5 for row in rows.values())
    assert "annx_loop" in capsys.readouterr().out


def test_a_listing_that_fails_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setattr(listing, "FOLDER", tmp_path)
    (tmp_path / "broken.py").write_text("raise KeyError('lost')")
    (tmp_path / "blind.py").write_text("print(1.5)")
    with pytest.raises(RuntimeError, match="broken: ended with 1: KeyError: 'lost'"):
        listing.whole("broken", 1)
    with pytest.raises(RuntimeError, match=r"expected a validation loss below 0\.9 but got 1\.5"):
        listing.whole("blind", 1)


def test_listings_of_unknown_peers(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "listing", "--against", "caffe"]) == 2
    assert "expected peers among torch, keras but got 'caffe'" in capsys.readouterr().err
