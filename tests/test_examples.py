"""The examples run as a user runs them: a fresh process, no screen, a bound on the error."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import annx
import pytest

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


def run(name: str, folder: pathlib.Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "MPLCONFIGDIR": str(folder)},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return done.stdout


def number(pattern: str, text: str) -> float:
    found = re.search(pattern + r"\s*(-?\d+\.\d+)", text)
    assert found is not None, text[-500:]
    return float(found[1])


def test_from_scratch_xor(tmp_path: pathlib.Path) -> None:
    output = run("01_from_scratch_xor.py", tmp_path)
    assert number("Final loss:", output) < 0.05
    assert number("Epoch 0, Loss:", output) > 0.5


def test_regression_fit(tmp_path: pathlib.Path) -> None:
    output = run("02_regression_fit.py", tmp_path)
    # The target has variance 1, of which the noise is about a ninth.
    assert number("Test Loss:", output) < 0.45
    assert number("Test MAE:", output) < 0.5
    assert "params" in output.lower()


def test_regression_loop(tmp_path: pathlib.Path) -> None:
    output = run("03_regression_loop.py", tmp_path)
    assert number("Test Loss:", output) < 0.45
    assert number("Test MAE:", output) < 0.5
    losses = re.findall(r"Val Loss: (\d\.\d+)", output)
    assert min(map(float, losses)) < float(losses[0]) / 2
    best = annx.load(tmp_path / "best_model.safetensors")
    assert best["model.0.weight"].shape == (64, 10)


def test_transformer(tmp_path: pathlib.Path) -> None:
    output = run("06_transformer.py", tmp_path)
    assert number("Test Accuracy:", output) > 0.93


def test_no_example_is_left_out() -> None:
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == [
        "01_from_scratch_xor.py",
        "02_regression_fit.py",
        "03_regression_loop.py",
        "06_transformer.py",
    ]


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_an_example_gives_the_same_numbers_again(tmp_path: pathlib.Path, name: str) -> None:
    first, second = (re.sub(r"\d+(\.\d+)?[mu]?s\b", "", run(name, tmp_path)) for _ in range(2))
    assert first == second
