"""The sweeps over all OpInfo records: values, targets, threads, gradients, errors, completeness."""

from __future__ import annotations

import importlib
import zlib
from pathlib import Path

import annx
import numpy as np
import pytest
from annx import _core
from opinfo import Fixed

MODULES = sorted(p.stem for p in Path(__file__).parent.glob("opinfo_*.py"))
RECORDS = [r for m in MODULES for r in importlib.import_module(m).RECORDS]
TABLE = {row["name"]: row for row in _core.op_table()}
ids = [r.name for r in RECORDS]
records = pytest.mark.parametrize("info", RECORDS, ids=ids)


def samples_of(info):
    seed = zlib.crc32(info.name.encode())
    return info.samples(np.random.default_rng(seed))


def is_float(a):
    return isinstance(a, np.ndarray) and a.dtype.kind == "f"


def is_variable(a):
    return is_float(a) and not isinstance(a, Fixed)


def convert(value, dtype, grad=False):
    """Arrays of a sample as tensors: floats in dtype, the rest as it is."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "f":
            value = value.astype(dtype)
        return annx.tensor(np.asarray(value), requires_grad=grad and is_variable(value))
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], np.ndarray):
        return [convert(v, dtype, grad) for v in value]
    return value


def outputs(result):
    return list(result) if isinstance(result, (tuple, list)) else [result]


def call(info, sample, dtype, grad=False):
    args = [convert(a, dtype, grad) for a in sample[0]]
    kwargs = {k: convert(v, dtype, grad) for k, v in sample[1].items()}
    return getattr(_core.ops, info.name)(*args, **kwargs), args, kwargs


def tensors(args, kwargs):
    flat = []
    for a in (*args, *kwargs.values()):
        flat += a if isinstance(a, list) else [a]
    return [a for a in flat if isinstance(a, annx.Tensor)]


def shifted(sample, offsets):
    """The sample with each differentiable array moved by its offset, in order."""
    left = list(offsets)

    def move(a):
        if isinstance(a, (list, tuple)) and a and isinstance(a[0], np.ndarray):
            return [move(v) for v in a]
        return np.asarray(a.astype(np.float64) + left.pop(0)) if is_variable(a) else a

    return tuple(move(a) for a in sample[0]), {k: move(v) for k, v in sample[1].items()}


def raw(t):
    return np.asarray(t.detach().numpy()).tobytes()


@records
@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
def test_forward_matches_reference(info, dtype):
    if info.ref is None or (dtype == np.float32 and not info.float32):
        return
    for sample in samples_of(info):
        narrow = [a.astype(dtype).astype(np.float64) if is_float(a) else a for a in sample[0]]
        kwargs = {
            k: v.astype(dtype).astype(np.float64) if is_float(v) else v
            for k, v in sample[1].items()
        }
        result, _, _ = call(info, sample, dtype)
        with np.errstate(all="ignore"):
            expected = outputs(info.ref(*narrow, **kwargs))
        got = outputs(result)
        assert len(got) == len(expected)
        for g, e in zip(got, expected, strict=True):
            e = np.asarray(e)
            assert g.shape == e.shape, (info.name, sample, g.shape, e.shape)
            g = np.asarray(g.detach().numpy())
            if g.dtype.kind != "f":
                np.testing.assert_array_equal(g, e, err_msg=f"{info.name} {sample}")
                continue
            finite = np.abs(e[np.isfinite(e)])
            size = max(1.0, float(finite.max()) if finite.size else 1.0)
            bound = info.scale * np.finfo(g.dtype).eps * size
            np.testing.assert_allclose(
                g.astype(np.float64), e, rtol=0, atol=bound, err_msg=f"{info.name} {sample}"
            )


@records
def test_every_target_gives_the_same_bits(info):
    reference = {}
    before = _core.active_target()
    try:
        for target in _core.supported_targets():
            _core.set_target(target)
            for i, sample in enumerate(samples_of(info)):
                annx.manual_seed(11)
                result, args, kwargs = call(info, sample, np.float32, grad=info.grad)
                got = [raw(t) for t in outputs(result) if t is not None]
                got += [raw(t) for t in tensors(args, kwargs)]  # in-place ops write to these
                if info.grad:
                    first = next((t for t in outputs(result) if t.requires_grad), None)
                    if first is not None:
                        first.backward(annx.ones_like(first))
                        got += [raw(t.grad) for t in tensors(args, kwargs) if t.grad is not None]
                assert reference.setdefault(i, got) == got, (info.name, target, sample)
    finally:
        _core.set_target(before)


@records
def test_gradient_matches_central_differences(info):
    if not info.grad:
        return
    rng = np.random.default_rng(3)
    checked = False
    for sample in samples_of(info):
        result, args, kwargs = call(info, sample, np.float64, grad=True)
        outs = [t for t in outputs(result) if t.requires_grad]
        inputs = [t for t in tensors(args, kwargs) if t.requires_grad]
        if not outs or not inputs or any(t.numel() == 0 for t in outs + inputs):
            continue
        weights = [annx.tensor(rng.standard_normal(t.shape), dtype="float64") for t in outs]
        total = sum(((t * w).sum() for t, w in zip(outs, weights, strict=True)), start=0.0)
        grads = _core.grad(total, inputs, allow_unused=True)
        # A random direction through all inputs at once.
        directions = [rng.standard_normal(t.shape) for t in inputs]
        exact = sum(
            float((np.asarray(g.numpy()) * d).sum())
            for g, d in zip(grads, directions, strict=True)
            if g is not None
        )
        step = 1e-6

        def value(sign, sample=sample, directions=directions, weights=weights, step=step):
            moved = shifted(sample, [sign * step * d for d in directions])
            result, _, _ = call(info, moved, np.float64)
            floats = [t for t in outputs(result) if t.dtype.is_floating_point]
            return sum(
                float((np.asarray(t.numpy()) * np.asarray(w.numpy())).sum())
                for t, w in zip(floats, weights, strict=True)
            )

        numeric = (value(1) - value(-1)) / (2 * step)
        assert exact == pytest.approx(numeric, rel=2e-5, abs=2e-6), (info.name, sample)
        checked = True
    assert checked, f"{info.name}: no sample had a gradient to check"


@records
def test_second_gradient_matches_central_differences(info):
    if not info.grad:
        return
    rng = np.random.default_rng(5)
    for sample in samples_of(info):
        result, args, kwargs = call(info, sample, np.float64, grad=True)
        outs = [t for t in outputs(result) if t.requires_grad]
        inputs = [t for t in tensors(args, kwargs) if t.requires_grad]
        if not outs or not inputs or any(t.numel() == 0 for t in outs + inputs):
            continue
        weights = [rng.standard_normal(t.shape) for t in outs]
        directions = [rng.standard_normal(t.shape) for t in inputs]
        second = [rng.standard_normal(t.shape) for t in inputs]

        def slope(at, sample=sample, directions=directions, weights=weights):
            """Directional derivative, as a differentiable scalar, with inputs moved to `at`."""
            moved = shifted(sample, at)
            result, args, kwargs = call(info, moved, np.float64, grad=True)
            outs = [t for t in outputs(result) if t.requires_grad]
            xs = [t for t in tensors(args, kwargs) if t.requires_grad]
            total = sum(
                ((t * annx.tensor(w)).sum() for t, w in zip(outs, weights, strict=True)),
                start=0.0,
            )
            grads = _core.grad(total, xs, create_graph=True, allow_unused=True)
            dot = sum(
                (
                    (g * annx.tensor(d)).sum()
                    for g, d in zip(grads, directions, strict=True)
                    if g is not None
                ),
                start=annx.zeros((), dtype="float64"),
            )
            return dot, xs

        zero = [np.zeros(t.shape) for t in inputs]
        dot, xs = slope(zero)
        exact = 0.0
        if dot.requires_grad:
            for g, d in zip(_core.grad(dot, xs, allow_unused=True), second, strict=True):
                if g is not None:
                    exact += float((np.asarray(g.numpy()) * d).sum())
        step = 1e-5
        numeric = (
            slope([step * d for d in second])[0].item()
            - slope([-step * d for d in second])[0].item()
        ) / (2 * step)
        assert exact == pytest.approx(numeric, rel=1e-4, abs=1e-5), (info.name, sample)


@records
def test_errors_are_clear(info):
    for args, kwargs, kind, pattern in info.errors:
        with pytest.raises(kind, match=pattern):
            getattr(_core.ops, info.name)(
                *[convert(a, np.float32) for a in args],
                **{k: convert(v, np.float32) for k, v in kwargs.items()},
            )


@records
def test_threads_do_not_change_bits(info):
    before = annx.num_threads()
    reference = {}
    try:
        for threads in (1, 2, 4):
            annx.set_num_threads(threads)
            for i, sample in enumerate(samples_of(info)):
                annx.manual_seed(7)
                result, args, kwargs = call(info, sample, np.float32)
                got = [raw(t) for t in outputs(result) if t is not None]
                got += [raw(t) for t in tensors(args, kwargs)]
                assert reference.setdefault(i, got) == got, (info.name, threads, sample)
    finally:
        annx.set_num_threads(before)


@records
def test_cost_is_counted(info):
    for sample in samples_of(info):
        args = [convert(a, np.float32) for a in sample[0]]
        kwargs = {k: convert(v, np.float32) for k, v in sample[1].items()}
        flops, moved = _core.op_cost(info.name, *args, **kwargs)
        assert np.isfinite([flops, moved]).all(), (info.name, sample)
        assert flops >= 0, (info.name, sample)
        assert moved >= 0, (info.name, sample)


def test_every_op_has_a_record_and_documentation():
    names = {r.name for r in RECORDS}
    assert len(names) == len(RECORDS), "two records for one op"
    public = {n for n, row in TABLE.items() if not row["internal"]}
    assert public - names == set(), "ops without an OpInfo record"
    assert names - public == set(), "records of ops that do not exist"
    assert [r.name for r in RECORDS if r.bench is None] == [], "add a line to bench/shapes/ops.txt"
    for name in public:
        assert TABLE[name]["doc"].strip().endswith("."), f"{name} has no docstring"
        assert TABLE[name]["signature"].startswith(f"{name}("), name
