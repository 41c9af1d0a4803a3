"""`annx bench`: the command line."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .cases import SUITES, Case, cases_of, select
from .stored import read_document
from .timing import Effort


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _counts(text: str) -> list[int]:
    try:
        counts = list(dict.fromkeys(int(part) for part in _names(text)))
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        raise argparse.ArgumentTypeError(f"expected thread counts like 1,2 but got {text!r}")
    return counts


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1 but got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0 but got {text!r}")
    return seconds


def _output(text: str) -> str:
    """A file to write: what is wrong with it is better known before hours of measuring."""
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"expected a file in an existing folder but got {text!r}")
    return text


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
    run.add_argument("--json", type=_output, metavar="FILE", help="keep the result")
    run.add_argument("-k", dest="pattern", metavar="WORDS", help="only cases that contain these")
    run.add_argument("--seconds", type=_seconds, default=Effort.seconds, metavar="S",
                     help=f"of samples a contender (default {Effort.seconds})")  # fmt: skip
    run.add_argument("--seed", type=int, default=0, help="of the order of contenders")
    run.add_argument("--contenders", action="store_true", help="a line for each, not annx alone")
    run.add_argument("--list", action="store_true", help="print the cases and stop")
    run.add_argument("--memory", action="store_true",
                     help="memory, first call and floor of training steps")  # fmt: skip

    compare = commands.add_parser(
        "compare",
        help="two builds against one another",
        description="BASE and HEAD are each: installed, a JSON of `run`, a wheel, a folder with "
        "annx in it, or a git revision, which is built. Exit code 1: something is slower; 2: an "
        "error.",
    )
    compare.add_argument("builds", nargs="*", metavar="BASE HEAD")
    compare.add_argument("--suites", type=_names, default=list(_COMPARED), metavar="SUITE,…",
                         help=f"default {','.join(_COMPARED)}")  # fmt: skip
    compare.add_argument("-k", dest="pattern", metavar="WORDS", help="only cases with these")
    compare.add_argument("--threads", type=_count, default=1, metavar="N", help="default 1")
    compare.add_argument("--target", default="", metavar="NAME", help="SIMD target")
    compare.add_argument("--json", type=_output, metavar="FILE", help="keep the verdicts")
    compare.add_argument("--seed", type=int, default=0, help="of the order of turns")
    compare.add_argument("--self-check", action="store_true",
                         help="the installed build against itself; 5 %% injected")  # fmt: skip
    compare.add_argument("--trials", type=_count, default=200, metavar="N",
                         help="of --self-check (default 200)")  # fmt: skip

    listing = commands.add_parser(
        "listing",
        help="the guide's regression listing as whole processes",
        description="Interpreter start, imports, 100 epochs with validation, exit: a process each.",
    )
    listing.add_argument(
        "--against", type=_names, default=[], metavar="PEER,…", help="torch, keras"
    )
    listing.add_argument("--rounds", type=_count, default=5, metavar="N", help="default 5")
    listing.add_argument("--threads", type=_count, default=1, metavar="N", help="default 1")
    listing.add_argument("--seed", type=int, default=0, help="of the order of turns")
    listing.add_argument("--json", type=_output, metavar="FILE", help="keep the times")

    report = commands.add_parser("report", help="draw stored runs as a page and a picture")
    report.add_argument("files", nargs="+", metavar="JSON", help="what `run --json` wrote")
    report.add_argument("-o", dest="out", type=_output, metavar="FILE",
                        help="the page (default annx-bench.html)")  # fmt: skip
    report.add_argument(
        "--png", type=_output, metavar="FILE", help="also a picture; needs matplotlib"
    )
    report.add_argument("--tables", metavar="FILE",
                        help="no page: a Markdown text's marked tables, anew")  # fmt: skip
    return parser


_COMPARED = ("gemm", "elementwise", "reduce", "norm", "softmax_xent", "optim")
# What --self-check compares: short calls of two kinds, in registers and through L2.
_CHECKED = (("gemm", "mnist_mlp"), ("elementwise", "L2"))


def _compare(arguments: argparse.Namespace) -> int:
    from . import compare
    from .builds import resolve

    if arguments.target:
        from .run import check_targets

        check_targets([arguments.target])
    plan = compare.Plan(threads=arguments.threads, target=arguments.target, seed=arguments.seed)
    if arguments.self_check:
        if arguments.builds:
            raise ValueError("expected no BASE and HEAD beside --self-check")
        cases = [c for suite, words in _CHECKED for c in select(cases_of(suite), words)]
        return compare.self_check(cases, arguments.trials, plan, _say)
    if len(arguments.builds) != 2:
        raise ValueError(f"expected BASE and HEAD but got {len(arguments.builds)} names")
    base, head = arguments.builds
    if base.endswith(".json") or head.endswith(".json"):
        if not (base.endswith(".json") and head.endswith(".json")):
            raise ValueError("expected two JSON files or none: a file holds times, not a build")
        documents = [read_document(path) for path in (base, head)]
        for document, path in zip(documents, (base, head), strict=True):
            document["label"] = path
        suites = None if arguments.suites == list(_COMPARED) else arguments.suites
        code, document = compare.compare_documents(
            documents[0], documents[1], _say, suites, arguments.pattern
        )
    else:
        cases = _cases(arguments.suites, arguments.pattern)
        builds = [resolve(name, _say) for name in (base, head)]
        code, document = compare.compare(cases, builds[0], builds[1], plan, _say)
    if arguments.json:
        _write(arguments.json, document)
    return code


def _listing(arguments: argparse.Namespace) -> int:
    from .listing import run

    found = run(arguments.against, arguments.rounds, arguments.threads, arguments.seed, _say)
    if arguments.json:
        _write(arguments.json, found)
        _say(f"written to {arguments.json}")
    return 0


def _cases(suites: Sequence[str], pattern: str | None) -> list[Case]:
    chosen = list(dict.fromkeys(suites)) or [s for s in SUITES if s not in ("ops", "e2e")]
    cases = select([case for suite in chosen for case in cases_of(suite)], pattern)
    if not cases:
        raise ValueError(f"no case of {', '.join(chosen)} contains {pattern!r}")
    return cases


def _again_with(environment: dict[str, str], argv: Sequence[str]) -> None:
    """Peers read these variables when they are loaded, and NumPy is loaded already.

    A program that calls :func:`main` goes on as it is: `run` says what peers were not told.
    """
    script = Path(sys.argv[0])
    ours = script.name in ("annx", "annx.exe") or script.parts[-2:] == ("annx", "__main__.py")
    if ours and any(os.environ.get(k) != v for k, v in environment.items()):
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

    target = arguments.target[0] if len(arguments.target) == 1 else ""
    if environment := peers.environment(arguments.against, target, arguments.threads):
        _again_with(environment, argv)
    if arguments.memory:
        from . import footprint

        target = arguments.target[0] if arguments.target else ""
        found = footprint.run(cases, arguments.against, arguments.threads, target, _say)
        if arguments.json:
            _write(arguments.json, found)
            _say(f"written to {arguments.json}")
        return 0
    options = Options(
        against=arguments.against,
        threads=arguments.threads,
        targets=arguments.target,
        effort=replace(Effort(), seconds=arguments.seconds),
        seed=arguments.seed,
        every=arguments.contenders,
    )
    document = run(cases, options, _say)
    if arguments.json and document["rows"]:
        _write(arguments.json, document)
        _say(f"written to {arguments.json}")
    if document["stopped"]:
        return 130
    return 1 if any(row["contender"] == "annx" and row["wrong"] for row in document["rows"]) else 0


def main(argv: Sequence[str]) -> int:
    """Runs `annx bench` on `argv` and returns the exit code.

    0: done. 1: a result of annx is wrong, or something is slower. 2: wrong arguments, or an error
    that is printed. 130: stopped by Ctrl-C.
    """
    arguments = _parser().parse_args(argv)
    try:
        return _command(arguments, argv)
    except BrokenPipeError:
        raise
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        print(f"annx bench: {error}", file=sys.stderr)
        return 2


def _command(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    if arguments.command == "report":
        from .report import report

        documents = [read_document(path) for path in arguments.files]
        if arguments.tables:
            from .tables import rewritten

            text = Path(arguments.tables)
            text.write_text(rewritten(text.read_text(encoding="utf-8"), documents), "utf-8")
            _say(f"written to {arguments.tables}")
            return 0
        out = Path(arguments.out or "annx-bench.html")
        report(documents, out, Path(arguments.png) if arguments.png else None)
        _say(f"written to {out}{f' and {arguments.png}' if arguments.png else ''}")
        return 0
    if arguments.command == "compare":
        return _compare(arguments)
    if arguments.command == "listing":
        return _listing(arguments)
    return _run(arguments, argv)
