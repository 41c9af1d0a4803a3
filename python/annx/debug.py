"""Looking inside: what annx runs on."""

from __future__ import annotations

from annx._info import config_lines

__all__ = ["show_config"]


def show_config() -> None:
    """Prints version, SIMD targets, threads and why, memory, compiler, NumPy and CUDA."""
    print("\n".join(config_lines()))
