"""The console script: demo, info, version, help and their exit codes."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
from typing import Any

import annx
import numpy as np
import pytest
from annx import _demo, cli


def annx_command(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **options.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-m", "annx", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        env=environment,
        **options,
    )


def test_demo(tmp_path: pathlib.Path) -> None:
    done = annx_command("demo", "--save", "model.safetensors", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    accuracy = re.search(r"test accuracy (\d+\.\d\d)% \((\d+) of 359\)", done.stdout)
    assert accuracy is not None
    assert float(accuracy[1]) >= 97
    assert int(accuracy[2]) / 359 == pytest.approx(float(accuracy[1]) / 100, abs=1e-4)
    seconds = re.search(r"trained in (\d+\.\d+) s", done.stdout)
    assert seconds is not None
    assert "predictions identical" in done.stdout
    assert "epoch 20/20" in done.stdout
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout
    # Ten rows of the matrix, each of ten counts, which add up to the images held out.
    rows = re.findall(r"^ +\d \|(.*)%$", done.stdout, re.MULTILINE)
    assert len(rows) == 10
    counts = [[int(cell) for cell in re.sub("[·.](?=\\s)", "0", row).split()[:10]] for row in rows]
    assert sum(map(sum, counts)) == 359
    assert sum(counts[i][i] for i in range(10)) == int(accuracy[2])
    assert len(annx.load(tmp_path / "model.safetensors")) == 6
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_demo_that_has_not_learnt_fails() -> None:
    done = annx_command("demo", "--epochs", "1", env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 1
    assert "expected test accuracy >= 97% but got" in done.stdout
    assert done.stdout.isascii()


def test_demo_trains_to_the_same_bits_everywhere(tmp_path: pathlib.Path) -> None:
    models = {}
    for target in annx._core.supported_targets():
        for threads in ("1", "3"):
            path = tmp_path / f"{target}-{threads}"
            annx_command(
                "demo", "--epochs", "2", "--save", str(path),
                env={"ANNX_TARGET": target, "ANNX_NUM_THREADS": threads},
            )  # fmt: skip
            models[target, threads] = path.read_bytes()
    assert len(set(models.values())) == 1
    assert len(models) >= 4


def test_demo_draws_only_when_asked_to(tmp_path: pathlib.Path) -> None:
    """With a stand-in for a machine without matplotlib, then with a drawing function of our own."""
    program = (
        "import importlib.util, sys\n"
        "from annx import _demo, cli\n"
        "find = importlib.util.find_spec\n"
        "have = True if sys.argv.pop(1) == 'have' else None\n"
        "importlib.util.find_spec = lambda n: have if n == 'matplotlib' else find(n)\n"
        "_demo._draw = lambda counts, path: open(path, 'w').close()\n"
        "sys.exit(cli.main())\n"
    )

    def run(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", program, *arguments, "--epochs", "1"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        ).stdout

    assert "no picture: matplotlib is not installed" in run("lack", "demo", "--png")
    assert os.listdir(tmp_path) == []
    assert str(tmp_path / "annx-demo.png") in run("have", "demo", "--png")
    assert str(tmp_path / "my.png") in run("have", "demo", "--png", "my.png")
    assert sorted(os.listdir(tmp_path)) == ["annx-demo.png", "my.png"]


def test_confusion_matrix() -> None:
    actual, predicted = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 2, 0])
    counts = _demo.confusion_matrix(actual, predicted, 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]
    text = _demo.format_confusion(counts, _demo._Style(sys.__stdout__ or sys.stdout))
    plain = re.sub("\x1b\\[\\d+m", "", text).replace("·", ".").splitlines()
    assert plain[3].split() == ["0", "|", "1", "1", ".", "50.0%"]
    assert plain[5].split() == ["2", "|", "1", ".", "2", "66.7%"]
    assert len({len(line) for line in plain[2:]}) == 1


def test_info() -> None:
    done = annx_command("info")
    assert done.returncode == 0, done.stderr
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names == [
        "annx", "machine", "target", "targets", "threads", "memory", "compiler", "CUDA",
    ]  # fmt: skip
    facts = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert facts["annx"].startswith(annx.__version__)
    assert facts["target"].split()[0] in facts["targets"]
    assert "affinity" in facts["threads"]
    assert "cgroup quota" in facts["threads"]
    assert np.__version__ in facts["annx"]


def test_info_tells_what_was_forced() -> None:
    done = annx_command("info", env={"ANNX_TARGET": "scalar", "ANNX_NUM_THREADS": "1"})
    facts = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert facts["target"] == "scalar (ANNX_TARGET=scalar)"
    assert facts["threads"].startswith("1 (")
    assert "ANNX_NUM_THREADS=1" in facts["threads"]


def test_show_config(capsys: pytest.CaptureFixture[str]) -> None:
    threads = annx.get_num_threads()
    try:
        annx.set_num_threads(3)
        annx.show_config()
    finally:
        annx.set_num_threads(threads)
    assert "threads   3 (" in capsys.readouterr().out


def test_version_help_and_wrong_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code, expected in [
        (["--version"], 0, f"annx {annx.__version__}\n"),
        (["--help"], 0, "demo"),
        (["demo", "--help"], 0, "--png"),
        ([], 2, "COMMAND"),
        (["dance"], 2, "dance"),
        (["demo", "--epochs", "many"], 2, "--epochs"),
    ]:
        with pytest.raises(SystemExit) as leaving:
            cli.main(arguments)
        assert leaving.value.code == code
        captured = capsys.readouterr()
        assert expected in captured.out + captured.err
    assert cli.main(["demo", "--epochs", "0"]) == 1
    assert "annx: [demo] expected epochs >= 1 but got 0" in capsys.readouterr().err
    assert cli.main(["demo", "--epochs", "1", "--save", "/nonexistent/model"]) == 1
    assert "expected an existing folder" in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_traceback() -> None:
    pipe = subprocess.Popen(
        [sys.executable, "-m", "annx", "info"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert pipe.stdout is not None
    assert pipe.stderr is not None
    pipe.stdout.close()
    assert pipe.stderr.read() == b""
    pipe.stderr.close()
    assert pipe.wait() == 1


def test_importing_annx_does_not_import_the_command_line() -> None:
    program = (
        "import sys, annx\n"
        "print([m for m in ('argparse', 'annx.cli', 'annx._demo') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
