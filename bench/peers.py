"""The libraries annx is compared with. Each is optional."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import metadata
from importlib.util import find_spec

from .problem import module

# Contender -> the package it needs, and what it is called on the package index.
PEERS = {
    "numpy": ("numpy", "numpy"),
    "torch": ("torch", "torch"),
    "torch-compile": ("torch", "torch"),
    "scipy": ("scipy", "scipy"),
    "jax": ("jax", "jax"),
    "sklearn": ("sklearn", "scikit-learn"),
}

# What keeps the peers' own dispatchers on AVX2. Read once, when they are loaded.
AVX2_ONLY = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "DNNL_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
}


# What their BLAS reads once, when it is loaded.
BLAS_THREADS = (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "OMP_NUM_THREADS",
)


def environment(names: Sequence[str], target: str, threads: Sequence[int]) -> dict[str, str]:
    """What peers have to find when they are loaded, so that they run as annx does."""
    found = dict(AVX2_ONLY) if names and target == "avx2" else {}
    # One number of threads can be set so too where threadpoolctl does not change it later.
    blas = any(name in ("numpy", "scipy", "sklearn") for name in names)
    if blas and len(threads) == 1 and find_spec("threadpoolctl") is None:
        found.update(dict.fromkeys(BLAS_THREADS, str(threads[0])))
    return found


def check(names: Sequence[str]) -> dict[str, str]:
    """Peer -> why it cannot take part, for those that cannot.

    Raises:
        ValueError: a name is not a peer.
    """
    for name in names:
        if name not in PEERS:
            raise ValueError(f"expected peers among {', '.join(PEERS)} but got {name!r}")
    return missing(names)


def missing(names: Sequence[str]) -> dict[str, str]:
    """Library -> how to install it, for those that are not."""
    absent: dict[str, str] = {}
    for name in names:
        package, project = PEERS.get(name, (name, name))
        if find_spec(package) is None:
            absent[name] = f"{package} is not installed (pip install {project})"
    return absent


def versions(names: Sequence[str]) -> dict[str, str]:
    return {
        name: metadata.version(PEERS[name][1])
        for name in names
        if name in PEERS and find_spec(PEERS[name][0]) is not None
    }


def capped(target: str, environment: Mapping[str, str] | None = None) -> bool:
    """Whether the environment keeps the peers to what `target` may use."""
    environment = os.environ if environment is None else environment
    return target != "avx2" or all(environment.get(k) == v for k, v in AVX2_ONLY.items())


@contextmanager
def threads(count: int, names: Sequence[str]) -> Iterator[list[str]]:
    """Sets the threads of annx and of every peer in `names`; yields what could not be set."""
    import annx

    notes: list[str] = []
    with ExitStack() as stack:
        stack.callback(annx.set_num_threads, annx.num_threads())
        annx.set_num_threads(count)
        if any(name.startswith("torch") for name in names):
            torch = module("torch")
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(count)
        if any(name in ("numpy", "scipy", "sklearn") for name in names):
            if find_spec("threadpoolctl") is not None:
                stack.enter_context(module("threadpoolctl").threadpool_limits(count))
            elif any(os.environ.get(name) != str(count) for name in BLAS_THREADS):
                notes.append(
                    "threads of BLAS are as they are: threadpoolctl is not installed "
                    "(pip install threadpoolctl)"
                )
        if "jax" in names:
            notes.append("threads of jax follow the process's affinity")
        yield notes
