"""Elementwise ops on a device: the bits of the CPU, for every dtype, layout and gradient."""

from __future__ import annotations

import sys
import zlib
from pathlib import Path

import annx
import numpy as np
import pytest
from annx import _core

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from opinfo_elementwise import RECORDS  # type: ignore[import-not-found]

if not annx.cuda.is_available():
    pytest.exit(f"no device: {_core.cuda_info()['reason']}", returncode=4)

RNG = np.random.default_rng
UNARY = [r for r in RECORDS if len(r.samples(RNG(0))[0][0]) == 1]
BINARY = "add sub mul div maximum minimum pow floor_divide remainder eq ne lt le gt ge".split()
FLOATS = [np.float32, np.float64]
DTYPES = "float32 float64 float16 bfloat16 int64 int32 uint8 bool".split()


@pytest.fixture(autouse=True)
def poisoned_memory():
    """Freed blocks come back full of this: a result that was not written in full shows it."""
    for size in (1, 100, 1000, 10000, 100000, 300000, 2_000_000):
        annx.full((size,), -1.2345e30, device="cuda")


def bits(t: annx.Tensor) -> bytes:
    """The bits, every NaN the same one."""
    array = np.array(t.detach().cpu().numpy())
    if array.dtype.kind == "f":
        array[np.isnan(array)] = np.nan
    return array.tobytes()


def check_same(got: annx.Tensor, expected: annx.Tensor, what: object) -> None:
    assert got.device == "cuda:0", what
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype), what
    if bits(got) != bits(expected):
        a, b = got.detach().cpu().numpy().ravel(), expected.detach().numpy().ravel()
        at = int(np.argmax(~((a == b) | ((a != a) & (b != b)))))
        raise AssertionError(
            f"{what}: element {at} is {a[at]!r} on the device, {b[at]!r} on the CPU"
        )


def tensors(sample, dtype, device, grad):
    def convert(value):
        if not isinstance(value, np.ndarray):
            return value
        is_float = value.dtype.kind == "f"
        t = annx.tensor(np.asarray(value.astype(dtype) if is_float else value), device=device)
        t.requires_grad = grad and is_float
        return t

    return [convert(a) for a in sample[0]], {k: convert(v) for k, v in sample[1].items()}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("info", RECORDS, ids=lambda r: r.name)
def test_samples_have_the_bits_of_the_cpu(info, dtype) -> None:
    op = getattr(_core.ops, info.name)
    for sample in info.samples(RNG(zlib.crc32(info.name.encode()))):
        args, kwargs = tensors(sample, dtype, "cpu", info.grad)
        expected = op(*args, **kwargs)
        on_device, more = tensors(sample, dtype, "cuda", info.grad)
        got = op(*on_device, **more)
        check_same(got, expected, (info.name, sample))
        # Gradients of broadcast operands need sums, which are not on the device yet.
        leaves = [t for t in args if isinstance(t, annx.Tensor)]
        if not expected.requires_grad or any(t.shape != expected.shape for t in leaves):
            continue
        seed = annx.tensor(RNG(1).standard_normal(expected.shape).astype(dtype))
        for round_ in (1, 2):  # the second backward adds to the first
            op(*args, **kwargs).backward(seed)
            op(*on_device, **more).backward(seed.cuda())
            for t, d in zip(args, on_device, strict=True):
                if isinstance(t, annx.Tensor) and t.grad is not None:
                    check_same(d.grad, t.grad, (info.name, "gradient", round_, sample))


def wide_values(dtype, count: int, seed: int) -> np.ndarray:
    """Special values, random bits and ordinary numbers, shuffled."""
    rng = RNG(seed)
    info = np.finfo(dtype)
    special = [0.0, np.inf, np.nan, info.max, info.tiny, info.smallest_subnormal, 0.5, 1, 1.5, 88.7]
    special = np.array(special + [-v for v in special], dtype)
    integer = np.uint32 if dtype == np.float32 else np.uint64
    noise = rng.integers(0, np.iinfo(integer).max, count // 2, integer, endpoint=True).view(dtype)
    plain = (rng.standard_normal(count - count // 2 - 2 * special.size) * 4).astype(dtype)
    values = np.concatenate([special, special, noise, plain])
    return values[rng.permutation(count)]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("info", UNARY, ids=lambda r: r.name)
def test_any_float_has_the_bits_of_the_cpu(info, dtype) -> None:
    kwargs = info.samples(RNG(0))[0][1]
    op = getattr(_core.ops, info.name)
    x = annx.tensor(wide_values(dtype, 100_003, 1))
    check_same(op(x.cuda(), **kwargs), op(x, **kwargs), info.name)
    if not info.grad:
        return
    g = annx.tensor(wide_values(dtype, 100_003, 2))
    a, b = x.clone(), x.cuda()
    a.requires_grad = b.requires_grad = True
    op(a, **kwargs).backward(g)
    op(b, **kwargs).backward(g.cuda())
    check_same(b.grad, a.grad, f"{info.name} gradient")


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", BINARY)
def test_any_two_floats_have_the_bits_of_the_cpu(name, dtype) -> None:
    op = getattr(_core.ops, name)
    a, b = (annx.tensor(wide_values(dtype, 100_003, seed)) for seed in (1, 2))
    check_same(op(a.cuda(), b.cuda()), op(a, b), name)
    check_same(op(a.cuda(), 2.5), op(a, 2.5), f"{name} with a number")


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool"])
@pytest.mark.parametrize("name", [*BINARY, "neg", "abs", "sign", "square", "relu", "hardtanh"])
def test_integers_are_those_of_the_cpu(name, dtype) -> None:
    op = getattr(_core.ops, name)
    values = [annx.tensor(RNG(s).integers(-9, 9, (37, 41))).to(dtype) for s in (1, 2)]
    values = values if name in BINARY else values[:1]
    check_same(op(*(v.cuda() for v in values)), op(*values), (name, dtype))


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_types_go_through_float32(name) -> None:
    x = annx.tensor(RNG(0).standard_normal((33, 17)).astype(np.float32)).to(name)
    got, expected = (annx.nn.functional.gelu(v * 1.5 + v) for v in (x.cuda(), x))
    assert got.dtype is expected.dtype
    check_same(got.float(), expected.float(), name)


@pytest.mark.parametrize("target", DTYPES)
@pytest.mark.parametrize("source", DTYPES)
def test_casts_are_those_of_the_cpu(source, target) -> None:
    x = annx.tensor(wide_values(np.float64, 20_011, 3)).to(source)
    got, expected = _core.ops.cast(x.cuda(), target), _core.ops.cast(x, target)
    assert got.dtype is expected.dtype
    # As float64, which holds them all (int64 apart, which is compared as it is).
    if target in ("float16", "bfloat16"):
        got, expected = got.float(), expected.float()
    check_same(got, expected, (source, target))


LAYOUTS = {
    "whole": lambda x: x,
    "transposed": lambda x: x.transpose(0, 2),
    "permuted": lambda x: x.permute(1, 2, 0),
    "sliced": lambda x: x[1:, ::2, 1:-1],
    "row": lambda x: x[0, 0],
    "column": lambda x: x[:, :1, :1],
    "reversed": lambda x: _core.ops.slice(x, 2, 2**63 - 1, -(2**63), -1),
    "expanded": lambda x: x[:, :1].expand(-1, 9, -1),
    "shifted": lambda x: x.reshape(-1)[3:-2],
    "empty": lambda x: x[:0],
    "single": lambda x: x[2:3, 3:4, 4:5],
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "float16"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_has_the_bits_of_the_cpu(layout, dtype) -> None:
    base = annx.tensor(RNG(5).integers(0, 100, (6, 8, 10))).to(dtype)
    a, b = LAYOUTS[layout](base), LAYOUTS[layout](base.cuda())
    assert (a.shape, a.stride()) == (b.shape, b.stride())
    for what, f in {
        "contiguous": lambda t: t.contiguous(),
        "clone": lambda t: t.clone(),
        "add": lambda t: t + t,
        "compare": lambda t: t > 50,
        "where": lambda t: annx.where(t > 50, t, 7),
        "cast": lambda t: t.to("float32"),
        "move": lambda t: t.to("cpu").to("cuda" if t.is_cuda else "cpu"),
    }.items():
        got, expected = f(b), f(a)
        if expected.dtype is annx.float16:
            got, expected = got.float(), expected.float()
        check_same(got, expected, (layout, what))


@pytest.mark.parametrize("first", [(4, 1, 5), (3, 5), (5,), (1,), (4, 3, 5)])
@pytest.mark.parametrize("second", [(4, 3, 5), (3, 1), (1, 1, 1), ()])
def test_operands_broadcast(first, second) -> None:
    a, b = (annx.tensor(RNG(i).standard_normal(s)) for i, s in enumerate((first, second)))
    check_same(a.cuda() - b.cuda(), a - b, (first, second))
    check_same(b.cuda() / a.cuda(), b / a, (first, second))


def test_a_cpu_scalar_travels_with_the_launch() -> None:
    x = annx.tensor([1.0, 2.0, 3.0])
    half = annx.tensor(0.5)
    check_same(x.cuda() * half, x * half, "scalar")
    check_same(half - x.cuda(), half - x, "scalar")
    with pytest.raises(RuntimeError, match=r"\[add\] expected all tensors on one device"):
        x.cuda() + x
    half.requires_grad = True
    with pytest.raises(RuntimeError, match=r"\[mul\] expected all tensors on one device"):
        x.cuda() * half


def test_gradients_of_gradients() -> None:
    x = annx.tensor([0.3, -1.2, 2.0], dtype="float64")
    second = []
    for device in ("cpu", "cuda"):
        leaf = x.to(device)
        leaf.requires_grad = True
        one = annx.ones_like(leaf)
        y = annx.tanh(leaf) * annx.exp(leaf)
        (first,) = _core.grad(y, [leaf], one, create_graph=True)
        second.append(_core.grad(first, [leaf], one)[0])
    check_same(second[1], second[0], "second derivative")


def test_results_repeat() -> None:
    x = annx.tensor(wide_values(np.float32, 1_000_003, 9)).cuda()
    first = bits(annx.nn.functional.gelu(x) * annx.sigmoid(x))
    for _ in range(3):
        assert bits(annx.nn.functional.gelu(x) * annx.sigmoid(x)) == first
