"""What the documents say is so: the example runs, links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_readme_example_runs(tmp_path: Path) -> None:
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert example is not None
    done = subprocess.run(
        [sys.executable, "-c", example.group(1)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    accuracy = float(done.stdout.splitlines()[-1])
    assert accuracy > 0.88
    assert (tmp_path / "digits.safetensors").stat().st_size > 30_000


def test_links_and_paths_exist() -> None:
    """Links of every document, and the paths that README and csrc/README name in code type."""
    missing = []
    documents = [*ROOT.glob("*.md"), *ROOT.glob("csrc/**/*.md"), *ROOT.glob("docs/**/*.md")]
    for document in documents:
        text = document.read_text()
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
            if not link.startswith("http") and not (document.parent / link).exists():
                missing.append(f"{document.relative_to(ROOT)}: {link}")
    for name, base in (("README.md", ROOT), ("csrc/README.md", ROOT / "csrc")):
        for path in re.findall(r"`([\w./-]+/[\w./-]*)`", (ROOT / name).read_text()):
            if not (base / path).exists() and not (ROOT / path).exists():
                missing.append(f"{name}: {path}")
    assert len(documents) > 10
    assert not missing, missing
