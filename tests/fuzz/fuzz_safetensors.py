"""Coverage-guided fuzzing of the safetensors reader; needs atheris. See README.md beside it."""

from __future__ import annotations

import io
import pathlib
import sys
import tempfile

import atheris

with atheris.instrument_imports(include=["annx.io", "annx._safetensors", "json"]):
    from annx import io as annx_io

SCRATCH = pathlib.Path(tempfile.mkdtemp()) / "again"


def repair(raw: bytes) -> bytes:
    """Fits the length field to the header, which mutations of its text would else break at once."""
    end = raw.rfind(b"}") + 1
    return max(0, end - 8).to_bytes(8, "little") + raw[8:]


def load(raw: bytes) -> object:
    """Loads one input; the only exception let through is the reader's own."""
    try:
        return annx_io._load_stream(io.BytesIO(raw), len(raw), "input")
    except ValueError as error:
        if not str(error).startswith("[safetensors] expected"):
            raise
        return None


def test_one_input(raw: bytes) -> None:
    """The target of the fuzzer."""
    for candidate in (raw, repair(raw)):
        value = load(candidate)
        if value is None:
            continue
        # Saving walks what was loaded, and must not refuse or change it.
        annx_io.save(value, SCRATCH)
        first = SCRATCH.read_bytes()
        annx_io.save(annx_io.load(SCRATCH), SCRATCH)
        if SCRATCH.read_bytes() != first:
            raise AssertionError("a loaded file changes when saved and loaded again")


def main() -> None:
    """Runs until the -runs=N of the command line."""
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
