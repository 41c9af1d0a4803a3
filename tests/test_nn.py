"""Layers, activations and losses: against PyTorch's numbers, and what they do beside numbers."""

from __future__ import annotations

import json
from pathlib import Path

import annx
import numpy as np
import pytest
from annx import nn
from annx.nn import functional as F

GOLDENS = Path(__file__).parent / "goldens" / "nn"
DOCUMENT = json.loads((GOLDENS / "cases.json").read_text())
CASES = {entry["case"]: entry for entry in DOCUMENT["cases"]}
with np.load(GOLDENS / "values.npz") as file:
    VALUES = file["values"]

DTYPES = {"float32": annx.float32, "float64": annx.float64}


def golden(entry, name):
    begin, *shape = entry["arrays"][name]
    return VALUES[begin : begin + int(np.prod(shape))].reshape(shape)


def tensor(array, dtype, requires_grad=False):
    made = annx.tensor(np.asarray(array), dtype=dtype)
    return made.requires_grad_() if requires_grad else made


def assert_close(got, expected, dtype, what):
    """Within 100 units of the dtype's precision at the scale of the expected numbers."""
    got = got.detach().numpy()
    assert got.shape == expected.shape, what
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    error = float(np.abs(got - expected).max(initial=0.0))
    assert error <= 100 * np.finfo(dtype).eps * scale, f"{what}: off by {error}, scale {scale}"


def build(entry, dtype):
    kwargs = {k: tuple(v) if isinstance(v, list) else v for k, v in entry["kwargs"].items()}
    for name in entry["tensors"]:
        kwargs[name] = tensor(golden(entry, f"tensor.{name}"), DTYPES[dtype])
    module = getattr(nn, entry["module"])(**kwargs).to(DTYPES[dtype])
    module.load_state_dict({k: golden(entry, f"before.{k}") for k in entry["state"]})
    return module


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_as_pytorch(case, dtype):
    entry = CASES[case]
    module = build(entry, dtype)
    assert repr(module) == entry["repr"]
    assert list(module.state_dict()) == entry["state"]
    assert [name for name, _ in module.named_parameters()] == entry["parameters"]
    module.train(not entry["evaluate"])
    for b in range(entry["batches"]):
        inputs = []
        for i in range(entry["inputs"]):
            integer = i in entry["integers"]
            wanted = annx.int64 if integer else DTYPES[dtype]
            free = not integer and i not in entry["no_grad"]
            inputs.append(tensor(golden(entry, f"{b}.in{i}"), wanted, free))
        out = module(*inputs)
        assert_close(out, golden(entry, f"{b}.out"), dtype, "output")
        if f"{b}.seed" not in entry["arrays"]:
            continue
        module.zero_grad()
        out.backward(tensor(golden(entry, f"{b}.seed"), DTYPES[dtype]))
        for i, value in enumerate(inputs):
            if f"{b}.grad{i}" in entry["arrays"]:
                assert_close(value.grad, golden(entry, f"{b}.grad{i}"), dtype, f"grad of input {i}")
        for name, parameter in module.named_parameters():
            expected = golden(entry, f"{b}.grad.{name}")
            assert_close(parameter.grad, expected, dtype, f"grad of {name}")
    for name, value in module.state_dict().items():
        assert_close(value, golden(entry, f"after.{name}"), dtype, f"{name} afterwards")


def test_every_module_class_has_a_golden_case():
    tested = set()
    for path in GOLDENS.parent.glob("*/cases.json"):
        document = json.loads(path.read_text())
        cases = document["cases"] if isinstance(document, dict) else document
        tested |= {entry.get("module", entry.get("kind")) for entry in cases}
    containers = {"Module", "Sequential", "ModuleList", "ModuleDict", "ParameterList"}
    others = {"ParameterDict", "Parameter", "Buffer", "Swish", "PositionalEncoding"}
    others |= {"RNNBase", "RNNCellBase"}
    public = {n for n in dir(nn) if n[0].isupper() and isinstance(getattr(nn, n), type)}
    assert public - tested == containers | others
    assert nn.Swish is nn.SiLU
    assert F.swish is F.silu


@pytest.mark.parametrize("name", DOCUMENT["trees"])
def test_trees_print_and_save_as_pytorch(name):
    deep = nn.Sequential(
        nn.Linear(2, 3),
        nn.Sequential(nn.ReLU(), nn.BatchNorm1d(3)),
        nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2), nn.Tanh()]),
        nn.ModuleDict({"one": nn.Identity(), "two": nn.Embedding(3, 2)}),
    )
    blocks = nn.ModuleList([nn.Sequential(nn.Linear(2, 2), nn.Tanh()) for _ in range(2)])
    made = {"deep": deep, "blocks": blocks, "empty": nn.Sequential()}[name]
    assert repr(made) == DOCUMENT["trees"][name]["repr"]
    assert list(made.state_dict()) == DOCUMENT["trees"][name]["state"]


# Dropout


def test_dropout_drops_the_right_share_and_scales_the_rest():
    annx.manual_seed(3)
    x = annx.ones((200, 500))
    out = nn.Dropout(0.3)(x).numpy()
    assert set(np.unique(out)) == {np.float32(0.0), np.float32(1.0 / 0.7)}
    assert abs((out == 0).mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / out.size)


def test_dropout_follows_the_seed_and_changes_from_call_to_call():
    layer, x = nn.Dropout(0.5), annx.ones((64,))
    annx.manual_seed(7)
    first, second = layer(x).numpy(), layer(x).numpy()
    annx.manual_seed(7)
    assert (layer(x).numpy() == first).all()
    assert (first != second).any()


def test_dropout_gradient_passes_where_values_passed():
    annx.manual_seed(5)
    x = annx.ones((1000,)).requires_grad_()
    out = nn.Dropout(0.25)(x)
    out.sum().backward()
    assert (x.grad.numpy() == out.detach().numpy()).all()


def test_dropout_without_and_with_everything():
    x = annx.ones((8,))
    assert (nn.Dropout(0.0)(x).numpy() == 1).all()
    assert (nn.Dropout(1.0)(x).numpy() == 0).all()
    assert (nn.AlphaDropout(1.0)(x).numpy() == 0).all()
    assert nn.Dropout(0.5).eval()(x) is x
    assert F.dropout(x, 0.5, training=False) is x
    assert F.alpha_dropout(x, 0.5) is x


def test_alpha_dropout_keeps_mean_and_variance():
    annx.manual_seed(11)
    x = annx.randn((100_000,))
    out = nn.AlphaDropout(0.2)(x).numpy()
    assert abs(out.mean()) < 0.02
    assert abs(out.var() - 1.0) < 0.02
    a = 1.0 / np.sqrt((1.7580993408473766**2 * 0.2 + 1.0) * 0.8)
    floor = -a * 1.7580993408473766 * 0.8
    dropped = np.abs(out - floor) < 1e-6
    assert abs(dropped.mean() - 0.2) < 0.01
    kept = x.numpy()[~dropped] * a + a * 0.2 * 1.7580993408473766
    np.testing.assert_allclose(out[~dropped], kept, atol=1e-5)


# Batch norm and embedding


def test_batch_norm_counts_batches_in_place():
    layer = nn.BatchNorm1d(3)
    count = layer.num_batches_tracked
    layer(annx.randn((4, 3)))
    layer(annx.randn((4, 3)))
    assert count is layer.num_batches_tracked
    assert count.item() == 2
    layer.eval()(annx.randn((4, 3)))
    assert count.item() == 2
    layer.reset_running_stats()
    assert count.item() == 0
    assert (layer.running_var.numpy() == 1).all()
    assert (layer.running_mean.numpy() == 0).all()


def test_batch_norm_refuses_what_it_cannot_normalise():
    layer = nn.BatchNorm1d(3)
    with pytest.raises(ValueError, match=r"expected an input of 2 or 3 dimensions .*\(3,\).*in Ba"):
        layer(annx.ones((3,)))
    with pytest.raises(ValueError, match=r"\[batch_norm\] expected"):
        layer(annx.ones((1, 3)))
    with pytest.raises(ValueError, match=r"\[batch_norm\] expected"):
        layer(annx.ones((4, 2)))
    layer.eval()(annx.ones((1, 3)))


def test_embedding_from_pretrained():
    vectors = annx.tensor(np.arange(12.0).reshape(4, 3), dtype=annx.float32)
    table = nn.Embedding.from_pretrained(vectors, padding_idx=-1)
    assert repr(table) == "Embedding(4, 3, padding_idx=3)"
    assert not table.weight.requires_grad
    assert table.weight.data_ptr() == vectors.data_ptr()
    assert table(annx.tensor([[1, 3]])).tolist() == [[[3, 4, 5], [9, 10, 11]]]
    assert nn.Embedding.from_pretrained(vectors, freeze=False).weight.requires_grad
    with pytest.raises(ValueError, match="2 dimensions"):
        nn.Embedding.from_pretrained(annx.ones((3,)))


def test_embedding_padding_row_starts_as_zeros():
    table = nn.Embedding(4, 3, padding_idx=1)
    assert (table.weight.detach().numpy()[1] == 0).all()
    assert (table.weight.detach().numpy()[[0, 2, 3]] != 0).all()


def test_embedding_refuses_indices_outside():
    table = nn.Embedding(4, 3)
    for bad in (4, -1):
        with pytest.raises(IndexError, match=r"\[embedding\] expected .*in Embedding\(4, 3\)"):
            table(annx.tensor([0, bad]))
    with pytest.raises(IndexError, match="padding_idx"):
        F.embedding(annx.tensor([0]), table.weight, padding_idx=4)


# Functions that no module stands for


def test_distances_and_normalize_against_numpy():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 4, 3))
    ta, tb = annx.tensor(a), annx.tensor(b)
    norms = np.sqrt((a * a).sum(1, keepdims=True))
    np.testing.assert_allclose(F.normalize(ta).numpy(), a / norms, rtol=1e-13)
    tall = F.normalize(ta, p=1.0, dim=0).numpy()
    np.testing.assert_allclose(tall, a / np.abs(a).sum(0), rtol=1e-13)
    cosine = (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))
    np.testing.assert_allclose(F.cosine_similarity(ta, tb).numpy(), cosine, rtol=1e-13)
    distance = np.sqrt(((a - b + 1e-6) ** 2).sum(1))
    np.testing.assert_allclose(F.pairwise_distance(ta, tb).numpy(), distance, rtol=1e-13)
    assert F.pairwise_distance(ta, tb, keepdim=True).shape == (4, 1)
    assert (F.normalize(annx.zeros((2, 3))).numpy() == 0).all()


def test_softmax_finds_its_axis_only_where_there_is_no_doubt():
    x = annx.randn((2, 3))
    assert (F.softmax(x).numpy() == F.softmax(x, 1).numpy()).all()
    assert (nn.LogSoftmax()(x).numpy() == F.log_softmax(x, -1).numpy()).all()
    for function in (F.softmax, F.log_softmax, F.softmin):
        with pytest.raises(ValueError, match=f"{function.__name__}.*expected dim"):
            function(annx.randn((2, 3, 4)))


ERRORS = [
    (lambda: nn.Linear(-1, 2), ValueError, r"\[Linear\] expected in_features .* got -1"),
    (lambda: nn.Linear(2, 2.5), ValueError, r"\[Linear\] expected out_features .* got 2.5"),
    (lambda: nn.Bilinear(0, 2, 2), ValueError, r"\[Bilinear\] expected in1_features > 0"),
    (lambda: nn.Linear(3, 2)(annx.ones((4, 5))), ValueError, r"\[linear\] expected .*in Linear\("),
    (
        lambda: nn.Bilinear(3, 2, 4)(annx.ones((4, 3)), annx.ones((4, 3))),
        ValueError,
        r"\[bilinear\] expected last dimensions 3 and 2 but got 3 and 3",
    ),
    (
        lambda: nn.Bilinear(3, 2, 4)(annx.ones((4, 3)), annx.ones((5, 2))),
        ValueError,
        r"\[bilinear\] expected inputs alike",
    ),
    (lambda: nn.Dropout(1.5), ValueError, r"\[Dropout\] expected a probability .* got 1.5"),
    (lambda: F.dropout(annx.ones((2,)), -0.1), ValueError, r"\[dropout\] expected a probability"),
    (lambda: nn.GELU("fast"), ValueError, r"\[GELU\] expected approximate"),
    (lambda: nn.Hardtanh(2.0, 1.0), ValueError, r"\[Hardtanh\] expected min_val < max_val"),
    (lambda: nn.GLU()(annx.ones((2, 3))), ValueError, r"\[glu\] expected an even size .* got 3"),
    (lambda: nn.PReLU(3)(annx.ones((2, 4))), ValueError, r"\[prelu\] expected .*in PReLU\("),
    (lambda: nn.LayerNorm(3)(annx.ones((2, 4))), ValueError, r"\[layer_norm\] expected"),
    (lambda: nn.Embedding(3, 2, padding_idx=3), ValueError, r"\[Embedding\] expected padding_idx"),
    (lambda: nn.MSELoss("average"), ValueError, r"\[MSELoss\] expected reduction .* 'average'"),
    (lambda: nn.HuberLoss(delta=0.0), ValueError, r"\[HuberLoss\] expected delta > 0"),
    (lambda: nn.SmoothL1Loss(beta=-1.0), ValueError, r"\[SmoothL1Loss\] expected beta >= 0"),
    (lambda: nn.TripletMarginLoss(margin=0.0), ValueError, r"expected margin > 0"),
    (lambda: nn.CrossEntropyLoss(label_smoothing=2.0), ValueError, r"expected label_smoothing"),
    (
        lambda: nn.CrossEntropyLoss()(annx.ones((2, 3)), annx.tensor([0, 3])),
        IndexError,
        r"\[cross_entropy\] expected .*in CrossEntropyLoss\(\)\)$",
    ),
    (
        lambda: F.hinge_embedding_loss(annx.ones((2,)), annx.ones((2,)), reduction="all"),
        ValueError,
        r"\[hinge_embedding_loss\] expected reduction",
    ),
    (
        lambda: nn.CosineEmbeddingLoss()(annx.ones((2, 3)), annx.ones((2, 3)), annx.ones((3,))),
        ValueError,
        r"\[cosine_embedding_loss\] expected .* \(3,\)",
    ),
    (
        lambda: nn.Unflatten(1, (2, 2))(annx.ones((3, 5))),
        ValueError,
        r"\[Unflatten\] expected sizes whose product is 5 but got \(2, 2\)",
    ),
    (lambda: nn.Unflatten(1, (-1, -1))(annx.ones((3, 4))), ValueError, "product is 4"),
    (lambda: nn.Unflatten(2, (2, 2))(annx.ones((3, 4))), IndexError, "2 dimensions but got 2"),
]


@pytest.mark.parametrize(("call", "kind", "message"), ERRORS, ids=[e[2] for e in ERRORS])
def test_errors_say_what_was_expected(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_default_initialisation_is_that_of_pytorch():
    annx.manual_seed(1)
    layer = nn.Linear(400, 300)
    for values in (layer.weight, layer.bias):
        values = values.detach().numpy()
        assert np.abs(values).max() <= 1 / 20
        assert abs(values.std() - 1 / 20 / np.sqrt(3)) < 0.003
    bilinear = nn.Bilinear(100, 20, 30)
    assert 0.0999 < np.abs(bilinear.weight.detach().numpy()).max() <= 0.1
    table = nn.Embedding(200, 300).weight.detach().numpy()
    assert abs(table.std() - 1.0) < 0.02
    assert abs(table.mean()) < 0.02
    assert nn.PReLU(3).weight.tolist() == [0.25] * 3
    norm = nn.LayerNorm((2, 3))
    assert (norm.weight.detach().numpy() == 1).all()
    assert (norm.bias.detach().numpy() == 0).all()


def test_layers_of_size_zero():
    assert nn.Linear(0, 3)(annx.ones((2, 0))).shape == (2, 3)
    assert nn.Linear(3, 0)(annx.ones((2, 3))).shape == (2, 0)
    assert nn.Linear(3, 2)(annx.ones((0, 3))).shape == (0, 2)
