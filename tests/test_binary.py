"""Reads the built extension: SIMD code stays in its target, nothing heavy is linked, it is small.

Needs objdump and nm from binutils, which every GCC installation brings along.
ANNX_TEST_EXTENSION names another build of the extension to read, for instance Clang's.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import zlib
from collections import Counter
from pathlib import Path

import annx
from annx import _core

EXTENSION = Path(os.environ.get("ANNX_TEST_EXTENSION", _core.__file__))
IS_X86_64 = platform.machine() in {"x86_64", "AMD64"}

ALLOWED_LIBRARIES = re.compile(
    r"lib(c|m|dl|rt|pthread|stdc\+\+|gcc_s)\.so(\.\d+)*|linux-vdso\.so\.1|.*/ld-linux-.*"
)

# In 64-bit code these first bytes are VEX (c4, c5) and EVEX (62), behind at most a segment or
# address-size prefix.
VEX = re.compile(r"^(?:(?:26|2e|36|3e|64|65|67) )*(c4|c5|62) ")

# Beyond SSE2 without being VEX. tzcnt is absent: compilers write it where it may decode as bsf.
BEYOND_BASELINE = re.compile(
    r"popcnt|lzcnt|crc32[bwlq]?|movbe|addsubp[sd]|h(add|sub)p[sd]|lddqu|mov(d|sh|sl)dup|pabs[bwd]"
    r"|palignr|ph(add|sub)(w|d|sw)|pmaddubsw|pmulhrsw|pshufb|psign[bwd]|blendv?p[sd]|dpp[sd]"
    r"|extractps|insertps|movntdqa|mpsadbw|packusdw|pblend(vb|w)|pcmp(eq|gt)q|pcmp[ei]str[im]"
    r"|p(extr|insr)[bdq]|p(max|min)(s[bd]|u[wd])|pmov[sz]x[bwd][wdq]|pmuldq|pmulld|ptest"
    r"|round[ps][sd]"
)

VECTOR_ON_STACK = re.compile(
    r"vmov[au]p[sd]\b.*\(%r[sb]p|\b(?:ldr|str|ldp|stp)\s+q.*\[sp"  # x86-64, aarch64
)

SYMBOL = re.compile(r"^[0-9a-f]+ <(.*)>:$")
TARGETS = {"avx2": "annx::avx2::", "avx512": "annx::avx512::"}


def tool_output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def target_of(symbol: str) -> str:
    """The SIMD target whose namespace a function lives in, or "baseline"."""
    for target, prefix in TARGETS.items():
        # A function template's name begins with its return type; its arguments prove nothing.
        name = symbol.split("(", 1)[0]
        if name.startswith(prefix) or f" {prefix}" in name:
            return target
    return "baseline"


def scan(disassembly: str) -> tuple[Counter[str], dict[str, str]]:
    """Instructions beyond the baseline per target; one example per misplaced symbol."""
    counts: Counter[str] = Counter()
    misplaced: dict[str, str] = {}
    symbol, target = "", "baseline"
    for line in disassembly.splitlines():
        parts = line.split("\t", 2)
        if len(parts) < 3:
            header = SYMBOL.match(line)
            if header:
                symbol = header.group(1)
                target = target_of(symbol)
            continue
        prefix = VEX.match(parts[1])
        evex = prefix is not None and prefix.group(1) == "62"
        if prefix is None and not BEYOND_BASELINE.fullmatch(parts[2].split(" ", 1)[0]):
            continue
        counts[f"{target} {'evex' if evex else 'vex'}"] += 1
        if target == "baseline" or (target == "avx2" and evex):
            misplaced.setdefault(symbol, parts[2].strip())
    return counts, misplaced


def test_scan_tells_targets_apart() -> None:
    listing = "\n".join(
        [
            "0000000000001000 <annx::avx2::f32_add(float const*, long)>:",
            "    1000:\tc5 fc 58 c1 \tvaddps %ymm1,%ymm0,%ymm0",
            "    1004:\t62 f1 7c 48 58 c1 \tvaddps %zmm1,%zmm0,%zmm0",
            "0000000000002000 <annx::add(annx::avx2::F32)>:",
            "    2000:\tc5 fc 58 c1 \tvaddps %ymm1,%ymm0,%ymm0",
            "0000000000003000 <void annx::avx512::loop<16>(float*) [clone .cold]>:",
            "    3000:\t62 f1 7c 48 58 c1 \tvaddps %zmm1,%zmm0,%zmm0",
            "0000000000004000 <annx::count(long)>:",
            "    4000:\tf3 48 0f b8 c7 \tpopcnt %rdi,%rax",
            "    4005:\tf3 48 0f bc c7 \ttzcnt %rdi,%rax",
        ]
    )
    counts, misplaced = scan(listing)
    assert counts == {"avx2 vex": 1, "avx2 evex": 1, "baseline vex": 2, "avx512 evex": 1}
    assert set(misplaced) == {
        "annx::avx2::f32_add(float const*, long)",
        "annx::add(annx::avx2::F32)",
        "annx::count(long)",
    }


def test_vector_code_stays_in_its_target() -> None:
    listing = tool_output("objdump", "--disassemble", "--demangle", "--wide", str(EXTENSION))
    if not IS_X86_64:
        assert "<annx::neon::" in listing or "<annx::scalar::" in listing
        assert "<annx::avx" not in listing
        return
    counts, misplaced = scan(listing)
    assert not misplaced, "\n".join(f"{name}: {code}" for name, code in misplaced.items())
    # Without symbols, or with kernels gone missing, the line above would say nothing.
    assert counts["avx2 vex"] > 1000, counts
    assert counts["avx512 evex"] > 1000, counts


def test_no_thread_runtime_is_linked() -> None:
    needed = [line.split()[0] for line in tool_output("ldd", str(EXTENSION)).splitlines() if line]
    assert needed
    foreign = [name for name in needed if not ALLOWED_LIBRARIES.fullmatch(name)]
    assert not foreign, foreign
    undefined = tool_output("nm", "--dynamic", "--undefined-only", str(EXTENSION))
    assert not re.search(r"\b(GOMP_|omp_|__kmpc_|tbb)\w*", undefined)


def test_only_the_module_function_is_exported() -> None:
    exported = tool_output("nm", "--dynamic", "--defined-only", "--extern-only", str(EXTENSION))
    names = {line.split()[-1] for line in exported.splitlines() if line.split()[-2] == "T"}
    assert names == {"PyInit__core"}


def test_the_package_is_small() -> None:
    """What a wheel of the package weighs: its files as a zip file deflates them."""
    package = Path(annx.__file__).parent
    files = [f for f in package.rglob("*") if f.is_file() and f.suffix not in {".so", ".pyc"}]
    size = sum(len(zlib.compress(path.read_bytes())) for path in [*files, EXTENSION])
    print(f"packed {size / 1e6:.2f} MB, extension unpacked {EXTENSION.stat().st_size / 1e6:.2f} MB")
    assert len(files) > 80
    assert size <= 5_000_000


def test_gemm_tiles_keep_their_sums_in_registers() -> None:
    # A compiler that runs out of registers parks vectors on the stack: right, and half as fast.
    listing = tool_output("objdump", "-d", "-C", "--no-show-raw-insn", str(EXTENSION))
    tile, spilled, tiles = "", Counter[str](), set()
    for line in listing.splitlines():
        header = SYMBOL.match(line)
        if header:
            name = header.group(1)
            inside = target_of(name) != "baseline" or "::neon::" in name
            tile = name if inside and "gemm_tile<" in name else ""
            tiles.add(tile)
        elif tile and VECTOR_ON_STACK.search(line):
            spilled[tile] += 1
    assert len(tiles) > 20
    assert not spilled


def test_thread_local_memory_leaves_room_for_other_libraries() -> None:
    """It lies in 1.6 KiB or so that libraries loaded at run time share: PyTorch needs some."""
    found = re.search(
        r"TLS\s+off.*\n.*memsz (0x[0-9a-f]+)", tool_output("objdump", "-p", str(EXTENSION))
    )
    assert found is None or int(found[1], 16) <= 1024
