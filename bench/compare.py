"""`annx bench compare`: two builds, sampled in turns, case by case."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from .builds import Build
from .cases import Case
from .decide import THRESHOLD, Launch, Unit, Verdict, decide, decide_apart
from .machine import facts
from .stats import median
from .worker import BOOT

TOOL = Path(__file__).resolve().parent
Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    launches: int = 4  # pairs of processes
    more: tuple[int, ...] = (12, 16, 16)  # further ones: unless plainly the same, while unclear
    units: int = 2  # of a launch: sets of arrays
    rounds: int = 5  # of a unit
    sample_ns: float = 1e6
    warm_ns: float = 3e5  # before each sample
    seconds: float = 2.0  # of samples at most, a unit
    threads: int = 1
    target: str = ""
    threshold: float = THRESHOLD
    seed: int = 0


class Failed(OSError):
    """A build could not run a case."""


class Process:
    """A worker and the pipe to it."""

    def __init__(self, build: Build, plan: Plan, hash_seed: int) -> None:
        cpu = max(os.sched_getaffinity(0)) if plan.threads == 1 else None
        self._child = subprocess.Popen(
            [*build.command(), "-c", BOOT, str(TOOL)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**build.environment(), "PYTHONHASHSEED": str(hash_seed)},
            start_new_session=True,  # Ctrl-C is for the parent, whose end of the pipe ends it
        )  # fmt: skip
        self.label = build.label
        self.about = self.ask("start", threads=plan.threads, target=plan.target, cpu=cpu)

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        try:
            self._child.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._child.stdin.flush()
            line = self._child.stdout.readline()
        except OSError:
            line = ""
        if not line:
            raise Failed(f"{self.label}: the process ended with code {self._child.wait()}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise Failed(f"{self.label}: {reply['error']}")
        return reply

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        self._child.stdout.close()
        self._child.wait()


@dataclass
class Measured:
    """What the launches of one case gave."""

    launches: list[Launch] = field(default_factory=list)
    instructions: list[float] = field(default_factory=list)
    failure: str = ""

    def verdict(self, threshold: float) -> Verdict:
        counted = median(self.instructions) if self.instructions else None
        return decide(self.launches, threshold, counted)


def measure_unit(
    case: Case, a: Process, b: Process, plan: Plan, rng: random.Random, slow: float
) -> Unit:
    """Fresh arrays in both processes, then rounds of one sample each in random order."""
    once = [p.ask("prepare", suite=case.suite, line=case.name, warm_ns=2e6) for p in (a, b)]
    calls = max(1, round(plan.sample_ns / once[0]["ns"]))
    each = 2 * (once[0]["ns"] * calls + plan.warm_ns)
    times: dict[Process, list[float]] = {a: [], b: []}
    for _ in range(max(3, min(plan.rounds, int(plan.seconds * 1e9 / each)))):
        turn = [a, b]
        rng.shuffle(turn)
        for process in turn:
            stretch = slow if process is b else 0.0
            got = process.ask("sample", calls=calls, warm_ns=plan.warm_ns, slow=stretch)
            times[process].append(got["ns"])
    return times[a], times[b]


def measure_launch(
    cases: Sequence[Case],
    base: Build,
    head: Build,
    plan: Plan,
    rng: random.Random,
    into: dict[str, Measured],
    about: dict[str, Any],
    slow: float = 0.0,
) -> None:
    """One pair of processes through all cases; `slow` is injected into head. What the processes
    say of themselves goes into `about`."""
    # The layout of the interpreter's dicts is not the builds' doing: one for both.
    hash_seed = rng.randrange(1 << 32)
    with Process(base, plan, hash_seed) as a, Process(head, plan, hash_seed) as b:
        about.update(base=a.about, head=b.about)
        for case in cases:
            measured = into.setdefault(case.id, Measured())
            if measured.failure:
                continue
            units: list[Unit] = []
            try:
                for _ in range(plan.units):
                    units.append(measure_unit(case, a, b, plan, rng, slow))
                counts = [p.ask("count")["instructions"] for p in (a, b)]
            except Failed as error:
                measured.failure = str(error)
                continue
            measured.launches.append(units)
            if all(counts):
                measured.instructions.append(counts[1] / counts[0])


def compare_builds(
    cases: Sequence[Case],
    base: Build,
    head: Build,
    plan: Plan,
    say: Say,
    slow: float = 0.0,
    found: dict[str, Measured] | None = None,
    about: dict[str, Any] | None = None,
) -> dict[str, Measured]:
    """Measures all cases; what is not plainly the same is measured again before it is judged.

    `found` and `about` are filled as it goes, for who may be interrupted.
    """
    rng = random.Random(plan.seed)
    found = {} if found is None else found
    about = {} if about is None else about
    for launch in range(plan.launches):
        say(f"launch {launch + 1} of {plan.launches}")
        measure_launch(cases, base, head, plan, rng, found, about, slow)
        if launch == 0 and (why := about["base"]["uncounted"] or about["head"]["uncounted"]):
            say(f"note: instructions are not counted here ({why}); times alone decide")
    # Few looks: who looks after every launch finds a change sooner or later.
    for look, launches in enumerate(plan.more):
        settled = {"same"} if look == 0 else {"same", "slower", "faster"}
        again = [
            case
            for case in cases
            if not found[case.id].failure
            and found[case.id].verdict(plan.threshold).flag not in settled
        ]
        if again:
            say(f"{launches} launches more for {len(again)} cases")
        for _ in range(launches if again else 0):
            measure_launch(again, base, head, plan, rng, found, about, slow)
    return found


def verdict_line(name: str, verdict: Verdict) -> str:
    counted = ""
    if verdict.instructions is not None:
        counted = f", instructions {verdict.instructions - 1:+.2%}"
    return (
        f"{name:<52} {verdict.flag:<8} median {verdict.median - 1:+7.2%}, "
        f"minimum {verdict.minimum - 1:+7.2%} ± {verdict.error:.2%}{counted}"
    )


def compare(
    cases: Sequence[Case], base: Build, head: Build, plan: Plan, say: Say
) -> tuple[int, dict[str, Any]]:
    """Prints the verdicts; returns the exit code and the document.

    The code is 1 where a case is slower or head alone cannot run it, else 0; 130 where Ctrl-C ended
    it, after the verdicts on what was measured.
    """
    say(f"base {base.label}, head {head.label}; {len(cases)} cases, {plan.threads} thread(s)")
    found: dict[str, Measured] = {}
    about: dict[str, Any] = {}
    stopped = False
    try:
        compare_builds(cases, base, head, plan, say, found=found, about=about)
    except KeyboardInterrupt:
        stopped = True
        say("\nstopped: what follows is judged by what was measured until now")
    rows: list[dict[str, Any]] = []
    for case in cases:
        measured = found.get(case.id, Measured())
        if not measured.failure and not measured.launches:
            rows.append({"case": case.id, "flag": "unclear", "failure": "not measured"})
            continue
        if measured.failure:
            say(f"{case.id:<52} not compared: {measured.failure}")
            rows.append({"case": case.id, "flag": "failed", "failure": measured.failure})
            continue
        verdict = measured.verdict(plan.threshold)
        rows.append({"case": case.id, "label": case.label, **asdict(verdict)})
        if verdict.flag != "same":
            say(verdict_line(case.id, verdict))
    slower = _count_flags(rows, say)
    broken = [r for r in rows if r["flag"] == "failed" and r["failure"].startswith(head.label)]
    document = {
        "base": base.label, "head": head.label, "machine": machine(), "builds": about,
        "plan": asdict(plan), "stopped": stopped, "rows": rows,
    }  # fmt: skip
    return 130 if stopped else int(bool(slower or broken)), document


# What the tool says of the annx that it was installed with, which may be neither of the two.
_OF_A_BUILD = ("annx", "build", "commit", "compiler", "targets")


def machine() -> dict[str, Any]:
    """Where it ran and when; compilers are those of the builds."""
    return {k: v for k, v in facts().items() if k not in _OF_A_BUILD}


def compare_documents(
    base: dict[str, Any],
    head: dict[str, Any],
    say: Say,
    suites: Sequence[str] | None = None,
    pattern: str | None = None,
) -> tuple[int, dict[str, Any]]:
    """Two stored runs: measured at different times, so twice the threshold is asked for.

    Raises:
        ValueError: they share nothing that could be compared.
    """
    for name in ("cpu", "compiler"):
        if base["machine"].get(name) != head["machine"].get(name):
            say(
                f"warning: {name} differs: {base['machine'].get(name)}, {head['machine'].get(name)}"
            )
    old, new = (_own_samples(d, suites, pattern) for d in (base, head))
    shared = [key for key in new if key in old]
    wrong = {key: why for key, why in _own_wrong(head).items() if key in old}
    if not shared and not wrong:
        raise ValueError(
            "expected runs that share a case of annx on one target and number of threads but one "
            f"has {_extent(old)}, the other {_extent(new)}"
        )
    rows: list[dict[str, Any]] = []
    for (case, target, threads), why in wrong.items():
        say(f"{f'{case} {target} {threads}t':<52} wrong in the second run: {why}")
        about = {"case": case, "target": target, "threads": threads}
        rows.append({**about, "flag": "failed", "failure": why})
    for key in shared:
        case, target, threads = key
        verdict = decide_apart(old[key], new[key], 2 * THRESHOLD)
        rows.append({"case": case, "target": target, "threads": threads, **asdict(verdict)})
        if verdict.flag != "same":
            say(verdict_line(f"{case} {target} {threads}t", verdict))
    slower = _count_flags(rows, say)
    say("runs at different times tell changes above 5 % only")
    if alone := len(old) + len(new) - 2 * len(shared) - len(wrong):
        say(f"{alone} more are in one of the runs only")
    labels = [d.get("label", d["machine"].get("commit", "")) for d in (base, head)]
    return int(slower > 0 or bool(wrong)), {"base": labels[0], "head": labels[1], "rows": rows}


Key = tuple[str, str, int]


def _own_samples(
    document: dict[str, Any], suites: Sequence[str] | None, pattern: str | None
) -> dict[Key, list[float]]:
    """(case, target, threads) -> samples of annx."""
    words = (pattern or "").split()
    return {
        (r["case"], r["target"], r["threads"]): r["samples"]
        for r in document["rows"]
        if r["contender"] == "annx"
        and "samples" in r
        and (suites is None or r["suite"] in suites)
        and all(word in f"{r['case']} {r['label']}" for word in words)
    }


def _own_wrong(document: dict[str, Any]) -> dict[Key, str]:
    """(case, target, threads) -> why annx was not timed."""
    return {
        (r["case"], r["target"], r["threads"]): r["wrong"]
        for r in document["rows"]
        if r["contender"] == "annx" and r["wrong"]
    }


def _extent(samples: dict[Key, list[float]]) -> str:
    places = dict.fromkeys(f"{target} {threads}t" for _, target, threads in samples)
    return f"{len(samples)} on {', '.join(places)}" if samples else "none"


def _count_flags(rows: Sequence[dict[str, Any]], say: Say) -> int:
    """Says how many rows have each verdict; returns how many are slower."""
    flags = ("slower", "faster", "unclear")
    count = {flag: sum(r["flag"] == flag for r in rows) for flag in flags}
    same = sum(r["flag"] == "same" for r in rows)
    say(f"{same} the same, " + ", ".join(f"{n} {flag}" for flag, n in count.items()))
    return int(count["slower"])


def self_check(cases: Sequence[Case], trials: int, plan: Plan, say: Say) -> int:
    """The installed build against itself, plain and with 5 % injected; 0 where the rule holds."""
    installed = Build("installed")
    alarms = caught = done = 0
    repeat = 0
    quiet: Say = lambda line: None  # noqa: E731
    while done < trials:
        repeat += 1
        chosen = list(cases)[: trials - done]
        seeded = replace(plan, seed=plan.seed + repeat)
        plain = compare_builds(chosen, installed, installed, seeded, quiet)
        slowed = compare_builds(chosen, installed, installed, seeded, quiet, slow=0.05)
        for case in chosen:
            for found, injected in ((plain, False), (slowed, True)):
                if found[case.id].failure:
                    raise OSError(found[case.id].failure)
                verdict = found[case.id].verdict(plan.threshold)
                if injected:
                    caught += verdict.flag == "slower"
                else:
                    alarms += verdict.flag in ("slower", "faster")
                if injected and verdict.flag != "slower":
                    say(f"  missed: {verdict_line(case.id, verdict)}")
                elif not injected and verdict.flag in ("slower", "faster"):
                    say(f"  false alarm: {verdict_line(case.id, verdict)}")
        done += len(chosen)
        say(f"{done} of {trials}: {alarms} false alarms, {caught} slowdowns of 5 % caught")
    say(
        f"false alarms {alarms / done:.1%} (at most 1 %), "
        f"slowdowns of 5 % caught {caught / done:.1%} (at least 95 %)"
    )
    return int(alarms > 0.01 * done or caught < 0.95 * done)
