"""What ``compare`` compares: the installed build, a folder, a wheel, or a revision it builds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Say = Callable[[str], None]


@dataclass(frozen=True)
class Build:
    """``folder`` holds the package annx; None is the one that is installed here."""

    label: str
    folder: Path | None = None

    def command(self) -> list[str]:
        # Without site, no editable install steps in before the path.
        return [sys.executable, "-s", *(["-S"] if self.folder else [])]

    def environment(self) -> dict[str, str]:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        if self.folder is None:
            return dict(os.environ)
        import numpy

        paths = [str(self.folder), str(Path(numpy.__file__).parents[1])]
        return {**environment, "PYTHONPATH": os.pathsep.join(paths)}


def resolve(text: str, say: Say, repository: Path | None = None) -> Build:
    """The build that `text` names: ``installed``, a folder, a .whl file, or a git revision.

    Raises:
        ValueError: it is none of them.
        OSError: it cannot be built.
    """
    path = Path(text)
    if text == "installed":
        return Build("installed")
    if path.suffix == ".whl":
        if not path.is_file():
            raise ValueError(f"expected a wheel but there is no file {text}")
        return Build(path.name, unpack(path, _cache() / f"{path.stem}-{path.stat().st_mtime_ns}"))
    if (path / "annx").is_dir():
        return Build(text, path.resolve())
    return build_revision(text, repository or Path.cwd(), say)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "annx-bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def unpack(wheel: Path, folder: Path) -> Path:
    """The wheel's files; a wheel is a zip file whose root is what goes on the path."""
    if not (folder / "annx").is_dir():
        with tempfile.TemporaryDirectory(dir=folder.parent) as fresh:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(fresh)
            if not (Path(fresh) / "annx").is_dir():
                raise ValueError(f"expected a wheel of annx but got {wheel}")
            shutil.copytree(fresh, folder, dirs_exist_ok=True)
    return folder


def _git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(repository), *arguments], capture_output=True, text=True
    )
    if done.returncode:
        raise OSError(done.stderr.strip() or f"git {arguments[0]} failed")
    return done.stdout.strip()


def build_revision(revision: str, repository: Path, say: Say) -> Build:
    """Builds a commit's wheel in a work tree of its own; kept for the next time.

    Raises:
        ValueError: there is no such revision.
        OSError: it does not build.
    """
    try:
        commit = _git(repository, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except OSError:
        raise ValueError(
            "expected installed, a JSON file, a wheel, a folder with annx in it or a git revision "
            f"of {repository} but got {revision!r}"
        ) from None
    label = f"{revision} ({commit[:10]})" if not commit.startswith(revision) else commit[:10]
    tag = sysconfig.get_config_var("SOABI") or sys.implementation.cache_tag
    folder = _cache() / f"{commit}-{tag}"
    if (folder / "annx").is_dir():
        return Build(label, folder)
    say(f"building {label}, which takes minutes")
    # Kept while it fails or is interrupted: the next time goes on from there.
    place = _cache() / f"{commit}-{tag}.build"
    tree, out = place / "tree", place / "wheel"
    _git(repository, "worktree", "prune")
    if not tree.is_dir():
        _git(repository, "worktree", "add", "--detach", "--force", str(tree), commit)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-C",
         f"build-dir={place / 'objects'}", "-w", out, tree],
        capture_output=True, text=True,
    )  # fmt: skip
    wheels = list(out.glob("*.whl")) if out.is_dir() else []
    if done.returncode or not wheels:
        raise OSError(f"{label} does not build: {(done.stdout + done.stderr)[-2000:]}")
    unpack(wheels[0], folder)
    _git(repository, "worktree", "remove", "--force", str(tree))
    shutil.rmtree(place)
    return Build(label, folder)
