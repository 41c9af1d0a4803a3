"""Checks a wheel built with ANNX_CUDA=1: the backend is in it, alone, and it is small.

python tools/check_cuda_wheel.py annx-*.whl
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

LIMIT = 10_000_000


def main(path: Path) -> int:
    size = path.stat().st_size
    with zipfile.ZipFile(path) as wheel:
        members = {info.filename: info.file_size for info in wheel.infolist()}
    libraries = {name: size for name, size in members.items() if name.endswith(".so")}
    print(f"{path.name}: {size / 1e6:.2f} MB")
    for name, unpacked in libraries.items():
        print(f"  {name}: {unpacked / 1e6:.2f} MB unpacked")
    problems = []
    if "annx/_annx_cuda.so" not in libraries:
        problems.append("annx/_annx_cuda.so is missing")
    if len(libraries) != 2:
        problems.append(f"expected the extension and the backend but found {sorted(libraries)}")
    if size > LIMIT:
        problems.append(f"{size} bytes are more than {LIMIT}")
    print("\n".join(problems))
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
