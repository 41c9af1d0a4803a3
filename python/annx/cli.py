"""The console script `annx`: `annx demo`, `annx info`, `annx bench`."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

__all__ = ["main"]

_DESCRIPTION = "A small native neural-network library: see what it runs on, watch it train."


def _parser() -> argparse.ArgumentParser:
    import argparse

    import annx

    parser = argparse.ArgumentParser(prog="annx", description=_DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"annx {annx.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    demo = commands.add_parser("demo", help="train a network on real digits in a few seconds")
    demo.add_argument("--seed", type=int, default=0, help="seed of everything random (default 0)")
    demo.add_argument("--epochs", type=int, default=20, help="passes over the data (default 20)")
    demo.add_argument(
        "--png",
        nargs="?",
        const="annx-demo.png",
        metavar="PATH",
        help="also draw the confusion matrix (default annx-demo.png); needs matplotlib",
    )
    demo.add_argument("--save", metavar="PATH", help="keep the trained model in this file")

    commands.add_parser("info", help="print version, SIMD target, threads and backends")
    commands.add_parser(
        "bench", help="time it, compare builds, draw what was found", add_help=False
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the console script on `argv` (default: the process's own) and returns the exit code.

    0: done. 1: the demo missed its accuracy, or an error that is printed. 2: wrong arguments.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        # A name with an accent is no reason to stop where only ASCII can be written.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    # The benchmark reads its own arguments, its help too.
    arguments = _parser().parse_args(argv[:1] if argv[:1] == ["bench"] else argv)
    try:
        if arguments.command == "bench":
            from annx.bench import cli as bench

            code = bench.main(argv[1:])
        elif arguments.command == "demo":
            from annx import _demo

            code = _demo.run(
                seed=arguments.seed,
                epochs=arguments.epochs,
                png=arguments.png,
                keep=arguments.save,
            )
        else:
            from annx.debug import show_config

            show_config()
            code = 0
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone, as in `annx info | head`; keep the interpreter's own flush quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except (OSError, ValueError) as error:
        print(f"annx: {error}", file=sys.stderr)
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
