"""Writes the seed corpus of fuzz_safetensors.py into a folder."""

from __future__ import annotations

import hashlib
import math
import pathlib
import sys

import annx

TESTS = pathlib.Path(__file__).parents[1]


def main(folder: pathlib.Path) -> None:
    """Fills `folder` with one file per seed, named by its hash."""
    sys.path.insert(0, str(TESTS))
    from test_io import DTYPES, HOSTILE, sample

    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / "scratch"
    seeds = [raw for raw, _ in HOSTILE.values() if len(raw) <= 4096]
    seeds += [path.read_bytes() for path in (TESTS / "data").glob("*.safetensors")]
    values = [
        *({"a": sample(dtype, (2, 3)), "b": sample(dtype, ())} for dtype in DTYPES),
        {"state": {0: {"step": 1, "m": annx.ones(2)}}, "groups": [{"lr": 0.1, "on": True}]},
        [(), [], {}, None, math.nan, math.inf, -(2**70), "text", annx.zeros(0, 3)],
    ]
    for value in values:
        annx.save(value, scratch, metadata={"note": "seed"})
        seeds.append(scratch.read_bytes())
    scratch.unlink()
    for seed in seeds:
        (folder / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    print(f"{len(seeds)} seeds")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
