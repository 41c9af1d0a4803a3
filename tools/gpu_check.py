"""What to run on a machine with a CUDA device: builds, checks, times, and writes the ledger.

    python tools/gpu_check.py                       # all of it
    python tools/gpu_check.py --wheel WHEEL         # a wheel built elsewhere
    python tools/gpu_check.py --no-isolation  # where nothing can be fetched: with the machine's
                                              # nvcc, scikit-build-core, pybind11, cmake, ninja
    python tools/gpu_check.py --emulated LIBRARY    # the checks alone, on an emulated device, with
                                                    # the annx that this interpreter has installed

Needs NumPy and pytest. The ledger, bench/results/gpu-ledger.json, says which sources of kernels ran
on which device: a kernel counts as verified while the hash of its sources stands there with no test
failed. Times are medians; GB/s count each input read once and the output written once.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LEDGER = ROOT / "bench" / "results" / "gpu-ledger.json"
CHECKS = sorted((ROOT / "tests" / "gpu").glob("device_*.py"))


def sources_of(path: Path, seen: set[Path]) -> set[Path]:
    """path and every file of csrc/ that it includes."""
    if path in seen:
        return seen
    seen.add(path)
    names = re.findall(r'^\s*#\s*(?:include|define ANNX_ROWS)\s+"([^"]+)"', path.read_text(), re.M)
    for name in names:
        file = ROOT / "csrc" / name
        if file.is_file():
            sources_of(file, seen)
    return seen


def kernel_hashes() -> dict[str, str]:
    """Folder of csrc/ with kernels -> a hash of all sources they are made of."""
    hashes = {}
    for folder in sorted({path.parent for path in (ROOT / "csrc").rglob("*.cu")}):
        files: set[Path] = set()
        for path in folder.glob("*.cu"):
            sources_of(path, files)
        digest = hashlib.sha256()
        for file in sorted(files):
            digest.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes())
        hashes[folder.relative_to(ROOT / "csrc").as_posix()] = digest.hexdigest()[:16]
    return hashes


def verified() -> dict[str, bool]:
    """Whether the kernels of each folder, as they are now, have passed their tests on a device."""
    runs = json.loads(LEDGER.read_text())["runs"]
    passed = [run["kernels"] for run in runs if run["tests"]["failed"] == 0]
    return {
        folder: any(kernels.get(folder) == digest for kernels in passed)
        for folder, digest in kernel_hashes().items()
    }


def package_of(wheel: Path, folder: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def build(folder: Path, isolated: bool) -> Path:
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(folder), str(ROOT)]
    if not isolated:
        command.insert(4, "--no-build-isolation")
    subprocess.run(command, check=True, env={**os.environ, "ANNX_CUDA": "1"})
    return next(folder.glob("annx-*.whl"))


def emulated_package(library: Path, folder: Path) -> Path:
    """The installed package with its backend replaced."""
    where = "import annx, pathlib; print(pathlib.Path(annx._core.__file__).parent)"
    found = subprocess.run(
        [sys.executable, "-c", where], check=True, capture_output=True, text=True, cwd=folder
    )
    shutil.copytree(found.stdout.strip(), folder / "annx")
    shutil.copy(library, folder / "annx" / "_annx_cuda.so")
    return folder


def run_checks(package: Path, report: Path) -> dict[str, int]:
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *map(str, CHECKS)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(package)})
    if not report.is_file() or done.returncode not in (0, 1):
        sys.exit(f"the checks did not run (pytest: {done.returncode})")
    suite = next(ElementTree.parse(report).getroot().iter("testsuite"))
    failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    if int(suite.get("skipped", 0)) or int(suite.get("tests", 0)) == 0:
        sys.exit("the checks did not all run")
    return {"passed": int(suite.get("tests", 0)) - failed, "failed": failed}


def time_ops() -> dict[str, dict[str, float]]:
    """Milliseconds and GB/s per op, on random data larger than any cache. Runs in the package."""
    import annx
    import numpy as np

    count = 1 << 26
    rng = np.random.default_rng(0)
    sets = [
        [annx.tensor(rng.standard_normal(count, np.float32), device="cuda") for _ in range(2)]
        for _ in range(3)
    ]
    square = [s[0].reshape(1 << 13, 1 << 13) for s in sets]
    masks = [s[0] > 0 for s in sets]
    gelu = annx.nn.functional.gelu
    cases: dict[str, tuple[Any, int]] = {
        "clone": (lambda i: sets[i][0].clone(), 8),
        "add": (lambda i: sets[i][0] + sets[i][1], 12),
        "add number": (lambda i: sets[i][0] + 1.5, 8),
        "relu": (lambda i: annx.relu(sets[i][0]), 8),
        "exp": (lambda i: annx.exp(sets[i][0]), 8),
        "gelu": (lambda i: gelu(sets[i][0]), 8),
        "where": (lambda i: annx.where(masks[i], sets[i][0], sets[i][1]), 13),
        "to float16": (lambda i: sets[i][0].to("float16"), 6),
        "transposed clone": (lambda i: square[i].T.clone(), 8),
        "fill": (lambda i: annx.full((count,), 2.5, device="cuda"), 4),
    }
    result = {}
    for name, (act, size) in cases.items():
        for i in range(6):
            act(i % 3)
        samples = []
        for _ in range(9):
            annx.cuda.synchronize()
            begin = time.perf_counter()
            for i in range(12):
                act(i % 3)
            annx.cuda.synchronize()
            samples.append((time.perf_counter() - begin) / 12)
        middle = statistics.median(samples)
        result[name] = {
            "ms": round(middle * 1e3, 4),
            "spread": round((max(samples) - min(samples)) / middle, 3),
            "GB/s": round(size * count / middle / 1e9, 1),
        }
    return result


def git(*command: str) -> str:
    done = subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()


def python_of(package: Path, code: str) -> Any:
    """What code prints as JSON, run with the package."""
    path = os.pathsep.join([str(package), str(ROOT / "tools")])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True
    )
    if done.returncode:
        sys.exit(done.stderr.decode())
    return json.loads(done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--wheel", type=Path)
    parser.add_argument("--no-isolation", action="store_true")
    parser.add_argument("--emulated", type=Path, metavar="LIBRARY")
    parser.add_argument("--ledger", type=Path, default=LEDGER)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report = folder / "report.xml"
        if options.emulated:
            tests = run_checks(emulated_package(options.emulated, folder), report)
            print(f"on an emulated device: {tests}")
            return tests["failed"] > 0
        wheel = options.wheel or build(folder, isolated=not options.no_isolation)
        package = package_of(wheel, folder / "package")
        info = python_of(package, "import annx, json; print(json.dumps(annx._core.cuda_info()))")
        if not info["available"]:
            sys.exit(f"no device: {info['reason']}")
        tests = run_checks(package, report)
        times = python_of(
            package, "import gpu_check, json; print(json.dumps(gpu_check.time_ops()))"
        )
    run = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": git("rev-parse", "HEAD"),
        "changed": bool(git("status", "--porcelain", "csrc", "cmake", "tests/gpu")),
        "device": info["devices"][0]["name"],
        "capability": info["devices"][0]["capability"],
        "driver": info["driver"],
        "runtime": info["runtime"],
        "kernels": kernel_hashes(),
        "tests": tests,
        "times": times,
    }
    ledger = json.loads(options.ledger.read_text())
    ledger["runs"].append(run)
    options.ledger.write_text(json.dumps(ledger, indent=2) + "\n")
    for op, figures in times.items():
        print(f"{op:<18} {figures['ms']:>9.4f} ms  {figures['GB/s']:>8.1f} GB/s")
    print(f"{run['device']}: {tests}")
    return tests["failed"] > 0


if __name__ == "__main__":
    sys.exit(main())
