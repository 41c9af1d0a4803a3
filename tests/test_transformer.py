"""Attention layers and transformers: against PyTorch's numbers, errors, and a task they learn."""

from __future__ import annotations

import json
from pathlib import Path

import annx
import numpy as np
import pytest
from annx import nn
from annx.nn import functional as F

GOLDENS = Path(__file__).parent / "goldens" / "attention"
CASES = {
    entry["case"] + "/" + entry["module"]: entry
    for entry in json.loads((GOLDENS / "cases.json").read_text())["cases"]
}
with np.load(GOLDENS / "values.npz") as file:
    VALUES = file["values"]
DTYPES = {"float32": annx.float32, "float64": annx.float64}


def golden(entry, name):
    where = entry["arrays"][name]
    array = VALUES[where["at"] : where["at"] + int(np.prod(where["shape"]))]
    array = array.reshape(where["shape"])
    return array.astype(bool) if "bool" in where else array


def assert_close(got, expected, dtype, what):
    """Within 200 units of the dtype's precision at the scale of the expected numbers."""
    got = got.detach().numpy()
    assert got.shape == expected.shape, what
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    error = float(np.abs(got - expected).max(initial=0.0))
    assert error <= 200 * np.finfo(dtype).eps * scale, f"{what}: off by {error}, scale {scale}"


def build(entry):
    kwargs = dict(entry["kwargs"])
    if entry["module"] in ("TransformerEncoder", "TransformerDecoder"):
        layer = getattr(nn, entry["module"] + "Layer")(**kwargs.pop("layer"))
        norm = nn.LayerNorm(kwargs.pop("norm")) if "norm" in kwargs else None
        return getattr(nn, entry["module"])(layer, norm=norm, **kwargs)
    return getattr(nn, entry["module"])(**kwargs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_as_pytorch(case, dtype):
    entry = CASES[case]
    module = build(entry).to(DTYPES[dtype])
    assert repr(module) == entry["repr"]
    assert list(module.state_dict()) == entry["state"]
    assert [name for name, _ in module.named_parameters()] == entry["parameters"]
    module.load_state_dict({k: golden(entry, f"state.{k}") for k in entry["state"]})
    count = max(entry["alike"]) + 1
    inputs = [
        annx.tensor(golden(entry, f"in{i}"), dtype=dtype, requires_grad=True) for i in range(count)
    ]
    masks = {}
    for name in entry["masks"]:
        mask = golden(entry, f"mask.{name}")
        masks[name] = annx.tensor(mask, dtype=None if mask.dtype == bool else dtype)
    out = module(*(inputs[i] for i in entry["alike"]), **masks, **entry["call"])
    outs = [o for o in (out if isinstance(out, tuple) else (out,)) if o is not None]
    assert len(outs) == entry["outs"]
    total = 0.0
    for i, o in enumerate(outs):
        assert_close(o, golden(entry, f"out{i}"), dtype, f"output {i}")
        total = total + (o * annx.tensor(golden(entry, f"seed{i}"), dtype=dtype)).sum()
    total.backward()
    for i, t in enumerate(inputs):
        assert_close(t.grad, golden(entry, f"grad{i}"), dtype, f"gradient of input {i}")
    for name, parameter in module.named_parameters():
        assert_close(parameter.grad, golden(entry, f"grad.{name}"), dtype, f"gradient of {name}")


def test_positions():
    table = F.sinusoidal_positions(6, 5).numpy()
    for t in range(6):
        for i in range(5):
            angle = t / 10000 ** ((i - i % 2) / 5)
            assert table[t, i] == pytest.approx(np.cos(angle) if i % 2 else np.sin(angle), abs=1e-6)
    x = annx.zeros(2, 6, 5)
    encoding = nn.PositionalEncoding(5, dropout=0.0, max_len=8, batch_first=True)
    np.testing.assert_array_equal(encoding(x).numpy()[1], table)
    late = nn.PositionalEncoding(5, dropout=0.0, max_len=8)(x.transpose(0, 1))
    np.testing.assert_array_equal(late.numpy()[:, 0], table)
    assert not encoding.state_dict()
    with pytest.raises(ValueError, match=r"at most 8 positions, but got shape \(2, 9, 5\)"):
        encoding(annx.zeros(2, 9, 5))


def test_rotary_products_depend_on_the_distance():
    rng = np.random.default_rng(0)
    q, k = (annx.tensor(rng.standard_normal((1, 1, 8)), dtype="float64") for _ in range(2))

    def product(i, j):
        return (F.rotary_embedding(q, i) * F.rotary_embedding(k, j)).sum().item()

    assert product(7, 3) == pytest.approx(product(14, 10), rel=1e-12)
    assert product(7, 3) != pytest.approx(product(7, 4), rel=1e-3)
    whole = F.rotary_embedding(annx.ones(1, 5, 8, dtype="float64")).numpy()
    for t in range(5):
        one = F.rotary_embedding(annx.ones(1, 1, 8, dtype="float64"), t).numpy()
        np.testing.assert_allclose(whole[:, t : t + 1], one, rtol=1e-12)
    with pytest.raises(ValueError, match="an even D but got"):
        F.rotary_embedding(annx.ones(3, 5))


def test_dropout_of_attention_only_in_training():
    annx.manual_seed(0)
    layer = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True)
    x = annx.randn(2, 6, 8)
    first, second = (layer(x, x, x, need_weights=False)[0].detach().numpy() for _ in range(2))
    assert np.abs(first - second).max() > 1e-3
    layer.eval()
    first, second = (layer(x, x, x, need_weights=False)[0].detach().numpy() for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_copies_of_a_layer_have_their_own_parameters():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 3)
    assert len({id(p) for p in encoder.parameters()}) == 3 * 12
    first, second, _ = (layer.linear1.weight.detach().numpy() for layer in encoder.layers)
    np.testing.assert_array_equal(first, second)


BAD = {
    "heads": (lambda: nn.MultiheadAttention(8, 3), "num_heads divides but got embed_dim=8"),
    "dropout": (lambda: nn.MultiheadAttention(8, 2, dropout=2.0), r"dropout in \[0, 1\]"),
    "size": (lambda: attend((4, 2, 7)), r"query of 2 or 3 dimensions.* size 8, but got"),
    "padding": (
        lambda: attend((4, 2, 8), key_padding_mask=annx.zeros(4, 2)),
        r"key_padding_mask of shape \(2, 4\) but got \(4, 2\)",
    ),
    "mask": (
        lambda: attend((4, 2, 8), attn_mask=annx.zeros(3, 3)),
        r"attn_mask of shape \(4, 4\) or \(4, 4, 4\) but got \(3, 3\)",
    ),
    "causal": (lambda: attend((4, 2, 8), is_causal=True), "attn_mask together with is_causal"),
    "activation": (lambda: nn.TransformerEncoderLayer(8, 2, activation="tan"), "relu or gelu but"),
    "batch": (
        lambda: nn.Transformer(8, 2, 1, 1, 8)(annx.zeros(3, 2, 8), annx.zeros(3, 1, 8)),
        "src and tgt of one batch",
    ),
}


def attend(shape, **kwargs):
    x = annx.zeros(*shape)
    return nn.MultiheadAttention(8, 2)(x, x, x, **kwargs)


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    make, pattern = BAD[name]
    with pytest.raises(ValueError, match=pattern):
        make()


def test_integer_masks_are_refused():
    with pytest.raises(TypeError, match="bool or floating attn_mask but got"):
        attend((4, 2, 8), attn_mask=annx.zeros(4, 4, dtype="int64"))


class Sorter(nn.Module):
    """Reads a sequence of digits and writes it sorted, all positions at once."""

    def __init__(self, digits: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(digits, width)
        self.positions = nn.PositionalEncoding(width, dropout=0.0, max_len=16, batch_first=True)
        layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(width))
        self.head = nn.Linear(width, digits)

    def forward(self, x):
        return self.head(self.encoder(self.positions(self.embedding(x))))


def test_a_transformer_learns_to_sort():
    annx.manual_seed(0)
    rng = np.random.default_rng(0)
    model = Sorter(8, 32)
    optimizer = annx.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(300):
        x = rng.integers(0, 8, (32, 8))
        loss = F.cross_entropy(
            model(annx.tensor(x)).reshape(-1, 8), annx.tensor(np.sort(x, 1)).reshape(-1)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x = rng.integers(0, 8, (256, 8))
    model.eval()
    with annx.no_grad():
        got = model(annx.tensor(x)).argmax(-1).numpy()
    assert (got == np.sort(x, 1)).mean() > 0.95
