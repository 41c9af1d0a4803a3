"""What `annx info` and `annx.show_config()` print."""

from __future__ import annotations

import os
import platform

import numpy as np

from annx import _core


def _megabytes(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"


def _threads() -> str:
    limits = _core.cpu_limits()
    reasons = [f"affinity {limits['affinity']}"]
    reasons.append(f"cgroup quota {limits['cgroup']}" if limits["cgroup"] else "no cgroup quota")
    for name in ("ANNX_NUM_THREADS",):
        value = os.environ.get(name)
        reasons.append(f"{name}={value}" if value else f"{name} not set")
    allowed = min(limits["affinity"], limits["cgroup"] or limits["affinity"])
    wanted = os.environ.get("ANNX_NUM_THREADS", "").strip()
    if wanted.isdigit():
        allowed = min(allowed, int(wanted))
    current = _core.num_threads()
    if current != allowed:
        reasons.append(f"set_num_threads({current})")
    return f"{current} ({', '.join(reasons)})"


def _cuda() -> str:
    if not _core.build_info()["cuda"]:
        return "not built in (ANNX_CUDA=1 pip install . builds it)"
    state = _core.cuda_info()
    if not state["available"]:
        return f"built in, not usable: {state['reason']}"
    devices = ", ".join(
        f"{d['name']} ({d['capability'][0]}.{d['capability'][1]}, {d['memory'] / 2**30:.0f} GiB)"
        for d in state["devices"]
    )
    return f"{devices} (driver {state['driver']}, runtime {state['runtime']})"


def config_lines() -> list[str]:
    """One line a fact: a name, then its value."""
    build = _core.build_info()
    memory = _core.allocator_stats()
    active = _core.active_target()
    targets = ", ".join(_core.supported_targets())
    forced = os.environ.get("ANNX_TARGET")
    facts = {
        "annx": f"{build['version']} on Python {platform.python_version()}, NumPy {np.__version__}",
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "target": f"{active} ({f'ANNX_TARGET={forced}' if forced else 'chosen by CPU features'})",
        "targets": f"{targets} (what this CPU can run)",
        "threads": _threads(),
        "memory": (
            f"caching allocator: {_megabytes(memory['current_bytes'])} in use, "
            f"{_megabytes(memory['peak_bytes'])} at peak, "
            f"{_megabytes(memory['cached_bytes'])} cached"
            f"{', red zones on' if build['red_zones'] else ''}"
        ),
        "compiler": f"{build['compiler']} ({build['arch']})",
        "CUDA": _cuda(),
    }
    return [f"{name:<9} {value}" for name, value in facts.items()]
