"""What `import annx` costs and touches, each measured in a fresh interpreter."""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys
from pathlib import Path

PROBE = """
import json, sys, time

import numpy

before = set(sys.modules)
events = []

def hook(event, args):
    writes = event == "open" and isinstance(args[1], str) and any(c in args[1] for c in "wax+")
    reaches_out = event.split(".")[0] in ("socket", "subprocess", "urllib", "ftplib", "http")
    starts = event in ("os.system", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec",
                       "os.spawn", "pty.spawn")
    if writes or reaches_out or starts:
        events.append([event, repr(args)])

sys.addaudithook(hook)
start = time.perf_counter()
import annx
seconds = time.perf_counter() - start
print(json.dumps({
    "seconds": seconds,
    "modules": sorted(set(sys.modules) - before),
    "events": events,
}))
"""

# Slow to import, or a sign that something optional is loaded before anyone asked for it.
FORBIDDEN = {
    "asyncio",
    "concurrent.futures",
    "cProfile",
    "http",
    "jax",
    "keras",
    "matplotlib",
    "multiprocessing",
    "onnx",
    "pandas",
    "pdb",
    "pytest",
    "scipy",
    "sklearn",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "tensorflow",
    "tkinter",
    "torch",
    "tqdm",
    "unittest",
    "urllib.request",
    "xml",
}


def package_folder() -> Path:
    spec = importlib.util.find_spec("annx")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def probe(folder: Path) -> dict[str, object]:
    # -B: a first import would write its bytecode, which is not what is looked for.
    command = [sys.executable, "-B", "-c", PROBE]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    report: dict[str, object] = json.loads(done.stdout)
    return report


def test_import_is_light_and_keeps_to_itself(tmp_path: Path) -> None:
    report = probe(tmp_path)
    modules = report["modules"]
    assert isinstance(modules, list)
    assert "annx" in modules
    heavy = [name for name in modules if name in FORBIDDEN or name.split(".")[0] in FORBIDDEN]
    assert not heavy, heavy
    assert report["events"] == []
    assert list(tmp_path.iterdir()) == []


def test_import_time_is_printed(tmp_path: Path) -> None:
    """The time is for people to read: a busy machine must not turn the tests red."""
    # An installed package has its bytecode; a fresh editable one gets it here.
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(package_folder())], check=True)
    seconds = [probe(tmp_path)["seconds"] for _ in range(5)]
    milliseconds = [1000 * value for value in seconds if isinstance(value, float)]
    assert len(milliseconds) == 5
    print(
        f"import annx over numpy: median {statistics.median(milliseconds):.1f} ms,"
        f" min {min(milliseconds):.1f} ms"
    )
