"""`annx bench`: the command line."""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .cases import SUITES, Case, cases_of, select
from .timing import Effort


def _names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _counts(text: str) -> list[int]:
    counts = [int(part) for part in _names(text)]
    if not counts or min(counts) < 1:
        raise argparse.ArgumentTypeError(f"expected thread counts like 1,2 but got {text!r}")
    return counts


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="annx bench",
        description="Times annx against its peers, compares builds, draws what it found.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    run = commands.add_parser("run", help="time suites", description=f"Suites: {', '.join(SUITES)}")
    run.add_argument("suites", nargs="*", metavar="SUITE", help="default: all but ops and e2e")
    run.add_argument("--against", type=_names, default=[], metavar="PEER,…",
                     help="numpy, torch, torch-compile, scipy, jax, sklearn")  # fmt: skip
    run.add_argument("--threads", type=_counts, default=[1], metavar="N,…", help="default 1")
    run.add_argument("--target", type=_names, default=[], metavar="NAME,…",
                     help="of annx; avx2 alone keeps the peers to AVX2 too")  # fmt: skip
    run.add_argument("--json", metavar="FILE", help="keep the result")
    run.add_argument("-k", dest="pattern", metavar="WORDS", help="only cases that contain these")
    run.add_argument("--seconds", type=float, default=Effort.seconds, metavar="S",
                     help=f"of samples a contender (default {Effort.seconds})")  # fmt: skip
    run.add_argument("--seed", type=int, default=0, help="of the order of contenders")
    run.add_argument("--list", action="store_true", help="print the cases and stop")
    return parser


def _cases(suites: Sequence[str], pattern: str | None) -> list[Case]:
    chosen = list(suites) or [s for s in SUITES if s not in ("ops", "e2e")]
    cases = select([case for suite in chosen for case in cases_of(suite)], pattern)
    if not cases:
        raise ValueError(f"no case of {', '.join(chosen)} contains {pattern!r}")
    return cases


def _again_with(environment: dict[str, str], argv: Sequence[str]) -> None:
    """Peers read these variables when they are loaded, and NumPy is loaded already."""
    if any(os.environ.get(k) != v for k, v in environment.items()):
        sys.stdout.flush()
        os.execve(
            sys.executable,
            [sys.executable, "-m", "annx", "bench", *argv],
            {**os.environ, **environment},
        )


def _write(path: str, document: dict[str, Any]) -> None:
    Path(path).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _say(line: str) -> None:
    print(line, flush=True)


def _run(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    cases = _cases(arguments.suites, arguments.pattern)
    if arguments.list:
        for case in cases:
            _say(f"{case.id:<52} {case.label}")
        return 0
    from . import peers
    from .run import Options, run

    warnings.simplefilter("ignore")  # a peer's advice is not about the measurement

    if arguments.target == ["avx2"] and arguments.against:
        _again_with(peers.AVX2_ONLY, argv)
    options = Options(
        against=arguments.against,
        threads=arguments.threads,
        targets=arguments.target,
        effort=replace(Effort(), seconds=arguments.seconds),
        seed=arguments.seed,
    )
    document = run(cases, options, _say)
    if arguments.json:
        _write(arguments.json, document)
        _say(f"written to {arguments.json}")
    return 1 if any(row["contender"] == "annx" and row["wrong"] for row in document["rows"]) else 0


def main(argv: Sequence[str]) -> int:
    """Runs `annx bench` on `argv` and returns the exit code.

    0: done. 1: a result of annx is wrong, or an error that is printed. 2: wrong arguments.
    """
    arguments = _parser().parse_args(argv)
    return _run(arguments, argv)
