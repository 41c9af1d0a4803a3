"""Cases: what is timed, read from ``shapes/*.txt``.

A file is a suite, a line a case: ``kind key=value ...  # network layer``. The kind says which
problem of the suite is built; its name and values are the case's name in every result.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SHAPES = Path(__file__).parent / "shapes"
SUITES = (
    "gemm", "conv", "elementwise", "reduce", "norm", "softmax_xent", "optim", "rnn", "attention",
    "overhead", "e2e", "ops",
)  # fmt: skip

_KIND = re.compile(r"[a-z_][a-z0-9_]*$")


@dataclass(frozen=True)
class Case:
    """One line of a shapes file."""

    suite: str
    kind: str
    params: Mapping[str, str] = field(default_factory=dict, hash=False)
    label: str = ""

    @property
    def name(self) -> str:
        return " ".join([self.kind, *(f"{k}={v}" for k, v in self.params.items())])

    @property
    def id(self) -> str:
        return f"{self.suite}/{self.name}"

    def number(self, key: str, default: int | None = None) -> int:
        """The whole number under `key`.

        Raises:
            ValueError: it is absent and has no default, or is no number.
        """
        text = self.params.get(key)
        if text is None:
            if default is None:
                raise ValueError(f"{self.id}: expected {key}=...")
            return default
        try:
            return int(text)
        except ValueError:
            raise ValueError(f"{self.id}: expected a whole number {key} but got {text!r}") from None

    def sizes(self, key: str) -> tuple[int, ...]:
        """The sizes under `key`, written 32x64x3."""
        text = self.params.get(key, "")
        if not re.fullmatch(r"\d+(x\d+)*", text):
            raise ValueError(f"{self.id}: expected {key} like 32x64 but got {text!r}")
        return tuple(int(part) for part in text.split("x"))


def parse_case(line: str, suite: str, where: str = "") -> Case | None:
    """The case of one line, or None where there is none.

    Raises:
        ValueError: the line is malformed; `where` is named.
    """
    text, _, label = line.partition("#")
    words = text.split()
    if not words:
        return None
    prefix = f"{where}: " if where else ""
    if not _KIND.match(words[0]):
        raise ValueError(f"{prefix}expected the name of a problem but got {words[0]!r}")
    params: dict[str, str] = {}
    for word in words[1:]:
        key, equals, value = word.partition("=")
        if not (key and equals and value):
            raise ValueError(f"{prefix}expected key=value but got {word!r}")
        if key in params:
            raise ValueError(f"{prefix}{key} given twice")
        params[key] = value
    return Case(suite, words[0], params, label.strip())


def load_suite(suite: str, folder: Path = SHAPES) -> list[Case]:
    """The cases of one suite, in the order of its file.

    Raises:
        ValueError: there is no such suite, a line is malformed, or two cases have one name.
    """
    path = folder / f"{suite}.txt"
    if suite not in SUITES or not path.is_file():
        raise ValueError(f"expected a suite among {', '.join(SUITES)} but got {suite!r}")
    cases: dict[str, Case] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        case = parse_case(line, suite, f"{path.name}:{number}")
        if case is None:
            continue
        if case.id in cases:
            raise ValueError(f"{path.name}:{number}: a second case {case.name!r}")
        cases[case.id] = case
    return list(cases.values())


def cases_of(suite: str) -> list[Case]:
    """The cases of a suite: those of its file, for ``ops`` also those that need no line."""
    if suite == "ops":
        from .suites import ops

        return ops.cases()
    return load_suite(suite)


def select(cases: Iterable[Case], pattern: str | None) -> list[Case]:
    """The cases whose id or label contains every word of `pattern`."""
    words = (pattern or "").split()
    return [c for c in cases if all(w in f"{c.id} {c.label}" for w in words)]
