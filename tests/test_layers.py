"""Reads the sources: includes and imports point down, never round; files are short, portable."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CSRC = ROOT / "csrc"
PACKAGE = ROOT / "python" / "annx"

# The folders of csrc/, bottom first. A folder includes itself and what stands below it.
CSRC_LAYERS = (
    "core",
    "cuda",
    "simd",
    "numerics",
    "dispatch",
    "bench",
    "gemm",
    "ops",
    "autograd",
    "program",
    "bindings",
)

# The modules of the package below `annx.`, bottom first; a name stands for what is below it too.
# What a function imports when it is called is free to point up: fit finds losses by name.
PYTHON_LAYERS = (
    ("_core",),
    (
        "_capture",
        "_checkpoint",
        "_creation",
        "_functions",
        "_generator",
        "_info",
        "_layout",
        "_safetensors",
        "_tensor",
        "autograd",
        "backends",
        "cuda",
        "pytree",
    ),
    ("_compare", "_jit", "_prepare", "_transforms", "io"),
    ("debug",),
    ("data", "datasets", "metrics", "utils"),
    ("train", "callbacks"),
    ("nn", "optim"),
    ("",),
    ("bench",),
    ("__main__", "_demo", "cli"),
)

# Kernel code is compiled once per target inside a code region, so it may bring in nothing shared.
INL_SYSTEM_HEADERS = {"stdint.h", "stddef.h", "immintrin.h", "arm_neon.h"}

CPP_SUFFIXES = {".h", ".cpp", ".in", ".def", ".cu", ".cuh"}
SOURCE_SUFFIXES = CPP_SUFFIXES | {".py", ".pyi"}
TEXT_SUFFIXES = SOURCE_SUFFIXES | {".md", ".toml", ".cmake", ".txt", ".yaml", ".yml", ".sh", ""}
TOP_FOLDERS = (".ci", "bench", "cmake", "csrc", "docs", "examples", "python", "tests", "tools")
MAX_LINES = 600

Graph = Mapping[str, set[str]]


def text_files() -> Iterator[Path]:
    """Every text file of the repository; build folders and data are not among them."""
    for entry in sorted(ROOT.iterdir()):
        if entry.is_file() and entry.name != "LICENSE":
            yield entry
    for folder in TOP_FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            cached = "__pycache__" in path.parts or path.suffix in {".so", ".pyc"}
            if path.is_file() and path.suffix in TEXT_SUFFIXES and not cached:
                yield path


def csrc_includes() -> dict[str, list[str]]:
    """File -> the csrc files it includes, both as paths below csrc/."""
    found: dict[str, list[str]] = {}
    for path in sorted(CSRC.rglob("*")):
        if path.suffix in CPP_SUFFIXES:
            names = re.findall(r'^\s*#\s*include\s+"([^"]+)"', path.read_text(), re.MULTILINE)
            found[path.relative_to(CSRC).as_posix()] = names
    return found


def find_cycle(graph: Graph) -> list[str]:
    """One circle of the graph as a path that ends where it starts, or []."""
    done: set[str] = set()
    for start in graph:
        path: list[str] = []
        stack = [(start, iter(sorted(graph[start])))]
        if start in done:
            continue
        path.append(start)
        while stack:
            node, edges = stack[-1]
            step = next(edges, None)
            if step is None:
                done.add(node)
                stack.pop()
                path.pop()
            elif step in path:
                return [*path[path.index(step) :], step]
            elif step in graph and step not in done:
                path.append(step)
                stack.append((step, iter(sorted(graph[step]))))
    return []


def test_find_cycle_finds_one() -> None:
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert find_cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_csrc_folders_are_known_layers() -> None:
    folders = {path.name for path in CSRC.iterdir() if path.is_dir()}
    assert folders <= set(CSRC_LAYERS), "give a new folder its place in CSRC_LAYERS"
    assert {"core", "simd", "ops", "bindings"} <= folders
    for folder in sorted(folders):
        assert (CSRC / folder / "README.md").is_file(), f"csrc/{folder} has no README.md"


def test_csrc_includes_point_down() -> None:
    wrong = []
    for source, names in csrc_includes().items():
        rank = CSRC_LAYERS.index(source.split("/")[0])
        for name in names:
            if name.startswith("@family_dir@/"):
                continue  # the spine: the family is compiled above it, CMake fills the name in
            if not (CSRC / name).is_file():
                wrong.append(f"{source}: '{name}' is not a path below csrc/")
            elif CSRC_LAYERS.index(name.split("/")[0]) > rank:
                wrong.append(f"{source}: '{name}' points up")
    assert not wrong, "\n".join(wrong)


def test_csrc_includes_have_no_circle() -> None:
    includes = csrc_includes()
    assert includes["core/tensor.h"], "the scan found no include"
    assert find_cycle({source: set(names) for source, names in includes.items()}) == []


def test_kernel_files_include_nothing_shared() -> None:
    wrong = []
    for path in sorted(CSRC.rglob("*-inl.h")):
        for name in re.findall(r"^\s*#\s*include\s+<([^>]+)>", path.read_text(), re.MULTILINE):
            if name not in INL_SYSTEM_HEADERS:
                wrong.append(f"{path.relative_to(ROOT)}: <{name}>")
    assert not wrong, "\n".join(wrong)


def module_name(path: Path) -> str:
    inside = path.is_relative_to(PACKAGE)
    path = path.relative_to(PACKAGE.parent if inside else ROOT).with_suffix("")
    parts = path.parts if inside else ("annx", *path.parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """What runs at import: function bodies and TYPE_CHECKING blocks do not."""
    pending: list[ast.AST] = [tree]
    while pending:
        for node in ast.iter_child_nodes(pending.pop()):
            if isinstance(node, ast.stmt):
                yield node
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                continue
            if not is_type_checking(node):
                pending.append(node)


def imported(node: ast.stmt, importer: str, is_package: bool, modules: set[str]) -> Iterator[str]:
    """The modules of ours that one import statement names."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parts = importer.split(".")
            keep = len(parts) - node.level + (1 if is_package else 0)
            base = ".".join([*parts[:keep], *([base] if base else [])])
        full = [f"{base}.{alias.name}" for alias in node.names]
        names = [name if name in modules else base for name in full]
    else:
        return
    yield from (name for name in names if name in modules)


def python_imports() -> dict[str, set[str]]:
    """Module -> modules of the package it imports when it is itself imported."""
    files = [*PACKAGE.rglob("*.py"), *(PACKAGE / "bench").resolve().rglob("*.py")]
    paths = {module_name(path): path for path in sorted(files)}
    modules = {*paths, "annx._core"}
    graph: dict[str, set[str]] = {"annx._core": set()}
    for name, path in paths.items():
        is_package = path.name == "__init__.py"
        edges: set[str] = set()
        for node in statements(ast.parse(path.read_text())):
            edges.update(imported(node, name, is_package, modules))
        graph[name] = edges - {name}
    return graph


def test_python_imports_have_no_circle() -> None:
    graph = python_imports()
    assert graph["annx"], "the scan found no import"
    cycle = find_cycle(graph)
    assert not cycle, " -> ".join(cycle)


def python_layer(module: str) -> int:
    name = module.removeprefix("annx").removeprefix(".").split(".")[0]
    ranks = [rank for rank, names in enumerate(PYTHON_LAYERS) if name in names]
    assert len(ranks) == 1, f"give {module} its place in PYTHON_LAYERS"
    return ranks[0]


def test_python_imports_point_down() -> None:
    wrong = [
        f"{name} -> {edge}"
        for name, edges in python_imports().items()
        for edge in sorted(edges)
        if python_layer(edge) > python_layer(name)
    ]
    assert not wrong, wrong


def test_source_files_are_short() -> None:
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for path in text_files()
        if path.suffix in SOURCE_SUFFIXES and path.suffix != ".pyi"
        for lines in [len(path.read_text().splitlines())]
        if lines > MAX_LINES
    }
    assert not long, long


# Spelled in pieces, so that this file does not find itself.
FORBIDDEN = {
    "relaxes floating point": r"-ffast"
    + r"-math|-Ofa"
    + r"st\b|-funsafe"
    + r"-math|use_fast"
    + r"_math",
    "assumes the build machine's CPU": r"-m(arch|tune|cpu)=" + r"native",
    "links an OpenMP runtime": r"-f" + r"openmp|#\s*pragma\s+omp\b",
    "is a path of one machine": r"(?<![\w.}$])/(wor" + r"k|roo" + r"t|hom" + r"e/\w+|tm" + r"p)/\w",
}


def test_sources_hold_nothing_forbidden() -> None:
    wrong = []
    for path in text_files():
        text = path.read_text()
        for reason, pattern in FORBIDDEN.items():
            for match in re.finditer(pattern, text):
                line = text.count("\n", 0, match.start()) + 1
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {match.group()} {reason}")
    assert not wrong, "\n".join(wrong)
