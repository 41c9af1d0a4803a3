"""Recurrent layers against PyTorch's numbers (goldens/rnn), packed sequences, errors, learning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import annx
import numpy as np
import pytest
from annx import _core, nn
from annx.nn.utils.rnn import (
    PackedSequence,
    invert_permutation,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    pad_sequence,
    unpack_sequence,
    unpad_sequence,
)

GOLDENS = Path(__file__).parent / "goldens" / "rnn"
CASES: list[dict[str, Any]] = json.loads((GOLDENS / "cases.json").read_text())
VALUES = np.load(GOLDENS / "values.npz")["values"]
LAYERS = [nn.RNN, nn.GRU, nn.LSTM]


def normal(*shape: int, seed: int = 0) -> annx.Tensor:
    return annx.tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def flat(result: Any) -> list[annx.Tensor]:
    if isinstance(result, PackedSequence):
        return [result.data]
    if isinstance(result, tuple):
        return [t for part in result for t in flat(part)]
    return [result]


def raw(t: annx.Tensor) -> bytes:
    return np.ascontiguousarray(t.detach().numpy()).tobytes()


def named(case: dict[str, Any]) -> str:
    parts = [case["module"], *(f"{k}={v}" for k, v in case["kwargs"].items())]
    parts += ["state"] * case["state"] + ["packed"] * (case["lengths"] is not None)
    return "-".join(parts + ["unsorted"] * (not case["sorted"]))


@pytest.mark.parametrize("number", range(len(CASES)), ids=[named(case) for case in CASES])
def test_values_and_gradients_are_those_of_pytorch(number: int) -> None:
    case = CASES[number]
    arrays = {
        name: VALUES[start : start + int(np.prod(shape))].reshape(shape)
        for name, (start, *shape) in case["arrays"].items()
    }
    module = getattr(nn, case["module"])(3, 5, **case["kwargs"], dtype="float64")
    assert repr(module) == case["repr"]
    assert list(module.state_dict()) == case["state_dict"]
    module.load_state_dict(
        {name: annx.tensor(arrays[f"parameter.{name}"]) for name in case["state_dict"]}
    )
    inputs = [
        annx.tensor(arrays[f"in{i}"], requires_grad=True) for i in range(3) if f"in{i}" in arrays
    ]
    hx: Any = None
    if case["state"]:
        hx = tuple(inputs[1:]) if case["module"].startswith("LSTM") else inputs[1]
    x: Any = inputs[0]
    first = case["kwargs"].get("batch_first", False)
    if case["lengths"] is not None:
        x = pack_padded_sequence(x, case["lengths"], first, case["sorted"])
    result = module(x, hx)
    if case["lengths"] is not None:
        output, lengths = pad_packed_sequence(result[0], first)
        assert lengths.tolist() == case["lengths"]
        result = (output, result[1])
    total = annx.zeros((), dtype="float64")
    for i, tensor in enumerate(flat(result)):
        np.testing.assert_allclose(tensor.detach().numpy(), arrays[f"out{i}"], rtol=0, atol=1e-13)
        total = total + (tensor * annx.tensor(arrays[f"seed{i}"])).sum()
    total.backward()
    for i, tensor in enumerate(inputs):
        np.testing.assert_allclose(tensor.grad.numpy(), arrays[f"grad{i}"], rtol=0, atol=1e-12)
    for name, parameter in module.named_parameters():
        np.testing.assert_allclose(
            parameter.grad.numpy(), arrays[f"grad.{name}"], rtol=0, atol=1e-12, err_msg=name
        )


def trained_bits(layer: type[nn.RNNBase], packed: bool) -> list[bytes]:
    """Results and gradients of a layer large enough for every way to share out its work."""
    annx.manual_seed(3)
    module = layer(20, 72, bidirectional=True)
    x: Any = normal(7, 37, 20).requires_grad_()
    lengths = [1 + (5 * i) % 7 for i in range(37)]
    given = pack_padded_sequence(x, lengths, enforce_sorted=False) if packed else x
    outputs = flat(module(given))
    few = flat(module(x[:, :5]))
    loss = sum(((t * t).sum() for t in outputs + few), start=annx.zeros(()))
    loss.backward()
    return [raw(t) for t in [*outputs, *few, x.grad, *(p.grad for p in module.parameters())]]


@pytest.mark.parametrize("packed", [False, True], ids=["even", "packed"])
@pytest.mark.parametrize("layer", LAYERS)
def test_threads_and_targets_do_not_change_bits(layer: type[nn.RNNBase], packed: bool) -> None:
    threads, target = annx.num_threads(), _core.active_target()
    reference = None
    try:
        for name in _core.supported_targets():
            _core.set_target(name)
            for count in (1, 2, 3):
                annx.set_num_threads(count)
                bits = trained_bits(layer, packed)
                reference = reference or bits
                assert bits == reference, (name, count)
    finally:
        annx.set_num_threads(threads)
        _core.set_target(target)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_sequence_does_not_depend_on_its_batch(layer: type[nn.RNNBase]) -> None:
    module = layer(12, 40, num_layers=2)
    x = normal(5, 34, 12)
    together = module(x)[0]
    for i in (0, 17, 33):
        assert raw(module(x[:, i : i + 1])[0]) == raw(together[:, i : i + 1])
    lengths = [5 - i % 5 for i in range(34)]
    packed = module(pack_padded_sequence(x, lengths, enforce_sorted=False))[0]
    padded, _ = pad_packed_sequence(packed)
    for i, length in enumerate(lengths):
        assert raw(padded[:length, i]) == raw(together[:length, i])


@pytest.mark.parametrize("layer", LAYERS)
def test_without_gradients_the_numbers_are_the_same(layer: type[nn.RNNBase]) -> None:
    # Then nothing but the last steps' buffers is kept.
    for batch, inputs in ((40, 6), (3, 6), (2, 600)):
        module = layer(inputs, 24, num_layers=2, bidirectional=True)
        x = normal(6, batch, inputs)
        kept = flat(module(x))
        packed = pack_padded_sequence(x, [6, *[3] * (batch - 1)])
        kept += flat(module(packed))
        with annx.no_grad():
            left = flat(module(x)) + flat(module(packed))
        assert [raw(t) for t in kept] == [raw(t) for t in left]
        assert not left[0].requires_grad
        assert kept[0].requires_grad


def test_groups_at_different_steps_do_not_meet_without_gradients() -> None:
    # Two buffers serve all steps then, and groups of sequences are not told to wait for each other.
    module = nn.LSTM(8, 40)
    lengths = [9 - i // 5 for i in range(45)]
    packed = pack_padded_sequence(normal(9, 45, 8), lengths)
    kept = [raw(t) for t in flat(module(packed))]
    threads = annx.num_threads()
    try:
        annx.set_num_threads(2)
        with annx.no_grad():
            for _ in range(100):
                assert [raw(t) for t in flat(module(packed))] == kept
    finally:
        annx.set_num_threads(threads)


def test_gradients_of_gradients_of_a_packed_layer() -> None:
    module = nn.LSTM(2, 3, bidirectional=True, proj_size=2, dtype="float64")
    x = annx.tensor(np.random.default_rng(1).standard_normal((3, 2, 2)), requires_grad=True)

    def slope(x: annx.Tensor) -> annx.Tensor:
        output, (h, c) = module(pack_padded_sequence(x, [3, 1]))
        total = (output.data**2).sum() + (h**3).sum() + c.sum()
        (grad,) = _core.grad(total, [x], create_graph=True)
        return (grad**2).sum()

    (exact,) = _core.grad(slope(x), [x])
    direction = np.random.default_rng(2).standard_normal(x.shape)
    step = 1e-6
    ends = [
        slope(annx.tensor(x.detach().numpy() + sign * step * direction, requires_grad=True)).item()
        for sign in (1, -1)
    ]
    numeric = (ends[0] - ends[1]) / (2 * step)
    assert float((exact.numpy() * direction).sum()) == pytest.approx(numeric, rel=1e-6)


@pytest.mark.parametrize("layer", LAYERS)
def test_half_precision_is_computed_in_float32(layer: type[nn.RNNBase]) -> None:
    module = layer(4, 6).to("bfloat16")
    x = normal(3, 2, 4).to("bfloat16")
    half = flat(module(x))
    assert all(t.dtype == annx.bfloat16 for t in half)
    full = flat(module.float()(x.float()))
    for a, b in zip(half, full, strict=True):
        np.testing.assert_allclose(
            a.float().detach().numpy(), b.detach().numpy(), rtol=0, atol=1e-2
        )


def test_dropout_comes_between_layers_in_training_only() -> None:
    module = nn.LSTM(3, 8, num_layers=2, dropout=0.5)
    x = normal(4, 2, 3)
    module.eval()
    assert raw(module(x)[0]) == raw(module(x)[0])
    module.train()
    annx.manual_seed(1)
    first = raw(module(x)[0])
    assert first != raw(module(x)[0])
    annx.manual_seed(1)
    assert first == raw(module(x)[0])
    with pytest.warns(UserWarning, match=r"\[LSTM\] dropout comes after all layers but the last"):
        nn.LSTM(3, 8, dropout=0.5)


def test_an_empty_batch_gives_empty_results() -> None:
    module = nn.GRU(3, 4)
    x = annx.zeros(5, 0, 3).requires_grad_()
    output, h = module(x)
    assert output.shape == (5, 0, 4)
    assert h.shape == (1, 0, 4)
    output.sum().backward()
    assert all(float(p.grad.abs().max().item()) == 0.0 for p in module.parameters())


def test_all_weights_and_names() -> None:
    module = nn.LSTM(3, 4, num_layers=2, proj_size=2)
    assert [[tuple(p.shape) for p in layer] for layer in module.all_weights] == [
        [(16, 3), (16, 2), (16,), (16,), (2, 4)],
        [(16, 2), (16, 2), (16,), (16,), (2, 4)],
    ]
    bound = 0.5
    assert all(float(p.abs().max().item()) <= bound for p in module.parameters())
    module.flatten_parameters()


# Packed sequences -------------------------------------------------------------------------------


def test_packing_lists_steps_of_the_longest_first() -> None:
    x = annx.tensor([[1, 2, 0], [3, 0, 0], [4, 5, 6]])
    packed = pack_padded_sequence(x, [2, 1, 3], batch_first=True, enforce_sorted=False)
    assert packed.data.tolist() == [4, 1, 3, 5, 2, 6]
    assert packed.batch_sizes.tolist() == [3, 2, 1]
    assert packed.sorted_indices is not None
    assert packed.unsorted_indices is not None
    assert packed.sorted_indices.tolist() == [2, 0, 1]
    assert packed.unsorted_indices.tolist() == [1, 2, 0]
    back, lengths = pad_packed_sequence(packed, batch_first=True)
    assert back.tolist() == x.tolist()
    assert lengths.tolist() == [2, 1, 3]
    wide, _ = pad_packed_sequence(packed, padding_value=-1, total_length=4)
    assert wide.tolist() == [[1, 3, 4], [2, -1, 5], [-1, -1, 6], [-1, -1, -1]]
    assert packed.to("cpu") is packed
    assert packed.double().data.dtype == annx.float64
    assert invert_permutation(None) is None


def test_gradients_pass_through_packing() -> None:
    x = normal(3, 2, 2).requires_grad_()
    packed = pack_padded_sequence(x, annx.tensor([3, 1]))
    assert packed.sorted_indices is None
    padded, _ = pad_packed_sequence(packed)
    (padded * 2).sum().backward()
    assert x.grad is not None
    assert x.grad[:, 0].tolist() == [[2, 2]] * 3
    assert x.grad[:, 1].tolist() == [[2, 2], [0, 0], [0, 0]]


def test_lists_of_sequences() -> None:
    parts = [normal(n, 2, seed=n) for n in (2, 4, 1)]
    padded = pad_sequence(parts, batch_first=True, padding_value=9)
    assert padded.shape == (3, 4, 2)
    assert padded[2, 1].tolist() == [9, 9]
    left = pad_sequence(parts, padding_value=9, padding_side="left")
    assert left.shape == (4, 3, 2)
    assert left[0, 0].tolist() == [9, 9]
    assert left[3, 2].tolist() == parts[2][0].tolist()
    packed = pack_sequence(parts, enforce_sorted=False)
    for back in (unpack_sequence(packed), unpad_sequence(padded, [2, 4, 1], batch_first=True)):
        assert [raw(t) for t in back] == [raw(t) for t in parts]


@pytest.mark.parametrize(
    ("call", "pattern"),
    [
        (lambda x: pack_padded_sequence(x, [2, 3]), r"lengths that do not grow, or enforce_sor"),
        (lambda x: pack_padded_sequence(x, [4, 3]), r"lengths of at most 3, the steps of the"),
        (lambda x: pack_padded_sequence(x, [3, 0]), r"lengths of at least 1 but got \[3, 0\]"),
        (lambda x: pack_padded_sequence(x, [3]), r"one integer length for each of the 2 sequ"),
        (lambda x: pack_padded_sequence(x, [3.0, 1.0]), r"one integer length for each of the"),
        (lambda x: pack_padded_sequence(x[:, 0, 0], [3]), r"an input of at least 2 dimensions"),
        (lambda x: pad_sequence([]), r"expected at least one sequence but got none"),
        (lambda x: pad_sequence([x, x[0]]), r"sequences of shape \(length, 2, 4\) but got \(2,"),
        (lambda x: pad_sequence([x], padding_side="up"), r"padding_side 'right' or 'left'"),
        (lambda x: pack_sequence([x[:1], x]), r"lengths that do not grow"),
        (
            lambda x: pad_packed_sequence(pack_padded_sequence(x, [3, 1]), total_length=2),
            r"total_length of at least 3, the longest sequence, but got 2",
        ),
    ],
)
def test_bad_sequences_are_refused(call: Any, pattern: str) -> None:
    with pytest.raises(ValueError, match=pattern):
        call(normal(3, 2, 4))


@pytest.mark.parametrize(
    ("make", "pattern"),
    [
        (lambda: nn.LSTM(0, 4), r"\[LSTM\] expected input_size to be an integer >= 1 but got 0"),
        (lambda: nn.GRU(3, -1), r"\[GRU\] expected hidden_size to be an integer >= 1"),
        (lambda: nn.RNN(3, 4, num_layers=0), r"\[RNN\] expected num_layers to be an integer >= 1"),
        (lambda: nn.RNN(3, 4, nonlinearity="gelu"), r"\[RNN\] expected nonlinearity 'tanh' or"),
        (lambda: nn.RNNCell(3, 4, nonlinearity=""), r"\[RNNCell\] expected nonlinearity 'tanh'"),
        (lambda: nn.LSTM(3, 4, proj_size=4), r"proj_size to be less than hidden_size 4 but got 4"),
        (lambda: nn.LSTM(3, 4, 2, dropout=1.5), r"\[LSTM\] expected dropout between 0 and 1"),
        (lambda: nn.GRUCell(3, 2.5), r"\[GRUCell\] expected hidden_size to be an integer"),
        (lambda: nn.RNNBase("LSTN", 3, 4), r"\[RNNBase\] expected mode to be one of"),
    ],
)
def test_bad_sizes_are_refused(make: Any, pattern: str) -> None:
    with pytest.raises(ValueError, match=pattern):
        make()


@pytest.mark.parametrize(
    ("shape", "states", "pattern"),
    [
        ((4, 2, 5), None, r"input_size 3 but got shape \(4, 2, 5\) \(in 1: LSTM\(3, 4\)\)"),
        ((4, 2, 3, 1), None, r"\[LSTM\] expected an input of 2 or 3 dimensions but got shape"),
        ((4, 2, 3), [(1, 3, 4), (1, 2, 4)], r"expected h_0 of shape \(1, 2, 4\) but got \(1, 3"),
        ((4, 2, 3), [(1, 2, 4), (1, 2, 5)], r"expected c_0 of shape \(1, 2, 4\) but got \(1, 2"),
        ((4, 2, 3), [(1, 4), (1, 4)], r"expected h_0 of shape \(1, 2, 4\) but got \(1, 4\)"),
        ((4, 3), [(1, 2, 4), (1, 2, 4)], r"expected h_0 of shape \(1, 4\) but got \(1, 2, 4\)"),
        ((0, 2, 3), None, r"\[lstm_sequence\] expected a sequence of at least one step"),
    ],
)
def test_bad_inputs_name_the_layer(shape: Any, states: Any, pattern: str) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Identity(), nn.LSTM(3, 4)])

        def forward(self, x: annx.Tensor) -> Any:
            return self.layers[1](x, None if states is None else [annx.zeros(*s) for s in states])

    with pytest.raises(ValueError, match=pattern.replace("in 1", r"in layers\.1")):
        Model()(annx.zeros(*shape))


def test_bad_inputs_of_cells() -> None:
    with pytest.raises(ValueError, match=r"\[GRUCell\] expected an input of shape \(batch, 3\)"):
        nn.GRUCell(3, 4)(annx.zeros(2, 4))
    with pytest.raises(ValueError, match=r"\[LSTMCell\] expected a state of shape \(2, 4\)"):
        nn.LSTMCell(3, 4)(annx.zeros(2, 3), (annx.zeros(2, 4), annx.zeros(1, 4)))


# Learning ---------------------------------------------------------------------------------------


def adding_problem(rng: np.random.Generator, count: int, steps: int) -> Any:
    """Sequences of numbers of which two are marked; their sum is asked for."""
    numbers = rng.random((count, steps))
    marks = np.zeros((count, steps))
    for row in marks:
        row[rng.choice(steps, 2, replace=False)] = 1
    x = np.stack([numbers, marks], axis=2).astype(np.float32)
    return annx.tensor(x), annx.tensor((numbers * marks).sum(1).astype(np.float32))


@pytest.mark.parametrize("layer", [nn.GRU, nn.LSTM])
def test_a_gated_layer_learns_to_add(layer: type[nn.RNNBase]) -> None:
    annx.manual_seed(0)
    rng = np.random.default_rng(0)
    recurrent, head = layer(2, 32, batch_first=True), nn.Linear(32, 1)
    parameters = [*recurrent.parameters(), *head.parameters()]
    optimizer = annx.optim.Adam(parameters, lr=0.01)

    def loss(x: annx.Tensor, y: annx.Tensor) -> annx.Tensor:
        output = recurrent(x)[0][:, -1]
        return nn.functional.mse_loss(head(output).squeeze(1), y)

    for _ in range(400):
        x, y = adding_problem(rng, 64, 12)
        optimizer.zero_grad()
        value = loss(x, y)
        value.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    with annx.no_grad():
        final = loss(*adding_problem(np.random.default_rng(1), 500, 12)).item()
    # Always answering 1, the mean, has an error of 1/6.
    assert final < 0.01, final


def test_a_packed_layer_learns_where_sequences_end() -> None:
    annx.manual_seed(0)
    rng = np.random.default_rng(0)
    recurrent, head = nn.RNN(1, 24), nn.Linear(24, 1)
    optimizer = annx.optim.Adam([*recurrent.parameters(), *head.parameters()], lr=0.01)
    losses = []
    for _ in range(400):
        lengths = rng.integers(2, 7, 64)
        numbers = rng.uniform(-1, 1, (6, 64, 1)).astype(np.float32)
        change = (numbers[lengths - 1, np.arange(64)] - numbers[0])[:, 0]
        packed = pack_padded_sequence(annx.tensor(numbers), lengths.tolist(), enforce_sorted=False)
        answer = head(recurrent(packed)[1][0]).squeeze(1)
        loss = nn.functional.mse_loss(answer, annx.tensor(change))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # Always answering 0 has an error of 2/3.
    assert np.mean(losses[-20:]) < 0.03, losses[-20:]


def test_gates_are_sigmoid_and_tanh_to_three_ulp() -> None:
    x = np.concatenate(
        [
            np.linspace(-87, 100, 40001),
            np.geomspace(1e-42, 20, 20001),
            -np.geomspace(1e-42, 20, 20001),
        ]
    ).astype(np.float32)
    x = np.concatenate([x, np.array([np.inf, -np.inf, np.nan, -100, 0, -0.0], np.float32)])
    zeros = np.zeros_like(x)

    def state(i: Any, f: Any, g: Any, c: Any) -> Any:
        """c f(f) + f(i) tanh(g) of an LSTM of len(x) units, whose gates are its biases."""
        bias = annx.tensor(np.concatenate([i, f, g, zeros]))
        weights = annx.zeros((4 * len(x), 1)), annx.zeros((4 * len(x), 1))
        inputs = annx.zeros((1, 1, 1)), annx.zeros((1, 1)), annx.tensor(c[None])
        projection = annx.zeros((1, len(x)))
        return _core.ops.lstm_sequence(*inputs, *weights, bias, None, projection)[2].numpy()[0]

    def check(got: Any, expected: Any) -> None:
        ulp = np.maximum(np.spacing(np.abs(expected).astype(np.float32)), np.float32(2.0**-149))
        assert np.max(np.abs(got - expected) / ulp) < 3

    with np.errstate(over="ignore"):
        sigmoid = 1 / (1 + np.exp(-x.astype(np.float64)))
    finite = np.isfinite(x) & (x >= -87)
    got = state(zeros, x, zeros, zeros + 1)
    check(got[finite], sigmoid[finite])
    # What is smaller than at -87 stays as it is there.
    assert got[x == np.inf] == 1
    assert np.isnan(got[np.isnan(x)]).all()
    assert ((got[x < -87] > 0) & (got[x < -87] < 2e-38)).all()
    got = state(zeros + 200, zeros, x, zeros)
    check(got[np.isfinite(x)], np.tanh(x[np.isfinite(x)].astype(np.float64)))
    assert got[x == np.inf] == 1
    assert got[x == -np.inf] == -1
    assert np.isnan(got[np.isnan(x)]).all()
