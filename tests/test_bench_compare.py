"""`annx bench compare` and `report`: the rule, launches, self-check, stored runs and the page."""

from __future__ import annotations

import json
import math
import os
import pathlib
import random
import re
import shutil
import subprocess
import zipfile
from typing import Any

import annx
import pytest
from annx import _core, cli
from annx.bench import builds, compare, machine
from annx.bench.cases import Case, load_suite, select
from annx.bench.decide import decide
from annx.bench.instructions import SOFTWARE_TASK_CLOCK, Counter, counter
from annx.bench.report import joined
from annx.bench.tables import rewritten

ROOT = pathlib.Path(__file__).resolve().parents[1]


# --- compare


_WHO = ("NAME", "EMAIL")


def launches_of(
    rng: random.Random, effect: float, count: int, units: int = compare.Plan.units
) -> list[Any]:
    """Launches on a machine where processes, places in memory and neighbours all matter."""
    found = []
    for _ in range(count):
        process = rng.gauss(0, 0.007), rng.gauss(0, 0.007) + effect
        launch = []
        for _ in range(units):
            place = [p + rng.gauss(0, 0.01) for p in process]
            samples: tuple[list[float], list[float]] = ([], [])
            for _ in range(5):
                shared = rng.uniform(0.1, 0.4) if rng.random() < 0.1 else 0.0
                for side in (0, 1):
                    alone = rng.uniform(0, 0.4) if rng.random() < 0.1 else 0.0
                    noise = abs(rng.gauss(0, 0.01))
                    samples[side].append(100 * (1 + place[side] + shared + alone + noise))
            launch.append(samples)
        found.append(launch)
    return found


def test_rule_raises_few_false_alarms_and_misses_little() -> None:
    """A against A, and with 5 % injected: 200 trials each, as --self-check does on real time."""
    rng = random.Random(7)
    verdicts = []
    for effect in (0.0, 0.05):
        for _ in range(200):
            launches = launches_of(rng, effect, 4)
            for look, more in enumerate(compare.Plan.more):
                if decide(launches).flag not in ("same", *["slower", "faster"][: 2 * look]):
                    launches += launches_of(rng, effect, more)
            verdicts.append(decide(launches).flag)
    assert sum(flag in ("slower", "faster") for flag in verdicts[:200]) <= 2
    assert verdicts[200:].count("slower") >= 190


def test_medians_and_minima_must_both_separate() -> None:
    def launches(base: list[float], head: list[float]) -> list[Any]:
        return [[(base, head)] * 3] * 4

    flat = [100.0] * 5
    assert decide(launches(flat, flat)).flag == "same"
    assert decide(launches(flat, [106.0] * 5)).flag == "slower"
    assert decide(launches([106.0] * 5, flat)).flag == "faster"
    assert decide(launches(flat, [102.0] * 5)).flag == "same"
    # A neighbour woke up beside head: its minimum is as before.
    assert decide(launches(flat, [100.0, 120, 120, 120, 120])).flag == "unclear"
    # One lucky sample of base.
    assert decide(launches([80.0, 100, 100, 100, 100], flat)).flag == "unclear"
    # One launch of four that stands out does not carry the others.
    odd = launches(flat, flat)[:3] + launches(flat, [130.0] * 5)[:1]
    assert decide(odd).flag == "unclear"
    verdict = decide(launches(flat, [106.0] * 5))
    assert (verdict.median, verdict.minimum) == (pytest.approx(1.06), pytest.approx(1.06))


def test_instructions_settle_what_is_unclear() -> None:
    unclear = [[([100.0] * 5, [100.0, 120, 120, 120, 120])] * 3] * 4
    assert decide(unclear).flag == "unclear"
    assert decide(unclear, instructions=1.0).flag == "same"
    assert decide(unclear, instructions=1.05).flag == "slower"
    assert decide(unclear, instructions=0.9).flag == "faster"
    assert decide(unclear, instructions=1.01).flag == "unclear"
    clear = [[([100.0] * 5, [106.0] * 5)] * 3] * 4
    assert decide(clear, instructions=1.0).flag == "slower"


def test_counting_events() -> None:
    """The same call with another event: instructions are not to be had on every machine."""
    try:
        clock = Counter(SOFTWARE_TASK_CLOCK)
    except OSError:
        assert counter() is None
        return
    short, long = (clock.count(lambda n=n: sum(range(n))) for n in (1000, 300_000))
    clock.close()
    assert 0 < short < long


TINY = compare.Plan(launches=2, more=(), units=2, rounds=3, sample_ns=2e4, warm_ns=1e4)


def test_builds_are_compared_in_processes_of_their_own(tmp_path: pathlib.Path) -> None:
    """The installed build against a folder, where the extension lies in the package."""
    package = pathlib.Path(annx.__file__).parent
    (tmp_path / "annx").symlink_to(package)
    cases = select(load_suite("gemm"), "guide_mlp fc1")
    lines: list[str] = []
    head = builds.Build("again")
    if pathlib.Path(_core.__file__).parent == package:
        head = builds.resolve(str(tmp_path), lines.append)
        assert head.folder == tmp_path
    code, document = compare.compare(cases, builds.Build("installed"), head, TINY, lines.append)
    assert [row["case"] for row in document["rows"]] == [case.id for case in cases]
    assert all(row["flag"] != "failed" for row in document["rows"]), document
    assert code == int(any(row["flag"] == "slower" for row in document["rows"]))
    assert json.loads(json.dumps(document))["head"] == head.label
    assert {"cpu", "date", "system"} <= set(document["machine"])
    assert document["builds"]["head"]["compiler"] == _core.build_info()["compiler"]
    said = any("instructions are not counted here (" in line for line in lines)
    assert said == (counter() is None)


def test_interrupting_compare_judges_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    flat = [([100.0] * 5, [100.0] * 5)] * 2
    about = {"base": {"uncounted": ""}, "head": {"uncounted": ""}}
    launches: list[int] = []

    def measure_launch(
        cases: Any, a: Any, b: Any, plan: Any, rng: Any, into: Any, say: Any, slow: Any
    ) -> None:
        say.update(about)
        launches.append(1)
        if len(launches) == 3:
            raise KeyboardInterrupt
        into.setdefault(cases[0].id, compare.Measured()).launches.append(flat)

    monkeypatch.setattr(compare, "measure_launch", measure_launch)
    cases = load_suite("gemm")[:2]
    installed = builds.Build("installed")
    lines: list[str] = []
    code, document = compare.compare(cases, installed, installed, compare.Plan(), lines.append)
    assert code == 130
    assert document["stopped"]
    assert [row["flag"] for row in document["rows"]] == ["same", "unclear"]
    assert lines[-1] == "1 the same, 0 slower, 0 faster, 1 unclear"


def test_a_case_that_head_cannot_run_fails() -> None:
    lines: list[str] = []
    bad = Case("gemm", "nn", {"m": "0"})
    installed = builds.Build("installed")
    code, document = compare.compare([bad], installed, builds.Build("head"), TINY, lines.append)
    assert document["rows"][0]["flag"] == "failed"
    assert "expected n=..." in document["rows"][0]["failure"]
    assert code == 0, "base cannot run it either"


def test_self_check_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    flat, slow = [[([100.0] * 5, [100.0] * 5)] * 3] * 4, [[([100.0] * 5, [105.0] * 5)] * 3] * 4
    cases = [Case("gemm", "nn", {"m": str(i)}) for i in range(4)]

    def fake(cases: Any, a: Any, b: Any, plan: Any, say: Any, slow_by: float = 0, **k: Any) -> Any:
        launches = slow if k.get("slow") else flat
        return {case.id: compare.Measured(launches) for case in cases}

    monkeypatch.setattr(compare, "compare_builds", fake)
    lines: list[str] = []
    assert compare.self_check(cases, 10, TINY, lines.append) == 0
    assert lines[-1].startswith("false alarms 0.0% (at most 1 %), slowdowns of 5 % caught 100.0%")
    monkeypatch.setattr(compare, "compare_builds", lambda *a, **k: fake(a[0], 0, 0, 0, 0))
    assert compare.self_check(cases, 10, TINY, lines.append) == 1


def test_stored_runs_are_compared(tmp_path: pathlib.Path, capsys: Any) -> None:
    def document(nanoseconds: float) -> dict[str, Any]:
        row = {
            "case": "gemm/nn", "suite": "gemm", "label": "a layer", "contender": "annx",
            "target": "avx2", "threads": 1, "wrong": "", "error": None, "ratio": {}, "control": 1.0,
        }  # fmt: skip
        timed = dict.fromkeys(("median_ns", "min_ns", "q1_ns", "q3_ns"), nanoseconds)
        about = {"cpu": "x", "compiler": "y", "date": "2026-01-01", "cores": 1}
        return {
            "schema": 1, "machine": about, "peaks": [], "peers": {},
            "rows": [{**row, **timed, "samples": [nanoseconds] * 9}],
        }  # fmt: skip

    paths = []
    for name, value in (("a", 100.0), ("b", 110.0)):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(document(value)))
        paths.append(str(path))
    assert cli.main(["bench", "compare", *paths]) == 1
    assert "slower   median +10.00%" in capsys.readouterr().out
    assert cli.main(["bench", "compare", paths[0], paths[0]]) == 0
    assert "1 the same, 0 slower" in capsys.readouterr().out
    verdicts = tmp_path / "verdicts.json"
    assert cli.main(["bench", "compare", *paths, "-k", "layer", "--json", str(verdicts)]) == 1
    assert json.loads(verdicts.read_text())["rows"][0]["flag"] == "slower"
    # Nor is a case that is right no longer.
    broken = document(100.0)
    broken["rows"][0]["wrong"] = "error inf is above 1e-04"
    for name in ("median_ns", "samples"):
        del broken["rows"][0][name]
    (tmp_path / "broken.json").write_text(json.dumps(broken))
    assert cli.main(["bench", "compare", paths[0], str(tmp_path / "broken.json")]) == 1
    assert "wrong in the second run: error inf is above 1e-04" in capsys.readouterr().out
    # What has nothing in common is no sign that all is well.
    other = document(100.0)
    other["rows"][0]["target"] = "avx512"
    (tmp_path / "other.json").write_text(json.dumps(other))
    for more in ([paths[0], str(tmp_path / "other.json")], [*paths, "-k", "nowhere"]):
        assert cli.main(["bench", "compare", *more]) == 2
        assert "expected runs that share a case" in capsys.readouterr().err
    assert cli.main(["bench", "compare", paths[0], "installed"]) == 2
    assert "expected two JSON files or none" in capsys.readouterr().err
    (tmp_path / "a.json").write_text("{}")
    assert cli.main(["bench", "compare", *paths]) == 2
    assert "expected JSON of annx bench run, schema 1" in capsys.readouterr().err


def test_builds_are_found(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    wheel = tmp_path / "annx-0.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("annx/__init__.py", "")
    found = builds.resolve(str(wheel), print)
    assert found.folder is not None
    assert (found.folder / "annx" / "__init__.py").is_file()
    assert "-S" in found.command()
    assert found.environment()["PYTHONPATH"].startswith(str(found.folder))
    with pytest.raises(ValueError, match=r"expected a wheel but there is no file nosuch\.whl"):
        builds.resolve("nosuch.whl", print)
    with pytest.raises(ValueError, match=r"expected installed, a JSON file.* but got 'nosuch'"):
        builds.resolve("nosuch", print, ROOT)


def test_revisions_are_built_once(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a builder that packs the commit's own file instead of compiling."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    repository = tmp_path / "repository"
    repository.mkdir()
    run_really = subprocess.run
    who = {f"GIT_{role}_{what}": "x@y" for role in ("AUTHOR", "COMMITTER") for what in _WHO}

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(repository), *arguments]
        done = run_really(
            command, capture_output=True, text=True, check=True, env={**os.environ, **who}
        )
        return done.stdout.strip()

    git("init", "-q")
    commits = []
    for text in ("broken", "old", "new"):
        (repository / "code.py").write_text(text)
        git("add", ".")
        git("commit", "-q", "-m", text)
        commits.append(git("rev-parse", "HEAD"))
    built: list[str] = []

    def fake(command: list[str], **options: Any) -> Any:
        if command[0] == "git":
            return run_really(command, **options)
        assert command[1:4] == ["-m", "pip", "wheel"]
        out, tree = command[-2:]
        text = (pathlib.Path(tree) / "code.py").read_text()
        built.append(text)
        if text == "broken":
            return subprocess.CompletedProcess(command, 1, "", "error: no such header")
        pathlib.Path(out).mkdir()
        with zipfile.ZipFile(pathlib.Path(out) / "annx-0.whl", "w") as archive:
            archive.writestr("annx/__init__.py", text)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", fake)
    said: list[str] = []
    head = builds.resolve("HEAD", said.append, repository)
    base = builds.resolve("HEAD~1", said.append, repository)
    again = builds.resolve(commits[2][:12], said.append, repository)
    assert built == ["new", "old"], "what is built is kept"
    assert len(said) == 2
    for build_of, text in ((head, "new"), (base, "old"), (again, "new")):
        assert build_of.folder is not None
        assert (build_of.folder / "annx" / "__init__.py").read_text() == text
    assert base.label == f"HEAD~1 ({commits[1][:10]})"
    assert again.label == commits[2][:10]
    with pytest.raises(OSError, match=r"HEAD~2 \(\w+\) does not build: error: no such header"):
        builds.resolve("HEAD~2", said.append, repository)
    assert git("worktree", "list").count("\n") == 1, "work trees are left of failures only"
    with pytest.raises(OSError, match="does not build"):
        builds.resolve("HEAD~2", said.append, repository)
    shutil.rmtree(tmp_path / "cache")
    head = builds.resolve("HEAD", said.append, repository)
    assert built == ["new", "old", "broken", "broken", "new"]
    assert git("worktree", "list").count("\n") == 0, "traces of lost ones are cleared away"


# --- report


def stored(commit: str, date: str, slower: float = 1.0) -> dict[str, Any]:
    def row(who: str, nanoseconds: float, case: str = "gemm/nn m=8") -> dict[str, Any]:
        return {
            "case": case, "suite": "gemm", "label": "net <fc1>", "contender": who, "threads": 1,
            "target": "avx2" if who == "annx" else "", "error": 1e-7, "wrong": "", "control": 1.2,
            "median_ns": nanoseconds, "min_ns": nanoseconds, "q1_ns": nanoseconds,
            "q3_ns": nanoseconds, "samples": [nanoseconds], "flops": 1e6, "bytes": 1e4,
            "gflops": 1e6 / nanoseconds, "gbps": 1e4 / nanoseconds, "percent_of_peak": 50.0,
            "percent_of_stream": 5.0, "bound": "compute",
            "ratio": {"torch": 2.0} if who == "annx" else {},
        }  # fmt: skip

    bad = {**row("annx", 1.0, "gemm/nt m=9"), "wrong": "error inf", "ratio": {}}
    del bad["median_ns"]
    return {
        "schema": 1,
        "machine": {
            "date": date,
            "cpu": "A <CPU>",
            "cores": 2,
            "commit": commit,
            "compiler": "GCC 12",
        },
        "peers": {"torch": "2"},
        "peers_capped": True,
        "notes": ["jax takes no part"],
        "peaks": [
            {"target": "avx2", "threads": 1, "gflops": 100.0, "bandwidth": [[1000, 50.0]]},
        ],
        "rows": [row("annx", 2e4 * slower), row("torch", 4e4), bad],
    }


def test_tables_of_a_text_are_written_anew(tmp_path: pathlib.Path) -> None:
    runs = []
    for i, slower in enumerate((0.5, 1.0)):
        runs.append(tmp_path / f"{i}.json")
        runs[-1].write_text(json.dumps(stored("c", f"2026-01-0{i + 1}T00:00:00", slower)))
    memory = {**stored("c", "2026-01-03T00:00:00"), "rows": [], "peaks": []}
    taken = {"case": "e2e/mlp n=1", "threads": 1, "target": "avx2", "arena": 11, "alive": 10,
             "first_ns": 30.0, "eager_ns": 10.0, "floor_ns": 1e3, "steady_ns": 1500.0}  # fmt: skip
    memory["memory"] = [
        {**taken, "contender": "annx", "peak_bytes": 50 << 20},
        {**taken, "contender": "torch", "peak_bytes": 200 << 20},
    ]
    runs.append(tmp_path / "memory.json")
    runs[-1].write_text(json.dumps(memory))
    text = tmp_path / "text.md"
    text.write_text(
        "Words.\n\n<!-- annx bench: gemm time gflops roof torch -->\n\n| old |\n|---|\n| 1 |\n\n"
        "| kept |\n<!-- annx bench: gemm ways torch -->\n<!-- annx bench: gemm k=nt time -->\n"
        "<!-- annx bench: means torch -->\n<!-- annx bench: roofs -->\n"
        "<!-- annx bench: memory -->\n"
        "<!-- annx bench: gemm k=-nt time -->\n\nWords.\n"
        "<!-- annx bench: conv time -->\n| of another run |\nThe end.\n"
    )
    assert cli.main(["bench", "report", *map(str, runs), "--tables", str(text)]) == 0
    assert text.read_text() == (
        "Words.\n\n<!-- annx bench: gemm time gflops roof torch -->\n\n"
        "| case | annx | GFLOP/s | of the roof | × torch |\n|---|---:|---:|---:|---:|\n"
        "| nn m=8: net <fc1> | 20 µs | 50.0 | 50 % | 2.00 |\n\n"
        "| kept |\n<!-- annx bench: gemm ways torch -->\n\n"
        "| case | nn |\n|---|---:|\n| m=8: net <fc1> | 50 / **2.00** |\n"
        "| geometric mean, all 2.00 | **2.00** |\n"
        "<!-- annx bench: gemm k=nt time -->\n"
        "<!-- annx bench: means torch -->\n\n"
        "| suite | cases | × torch, geometric mean | ahead on |\n|---|---:|---:|---:|\n"
        "| gemm | 1 | 2.00 | 1 of 1 |\n"
        "<!-- annx bench: roofs -->\n\n"
        "| fma peak | 0 KiB |\n|---|---:|\n| 100 GFLOP/s | 50 GB/s |\n"
        "<!-- annx bench: memory -->\n\n"
        "| workload | MiB, annx | MiB, torch | share | arena / alive | first call / eager step "
        "| floor | step / floor |\n|---|---:|---:|---:|---:|---:|---:|---:|\n"
        "| mlp n=1 | 50 | 200 | 0.25 | 1.10 | 3.0 | 1 µs | 1.50 |\n"
        "<!-- annx bench: gemm k=-nt time -->\n\n"
        "| case | annx |\n|---|---:|\n| nn m=8: net <fc1> | 20 µs |\n\nWords.\n"
        "<!-- annx bench: conv time -->\n| of another run |\nThe end.\n"
    )
    for wish, message in [
        ("gemm keras", "expected a column or a peer but got 'keras'"),
        ("gemm ways", "expected one peer after ways"),
        ("means", "expected one peer but got"),
        ("gemm threads=1 to=2 time", "but got to=2"),
    ]:
        with pytest.raises(ValueError, match=message):
            rewritten(f"<!-- annx bench: {wish} -->", [stored("c", "2026-01-01T00:00:00")])
    # A peer that took no part.
    no_ratio = stored("c", "2026-01-01T00:00:00")
    no_ratio["rows"][0]["ratio"] = {}
    assert "| m=8: net <fc1> | 50 |" in rewritten(
        "<!-- annx bench: gemm ways torch -->", [no_ratio]
    )


def test_page_needs_nothing_else(tmp_path: pathlib.Path) -> None:
    paths = []
    for i, (commit, slower) in enumerate((("aaa", 1.0), ("bbb", 0.8))):
        path = tmp_path / f"{commit}.json"
        path.write_text(json.dumps(stored(commit, f"2026-01-0{i + 1}T00:00:00", slower)))
        paths.append(str(path))
    out = tmp_path / "page.html"
    # The newest run is drawn, whatever the order of the files.
    assert cli.main(["bench", "report", *reversed(paths), "-o", str(out)]) == 0
    text = out.read_text()
    assert not re.search(r"src=|href=.(?!#)|url\(|@import|//", re.sub(r'content="[^"]*"', "", text))
    ids = re.findall(r'id="([^"]+)"', text)
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(ids)
    assert len(ids) == len(set(ids))
    assert text.count("<svg") == 3, "ratios, a roofline and a history"
    assert "2.00×" in text
    assert "commit bbb" in text
    assert "aaa → bbb" in text
    assert "-20.0% time" in text
    assert "A &lt;CPU&gt;" in text
    assert "net &lt;fc1&gt;" in text
    assert "<CPU>" not in text
    assert "error inf" in text
    assert "jax takes no part" in text
    tags = re.findall(r"<(/?)(table|svg|div|tr|td|main|span)\b", text)
    for name in ("table", "svg", "div", "tr", "td", "main", "span"):
        assert tags.count(("", name)) == tags.count(("/", name)), name


def test_a_document_that_lacks_something_is_named(tmp_path: pathlib.Path, capsys: Any) -> None:
    path = tmp_path / "run.json"
    whole = stored("aaa", "2026-01-01T01:00:00")
    for lacking, message in (
        ({**whole, "machine": {}}, "machine lacks 'date'"),
        ({k: v for k, v in whole.items() if k != "peaks"}, "it lacks 'peaks'"),
        ({**whole, "rows": [{}]}, "row 0 lacks 'case'"),
        ({**whole, "rows": 5}, "it has 'rows' of 5"),
        ({**whole, "rows": [1]}, "row 0 is no object but 1"),
        ({**whole, "peaks": [{**whole["peaks"][0], "bandwidth": []}]}, "peaks 0 has 'bandwidth'"),
        ({**whole, "machine": {**whole["machine"], "date": None}}, "machine has 'date' of None"),
        *(
            (
                {**whole, "rows": [{**whole["rows"][0], key: value}]},
                f"row 0 has {key!r} of {value!r}",
            )
            for key, value in (
                ("case", "x"),
                ("median_ns", 0),
                ("median_ns", "1"),
                ("q1_ns", math.nan),
                ("samples", []),
                ("samples", "12"),
                ("ratio", None),
                ("ratio", {"torch": -1}),
                ("gflops", None),
                ("threads", 0),
                ("threads", True),
                ("error", "1"),
            )
        ),
    ):
        path.write_text(json.dumps(lacking))
        for command in (["report"], ["compare", str(path)]):
            assert cli.main(["bench", *command, str(path)]) == 2
            assert message in capsys.readouterr().err
    path.write_bytes(b"\xff\xfe")
    assert cli.main(["bench", "report", str(path)]) == 2
    assert "expected JSON of annx bench run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "gemm", "--json", "/nowhere/x.json"], "expected a file in an existing folder"),
        (["run", "gemm", "--threads", "1,x"], "expected thread counts like 1,2"),
        (["run", "gemm", "--seconds", "nan"], "expected a number of seconds above 0"),
        (["compare", "--self-check", "--trials", "0"], "expected a number of at least 1"),
        (["compare", "a", "b", "--threads", "0"], "expected a number of at least 1"),
        (["report", "x.json", "-o", "/nowhere/x.html"], "expected a file in an existing folder"),
    ],
)
def test_wrong_arguments_are_found_before_anything_is_measured(
    arguments: list[str], message: str, capsys: Any
) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["bench", *arguments])
    assert left.value.code == 2
    assert message in capsys.readouterr().err


def test_errors_of_workers_are_printed(capsys: Any) -> None:
    target = ["--target", "vax"]
    assert cli.main(["bench", "compare", "installed", "installed", *target]) == 2
    assert "expected a target among scalar" in capsys.readouterr().err
    assert issubclass(compare.Failed, OSError), "which the console script prints"


def test_a_work_tree_around_an_installed_package_is_not_its_commit(tmp_path: pathlib.Path) -> None:
    package = tmp_path / "venv" / "annx"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (tmp_path / "mine.txt").write_text("")
    who = ["-c", "user.name=x", "-c", "user.email=x@y"]
    for command in (["init", "-q"], ["add", "mine.txt"], [*who, "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    assert machine.commit(package) == ""
    subprocess.run(["git", "-C", str(tmp_path), "add", "."], check=True)
    assert machine.commit(package).endswith("-dirty")
    installed = pathlib.Path(annx.__file__).parent
    wanted = machine.commit(installed) or _core.build_info()["commit"]
    assert machine.facts()["commit"] == wanted
    assert len(machine.facts()["build"]) == 12
    assert machine.digest(tmp_path / "none") == ""


def test_peers_kept_to_avx2_stand_beside_avx2_alone() -> None:
    capped, free = (stored("aaa", f"2026-01-01T0{hour}:00:00") for hour in (1, 2))
    free["peers_capped"] = False
    for row in free["rows"]:
        row["case"] += " more"
    (both,) = joined([capped, free])
    targets = [r["target"] for r in both["rows"] if r["contender"] != "annx"]
    assert sorted(set(targets)) == ["", "avx2"]


def test_runs_of_one_commit_become_one() -> None:
    def of(suite: str, commit: str, hour: int) -> dict[str, Any]:
        document = stored(commit, f"2026-01-01T0{hour}:00:00")
        for row in document["rows"]:
            row["case"] = row["case"].replace("gemm", suite)
        return document

    first, second, again = of("gemm", "aaa", 1), of("conv", "aaa", 2), of("gemm", "aaa", 3)
    other = of("conv", "bbb", 4)
    found = joined([other, second, again, first])
    assert [len(document["rows"]) for document in found] == [6, 3, 3]
    assert len(found[0]["peaks"]) == 1
    assert found[0]["notes"] == ["jax takes no part"]
    unknown = [of("gemm", "", 1), of("conv", "", 2)]
    assert len(joined(unknown)) == 2
    for document, build in zip(unknown, ("one", "one"), strict=True):
        document["machine"]["build"] = build
    assert len(joined(unknown)) == 1
    unknown[1]["machine"]["build"] = "two"
    assert len(joined(unknown)) == 2
    assert len(first["rows"]) == 3, "what was stored stays as it is"
