"""Tensors over NumPy's memory: what is read-only, misaligned or overlapping."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import annx
import numpy as np
import pytest
from annx import nn, optim

WRITES: dict[str, Callable[[annx.Tensor], object]] = {
    "copy_": lambda t: t.copy_(annx.zeros(8)),
    "zero_": lambda t: t.zero_(),
    "fill_": lambda t: t[2:].fill_(3.0),
    "init": nn.init.normal_,
    "captured": lambda t: annx.jit(lambda: t.copy_(annx.zeros(8)))(),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_read_only_array_is_not_written(name: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(8, dtype=np.float32))
    array = np.load(tmp_path / "x.npy", mmap_mode="r")
    shared = annx.as_tensor(array)
    with pytest.raises(ValueError, match="memory that can be written.*copy it with annx.tensor"):
        WRITES[name](shared)
    # Reading is free, and copies may be written.
    assert (shared + 1).tolist() == (array + 1).tolist()
    copied = annx.tensor(array)
    WRITES[name](copied)
    del shared
    again = annx.as_tensor(np.arange(8, dtype=np.float32))
    WRITES[name](again)


def test_a_replay_does_not_write_a_read_only_argument() -> None:
    array = np.ones(4, np.float32)

    @annx.jit
    def f(x: annx.Tensor) -> None:
        x.copy_(x * 2)

    f(array)
    assert array.tolist() == [2.0] * 4
    array.flags.writeable = False
    with pytest.raises(ValueError, match="memory that can be written"):
        f(array)
    assert array.tolist() == [2.0] * 4


def test_dlpack_says_what_is_read_only() -> None:
    array = np.arange(3, dtype=np.float32)
    tensor = annx.from_dlpack(array)
    assert np.from_dlpack(tensor).flags.writeable == np.from_dlpack(array).flags.writeable
    array.flags.writeable = False
    shared = annx.as_tensor(array)
    # A view is of the same memory.
    for each in (shared, shared[1:]):
        # What reads the older form is told that it cannot be.
        with pytest.raises(BufferError, match="copy it with annx.tensor"):
            each.__dlpack__()
        again = annx.from_dlpack(each)
        with pytest.raises(ValueError, match="memory that can be written"):
            again.zero_()
        del again
        copied = annx.from_dlpack(each.__dlpack__(copy=True))
        copied.zero_()
    assert array.tolist() == [0, 1, 2]
    np.from_dlpack(annx.tensor(array))
    if np.lib.NumpyVersion(np.__version__) >= "2.1.0":
        assert not np.from_dlpack(shared).flags.writeable
        with pytest.raises(ValueError, match="memory that can be written"):
            annx.from_dlpack(array).zero_()


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.RMSprop])
def test_read_only_parameters_are_not_trained(kind: type[optim.SGD]) -> None:
    array = np.ones(3, np.float32)
    array.flags.writeable = False
    w = nn.Parameter(annx.as_tensor(array))
    w.grad = annx.ones(3)
    with pytest.raises(ValueError, match="memory that can be written"):
        kind([w], lr=0.1).step()
    assert array.tolist() == [1.0] * 3


def test_fields_of_packed_records_are_taken() -> None:
    records = np.zeros(5, dtype=[("tag", "u1"), ("x", "f4"), ("n", "i8")])
    records["x"], records["n"] = np.arange(5), np.arange(5) * 2
    odd = np.frombuffer(bytes(1) + np.arange(3, dtype=np.float32).tobytes(), np.uint8)[1:]
    f = annx.jit(lambda x: x * 2)
    for array in (records["x"], records["n"], odd.view(np.float32), records["x"][::-2]):
        for take in (annx.tensor, annx.as_tensor):
            assert take(array).tolist() == array.tolist()
        assert f(array).tolist() == (array * 2).tolist()


def test_a_tensor_is_copied_into_its_own_transpose() -> None:
    x = annx.arange(9.0).reshape(3, 3)
    x.T.copy_(x)
    assert x.tolist() == np.arange(9.0).reshape(3, 3).T.tolist()


def test_sizes_beyond_memory_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="output below"):
        nn.functional.interpolate(annx.ones(1, 1, 2, 2), scale_factor=2.0**39)
