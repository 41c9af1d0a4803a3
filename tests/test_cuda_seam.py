"""The CUDA backend without a device: what there is, and clear errors for what there is not.

Runs with and without the backend built in. What must hold on a device is in tests/gpu, which
tools/gpu_check.py runs.
"""

from __future__ import annotations

import _ctypes
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import annx
import numpy as np
import pytest
from annx import _core

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import gpu_check  # noqa: E402

PACKAGE = Path(_core.__file__).parent
LIBRARY = PACKAGE / "_annx_cuda.so"
BUILT = _core.build_info()["cuda"]

NOT_BUILT = r"this build of annx has no CUDA backend \(ANNX_CUDA=1 pip install \. builds it\)"


def run_python(code: str, folder: Path | None = None, **environment: str) -> str:
    """Output of code in a fresh interpreter; folder is searched for annx first."""
    env = {**os.environ, **environment}
    if folder is not None:
        env["PYTHONPATH"] = str(folder)
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def reason() -> str:
    return str(_core.cuda_info()["reason"])


def test_info_says_what_there_is_and_why_not() -> None:
    info = _core.cuda_info()
    assert set(info) == {"built", "available", "reason", "devices", "driver", "runtime"}
    assert info["built"] is BUILT
    assert info["available"] is (len(info["devices"]) > 0)
    assert bool(info["reason"]) is not info["available"]
    if not BUILT:
        assert re.fullmatch(NOT_BUILT, info["reason"])
        assert info["runtime"] == "none"
    else:
        assert info["runtime"].startswith("13.")
    assert annx.cuda.is_available() is info["available"]
    assert annx.cuda.device_count() == len(info["devices"])


@pytest.mark.parametrize(
    ("op", "act"),
    [
        ("to", lambda: annx.ones(2).to("cuda")),
        ("to", lambda: annx.ones(2).cuda()),
        ("to", lambda: annx.ones(2).cuda(0)),
        ("tensor", lambda: annx.tensor([1.0, 2.0], device="cuda")),
        ("as_tensor", lambda: annx.as_tensor(np.ones(3), device="cuda:0")),
        ("zeros", lambda: annx.zeros(3, device="cuda")),
        ("ones", lambda: annx.ones(3, device="cuda")),
        ("full", lambda: annx.full((2,), 7.0, device="cuda")),
        ("arange", lambda: annx.arange(3, device="cuda")),
        ("linspace", lambda: annx.linspace(0, 1, 3, device="cuda")),
        ("eye", lambda: annx.eye(3, device="cuda")),
        ("rand", lambda: annx.rand(3, device="cuda")),
        ("randn", lambda: annx.randn(3, device="cuda")),
        ("randint", lambda: annx.randint(0, 5, (3,), device="cuda")),
        ("zeros_like", lambda: annx.zeros_like(annx.ones(2), device="cuda")),
        ("zeros", lambda: annx.nn.Linear(2, 3, device="cuda")),
        ("to", lambda: annx.nn.Linear(2, 3).to("cuda")),
        ("synchronize", lambda: annx.cuda.synchronize()),
        ("cuda", lambda: annx.cuda.get_device_name()),
        ("memory_stats", lambda: annx.cuda.memory_allocated()),
    ],
)
def test_a_device_that_is_not_there_is_a_clear_error(op: str, act) -> None:
    if annx.cuda.is_available():
        act()
        return
    with pytest.raises(RuntimeError) as caught:
        act()
    message = str(caught.value)
    assert message.startswith(f"[{op}] expected an available device but got 'cuda")
    assert message.endswith(reason())


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:1", "", "cuda:0:1"])
def test_an_unknown_device_is_a_value_error(name: str) -> None:
    with pytest.raises(ValueError, match=r"\[ones\] expected device 'cpu' or 'cuda' but got"):
        annx.ones(2, device=name)


def test_a_device_beyond_the_last_is_refused() -> None:
    with pytest.raises(
        RuntimeError, match=r"\[to\] expected an available device but got 'cuda:63'"
    ):
        annx.ones(2).to("cuda:63")


def test_nothing_is_lost_when_a_move_fails() -> None:
    if annx.cuda.is_available():
        return
    model = annx.nn.Linear(3, 2)
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    with pytest.raises(RuntimeError):
        model.to("cuda")
    for name, value in model.state_dict().items():
        assert value.device == "cpu"
        np.testing.assert_array_equal(value.numpy(), before[name])


def test_tensors_on_the_cpu_move_nowhere() -> None:
    x = annx.tensor([1.0, 2.0], requires_grad=True)
    assert x.cpu() is x
    assert x.to("cpu") is x
    assert x.to(annx.device("cpu")) is x
    assert x.is_cuda is False
    assert x.to(annx.ones(1, dtype="float64")).dtype is annx.float64
    assert annx.ones_like(x).device == "cpu"
    assert x.__dlpack_device__() == (1, 0)


def test_config_names_the_backend(capsys: pytest.CaptureFixture[str]) -> None:
    annx.show_config()
    line = next(s for s in capsys.readouterr().out.splitlines() if s.startswith("CUDA"))
    if annx.cuda.is_available():
        assert annx.cuda.get_device_name() in line
    elif BUILT:
        assert line.endswith(f"built in, not usable: {reason()}")
    else:
        assert "not built in (ANNX_CUDA=1 pip install . builds it)" in line


def test_importing_does_not_open_the_backend() -> None:
    code = (
        "import annx, annx.nn; annx.ones(3).sum();"
        "print('_annx_cuda' in open('/proc/self/maps').read())"
    )
    assert run_python(code) == "False"


def test_the_library_is_there_when_it_was_built() -> None:
    assert LIBRARY.is_file() is BUILT
    if not BUILT:
        return
    needed = subprocess.run(["ldd", str(LIBRARY)], check=True, capture_output=True, text=True)
    assert not re.search(r"libcuda|libnv|cudart|cublas|cudnn", needed.stdout), needed.stdout
    listing = subprocess.run(
        ["nm", "--dynamic", "--defined-only", str(LIBRARY)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert [row.split()[-1] for row in listing.stdout.splitlines()] == ["annx_cuda_api"]


def copied_package(tmp_path: Path) -> Path:
    """The package in a folder of its own, without the backend."""
    shutil.copytree(
        PACKAGE, tmp_path / "annx", ignore=shutil.ignore_patterns("_annx_cuda.so", "__pycache__")
    )
    return tmp_path


REPORT = "import annx; print(annx._core.cuda_info()['reason'])"


def test_a_missing_library_is_named(tmp_path: Path) -> None:
    folder = copied_package(tmp_path)
    said = run_python(REPORT, folder)
    if BUILT:
        assert said == (
            f"the CUDA backend of this build is missing: no {folder / 'annx' / LIBRARY.name}"
        )
    else:
        assert re.fullmatch(NOT_BUILT, said)


def test_a_broken_library_is_an_error_of_its_own(tmp_path: Path) -> None:
    folder = copied_package(tmp_path)
    (folder / "annx" / LIBRARY.name).write_bytes(b"not a library")
    said = run_python(REPORT, folder)
    assert said.startswith("the CUDA backend could not be opened: " if BUILT else "this build")


def test_a_library_of_another_version_is_refused(tmp_path: Path) -> None:
    folder = copied_package(tmp_path)
    # Any shared library without the table will do.
    shutil.copy(_ctypes.__file__, folder / "annx" / LIBRARY.name)
    said = run_python(REPORT, folder)
    assert said.endswith("belongs to another version of annx" if BUILT else "builds it)")


def test_a_machine_without_a_driver_is_told_so() -> None:
    """The runtime is linked statically: it answers, and says that nothing is beneath it."""
    if not BUILT or annx.cuda.is_available():
        return
    assert re.search(r"cudaErrorInsufficientDriver|cudaErrorNoDevice", reason()), reason()


def test_the_ledger_covers_what_the_readme_claims() -> None:
    """A kernel is called verified only while the hash of its sources stands in the ledger."""
    ledger = json.loads(gpu_check.LEDGER.read_text())
    for run in ledger["runs"]:
        assert run["kernels"]
        assert {"date", "commit", "device", "driver", "tests"} <= set(run)
    families = gpu_check.verified()
    assert {"cuda", "ops/unary", "ops/activation", "ops/arithmetic", "ops/cast"} <= set(families)
    row = next(s for s in (ROOT / "README.md").read_text().splitlines() if s.startswith("| **CUDA"))
    assert ("compiled, not run" in row) is not all(families.values()), families


def test_a_change_of_any_source_changes_the_hash() -> None:
    files = gpu_check.sources_of(ROOT / "csrc" / "ops" / "activation" / "cuda.cu", set())
    names = {path.relative_to(ROOT / "csrc").as_posix() for path in files}
    assert {
        "ops/activation/rows.def",
        "ops/elementwise/cuda_thread-inl.h",
        "numerics/exp_log-inl.h",
        "simd/vec_cuda.h",
        "cuda/layout.h",
    } <= names
