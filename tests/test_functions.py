"""Functions of annx that are not ops, generators, and messages that name the function called."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import annx
import numpy as np
import pytest
from annx import nn
from annx.nn import functional as F
from annx.utils.data import DataLoader, RandomSampler, TensorDataset, random_split


@pytest.mark.parametrize(
    ("call", "kind", "pattern"),
    [
        (lambda: annx.zeros(2, -1), ValueError, r"\[zeros\] expected non-negative .* \(2, -1\)"),
        (lambda: annx.ones((-1,)), ValueError, r"\[ones\] expected non-negative sizes"),
        (lambda: annx.empty(-3), ValueError, r"\[empty\] expected non-negative sizes"),
        (lambda: annx.full((1, -1), 2.0), ValueError, r"\[full\] expected non-negative sizes"),
        (lambda: annx.zeros("ab"), TypeError, r"\[zeros\] expected sizes as ints but got 'ab'"),
        (lambda: annx.ones(2.5), TypeError, r"\[ones\] expected sizes as ints but got 2.5"),
        (lambda: annx.rand(2, -1), ValueError, r"\[rand\] expected non-negative sizes"),
        (lambda: annx.randn(-1), ValueError, r"\[randn\] expected non-negative sizes"),
        (lambda: annx.randint(0, 5, (-1,)), ValueError, r"\[randint\] expected non-negative"),
        (lambda: annx.randperm(-1), ValueError, r"\[randperm\] expected n >= 0"),
        (lambda: annx.zeros_like(3), TypeError, r"\[zeros_like\] argument 'input': expected a T"),
        (lambda: annx.rand_like(3), TypeError, r"\[rand_like\] argument 'input': expected a T"),
        (
            lambda: annx.zeros(2).copy_(annx.ones(3)),
            ValueError,
            r"\[copy_\] expected shapes that broadcast",
        ),
        (
            lambda: annx.zeros(2).copy_(annx.ones(3, 2)),
            ValueError,
            r"\[copy_\] expected a source that broadcasts to \(2,\) but got shape \(3, 2\)",
        ),
        (lambda: annx.triu(annx.ones(3)), ValueError, r"\[triu\] expected at least two"),
        (lambda: annx.ones(3).max(1), IndexError, r"\[max\] expected dim in"),
        (lambda: annx.ones(3).min(1), IndexError, r"\[min\] expected dim in"),
        (lambda: annx.zeros(2, device="gpu"), ValueError, r"\[zeros\] expected device"),
        (lambda: annx.zeros(2**40, 2**30), ValueError, r"\[zeros\] expected fewer than 2\*\*59"),
        (lambda: annx.tensor(2**63), ValueError, r"\[tensor\] .* int64 holds but got 92233720"),
        (lambda: annx.arange(3) + 2**70, ValueError, r"\[tensor\] .* int64 holds but got 11805"),
        (lambda: annx.ones(2)[2**64], IndexError, r"\[index\] expected an index of 64 bits"),
        (lambda: annx.linspace(0, 1, 2.5), TypeError, r"\[linspace\] expected steps as an int"),
        (lambda: annx.linspace(0, 1, 2**61), ValueError, r"fewer than 2\*\*59 steps"),
        (lambda: annx.manual_seed("a"), TypeError, r"\[manual_seed\] expected a seed as an int"),
        (lambda: annx.manual_seed(2**64), ValueError, r"\[manual_seed\] expected a seed of 64"),
        (lambda: annx.randperm(2**60), ValueError, r"\[randperm\] expected fewer than"),
        (lambda: F.pad(annx.ones(4), (2**62, 2**62)), ValueError, r"\[pad\] expected padding of f"),
        (lambda: annx.ones(8).unflatten(0, (2**62, 4)), ValueError, r"\[unflatten\] expected size"),
        (lambda: F.one_hot(annx.tensor([2**62])), ValueError, r"\[one_hot\] expected fewer than"),
        (lambda: annx.rand(2, generator=3), TypeError, r"\[rand\] expected generator"),
    ],
)
def test_messages_name_the_function_that_was_called(call, kind, pattern):
    with pytest.raises(kind, match=pattern):
        call()


@pytest.mark.parametrize("kind", ["float64", "float32", "float16", "int64", "int32", "bool"])
def test_numpy_scalars_keep_their_dtype(kind):
    value = np.dtype(kind).type(1)
    assert str(annx.tensor(value).dtype) == f"annx.{kind}"
    assert annx.tensor(value).shape == ()


def test_python_floats_are_float32_and_numpy_lists_too():
    assert annx.tensor(2.0).dtype is annx.float32
    assert annx.tensor([1.0, 2.0]).dtype is annx.float32
    assert (annx.ones(2) * np.float64(2)).dtype is annx.float32


def test_devices_are_made_from_names():
    cpu = annx.device("cpu")
    assert cpu == annx.ones(1).device
    assert annx.device("cuda", 1) == annx.device("cuda:1")
    assert (annx.device("cuda:1").type, annx.device("cuda:1").index) == ("cuda", 1)
    assert pickle.loads(pickle.dumps(annx.device("cuda:1"))) == annx.device("cuda:1")
    assert len({cpu, annx.device("cpu"), annx.device("cuda")}) == 2
    assert annx.zeros(2, device=cpu).device == cpu
    for bad in ("gpu", "cuda:x", "cpu:1", "cuda:"):
        with pytest.raises(ValueError, match=r"\[device\] expected"):
            annx.device(bad)


# Generators ---------------------------------------------------------------------------------------

DRAWS = [
    lambda g: annx.rand(5, generator=g),
    lambda g: annx.randn((2, 3), generator=g),
    lambda g: annx.randint(0, 100, (9,), generator=g),
    lambda g: annx.randperm(9, generator=g),
    lambda g: annx.bernoulli(annx.full((20,), 0.5), generator=g),
]


@pytest.mark.parametrize("draw", DRAWS)
def test_a_generator_is_a_stream_of_its_own(draw):
    g = annx.Generator().manual_seed(5)
    annx.manual_seed(0)
    before = annx.get_rng_state()
    first, second = draw(g), draw(g)
    assert annx.get_rng_state() == before
    assert not annx.equal(first, second)
    assert annx.equal(draw(annx.Generator().manual_seed(5)), first)
    # The global stream of that seed gives the same.
    annx.manual_seed(5)
    assert annx.equal(draw(None), first)


def test_generator_state_and_seeds():
    g = annx.Generator()
    assert annx.Generator(device="cpu").initial_seed() == g.initial_seed()
    assert g.manual_seed(7) is g
    assert g.initial_seed() == 7
    annx.rand(3, generator=g)
    state = g.get_state()
    wanted = annx.rand(3, generator=g)
    g.set_state(state)
    assert annx.equal(annx.rand(3, generator=g), wanted)
    assert g.seed() == g.initial_seed() != annx.Generator().seed()
    assert annx.equal(
        annx.rand(2, generator=pickle.loads(pickle.dumps(g))), annx.rand(2, generator=g)
    )
    assert copy.deepcopy(g).get_state() == g.get_state()
    assert annx.Generator().manual_seed(-1).initial_seed() == 2**64 - 1
    for bad in ("x", (1,), (1, -1), None):
        with pytest.raises(ValueError, match=r"\[Generator\] expected a"):
            g.set_state(bad)
    with pytest.raises(ValueError, match="seed of 64 bits"):
        g.manual_seed(2**64)


def test_generators_of_threads_do_not_mix():
    def draw(seed):
        g = annx.Generator().manual_seed(seed)
        return [annx.rand(100, generator=g).tolist() for _ in range(50)]

    wanted = [draw(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(draw, range(4))) == wanted


def test_a_failed_draw_leaves_the_global_stream():
    annx.manual_seed(3)
    g = annx.Generator()
    with pytest.raises(ValueError, match="randint"):
        annx.randint(5, 5, (2,), generator=g)
    before = annx.get_rng_state()
    annx.rand(1)
    assert annx.get_rng_state() != before


def test_loaders_samplers_and_splits_take_a_generator():
    data = TensorDataset(annx.arange(40))

    def order():
        g = annx.Generator().manual_seed(2)
        loader = DataLoader(data, batch_size=8, shuffle=True, generator=g)
        first = [b[0].tolist() for b in loader]
        return first, [b[0].tolist() for b in loader]

    first, second = order()
    assert first != second
    assert order() == (first, second)
    parts = [
        [list(s.indices) for s in random_split(data, [30, 10], annx.Generator().manual_seed(1))]
        for _ in range(2)
    ]
    assert parts[0] == parts[1]
    samplers = [list(RandomSampler(data, generator=annx.Generator())) for _ in range(2)]
    assert samplers[0] == samplers[1]


# Functions ----------------------------------------------------------------------------------------


def test_einsum_and_meshgrid_take_operands_one_by_one_or_as_a_list():
    x, y = annx.rand(3, 4), annx.rand(4, 5)
    wanted = x @ y
    assert annx.allclose(annx.einsum("ij,jk->ik", x, y), wanted)
    assert annx.allclose(annx.einsum("ij,jk->ik", [x, y]), wanted)
    a, b = annx.meshgrid(annx.arange(2), annx.arange(3), indexing="ij")
    assert a.shape == b.shape == (2, 3)
    assert annx.equal(annx.meshgrid([annx.arange(2), annx.arange(3)])[1], b)


def test_broadcasting_helpers():
    x, y = annx.broadcast_tensors(annx.ones(3, 1), annx.ones(4))
    assert x.shape == y.shape == (3, 4)
    assert annx.broadcast_shapes((3, 1), (4,)) == (3, 4)
    assert annx.broadcast_to(annx.ones(1), (2, 3)).shape == (2, 3)
    assert annx.ones(1).broadcast_to((2, 3)).shape == (2, 3)
    with pytest.raises(ValueError, match=r"\[broadcast_shapes\] .*\(2,\), \(3,\)"):
        annx.broadcast_shapes((2,), (3,))


def test_comparisons_answer_with_a_bool():
    x = annx.tensor([1.0, 2.0])
    assert annx.allclose(x, x + 1e-9) is True
    assert x.allclose(x + 1.0) is False
    assert annx.equal(x, annx.tensor([1.0, 2.0])) is True
    assert x.equal(annx.tensor([1.0])) is False
    nan = annx.tensor([float("nan")])
    assert annx.allclose(nan, nan) is False
    assert annx.allclose(nan, nan, equal_nan=True) is True
    assert annx.is_tensor(x)
    assert not annx.is_tensor([1.0])
    assert annx.is_floating_point(x)
    assert annx.numel(annx.ones(3, 4)) == 12


def test_integers_are_drawn_from_all_of_int64():
    annx.manual_seed(0)
    drawn = annx.randint(-(2**63), 2**63 - 1, (2000,)).numpy().astype(float)
    assert abs(drawn.mean()) < 2**63 * 0.06
    assert (np.abs(drawn) > 2**62).mean() == pytest.approx(0.5, abs=0.06)


def test_stacks():
    a, b = annx.arange(3), annx.arange(3)
    assert annx.hstack([a, b]).shape == (6,)
    assert annx.vstack([a, b]).shape == (2, 3)
    assert annx.hstack([annx.ones(2, 1), annx.ones(2, 3)]).shape == (2, 4)


def test_nan_to_num_fills_with_the_dtypes_own_limits():
    for dtype, largest in (("float32", np.finfo(np.float32).max), ("float16", 65504.0)):
        x = annx.tensor([float("inf"), -float("inf")], dtype=dtype)
        assert annx.nan_to_num(x).float().tolist() == [largest, -largest]


def test_unique_counts_each_nan_alone_and_median_spreads_it():
    x = annx.tensor([float("nan"), 1.0, float("nan"), 1.0])
    values, counts = annx.unique(x, return_counts=True)
    assert values.shape == (3,)
    assert counts.tolist() == [2, 1, 1]
    assert np.isnan(annx.median(x).item())
    assert np.isnan(annx.median(annx.stack([x, annx.ones(4)]), 1)[0].tolist()).tolist() == [
        True,
        False,
    ]


def test_diagonal_is_a_view():
    x = annx.zeros(3, 3)
    annx.diagonal(x).fill_(2.0)
    assert annx.equal(x, annx.eye(3) * 2)


# Layers -------------------------------------------------------------------------------------------


def test_shrinking_layers():
    x = annx.tensor([-2.0, -0.5, 0.1, 0.75])
    assert nn.Hardshrink()(x).tolist() == [-2.0, 0.0, 0.0, 0.75]
    assert nn.Softshrink(0.25)(x).tolist() == [-1.75, -0.25, 0.0, 0.5]
    assert repr(nn.Softshrink(0.25)) == "Softshrink(0.25)"
    with pytest.raises(ValueError, match=r"\[softshrink\] expected lambd >= 0"):
        F.softshrink(x, -1.0)


def test_rrelu_draws_slopes_in_training_only():
    layer, x = nn.RReLU(0.25, 0.75), annx.full((1000,), -1.0)
    annx.manual_seed(0)
    drawn = -layer(x)
    assert 0.25 <= drawn.min().item() < 0.3
    assert 0.7 < drawn.max().item() <= 0.75
    assert layer.eval()(x[:2]).tolist() == [-0.5, -0.5]
    assert layer(annx.ones(2)).tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="lower <= upper"):
        nn.RReLU(1.0, 0.5)


def test_distance_layers():
    a, b = annx.tensor([[3.0, 4.0]]), annx.tensor([[4.0, 3.0]])
    assert nn.CosineSimilarity()(a, b).item() == pytest.approx(24 / 25)
    assert nn.CosineSimilarity(dim=-1)(a, annx.tensor([1.0, 0.0])).item() == pytest.approx(0.6)
    assert nn.PairwiseDistance()(a, b).item() == pytest.approx(2**0.5, rel=1e-5)
    assert nn.PairwiseDistance(p=1.0, keepdim=True)(a, b).shape == (1, 1)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "bool"])
def test_limits_that_an_integer_cannot_reach_do_not_wrap(dtype):
    x = np.array([0, 1, 2, 200]).astype(dtype)
    for low, high in [(-1, 1), (-1e30, 1e30), (-np.inf, 2.5)]:
        got = F.hardtanh(annx.tensor(x), low, high).numpy()
        assert got.dtype == x.dtype
        assert np.array_equal(got, np.clip(x.astype(float), low, high).astype(dtype))


def test_numbers_beyond_int64_become_its_ends():
    ends = np.iinfo(np.int64)
    for value, want in [(1e30, ends.max), (-1e30, ends.min), (np.nan, 0), (-2.9, -2)]:
        assert annx.full((3,), value, dtype=annx.int64).tolist() == [want] * 3
        assert annx.full((3,), value).to(annx.int64).tolist() == [want] * 3
