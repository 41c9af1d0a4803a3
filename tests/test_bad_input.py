"""Wrong calls: each is a clear error of the fitting type, says what was expected and what came,
and leaves nothing behind."""

from __future__ import annotations

import os
import pathlib
import re
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import annx
import numpy as np
import pytest
from annx import nn
from annx.nn import functional as F

LARGEST = 2**63 - 1


class Case(NamedTuple):
    """A wrong call, the type of its error and fragments that the message must hold, in order."""

    call: Callable[[], Any]
    error: type[Exception]
    fragments: list[str]


def model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def compiled(**changes: Any) -> nn.Sequential:
    net = model()
    net.compile(**{"optimizer": "sgd", "loss": "cross_entropy", **changes})
    return net


def fit(x: Any, y: Any, **changes: Any) -> Any:
    return compiled().fit(x, y, **{"epochs": 1, "verbose": 0, **changes})


def data(n: int = 8) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.random((n, 4), np.float32), rng.integers(0, 3, n)


def backward_twice() -> None:
    x = annx.ones(3, requires_grad=True)
    y = (x * x).sum()
    y.backward()
    y.backward()


def element_write() -> None:
    x: Any = annx.ones(3)
    x[0] = 5


def fit_nan_targets() -> Any:
    x, _ = data()
    y = np.ones((8, 1), np.float32)
    y[3] = np.nan
    net = nn.Linear(4, 1)
    net.compile(optimizer="sgd", loss="mse")
    return net.fit(x, y, epochs=1, verbose=0)


def write(content: bytes) -> str:
    pathlib.Path("bad.safetensors").write_bytes(content)
    return "bad.safetensors"


def save_cut(keep: int) -> str:
    annx.save({"weight": annx.ones(4)}, "bad.safetensors")
    return write(pathlib.Path("bad.safetensors").read_bytes()[:keep])


def save_flipped() -> str:
    annx.save({"weight": annx.ones(4)}, "bad.safetensors")
    raw = bytearray(pathlib.Path("bad.safetensors").read_bytes())
    raw[-1] ^= 1
    return write(bytes(raw))


x, y = data()

CASES: dict[str, Case] = {
    # Shapes.
    "matmul": Case(lambda: annx.ones(2, 3) @ annx.ones(4, 5), ValueError, ["[matmul]", "3", "4"]),
    "broadcast": Case(lambda: annx.ones(2, 3) + annx.ones(4), ValueError, ["[add]", "3", "4"]),
    "reshape": Case(
        lambda: annx.ones(2, 3).reshape(4, 2), ValueError, ["[reshape]", "6", "(4, 2)"]
    ),
    "two unknown sizes": Case(
        lambda: annx.ones(2, 3).reshape(-1, -1), ValueError, ["[reshape]", "-1"]
    ),
    "cat": Case(
        lambda: annx.cat([annx.ones(2, 3), annx.ones(2, 4)], 0),
        ValueError,
        ["[concat]", "(2, 3)", "(2, 4)"],
    ),
    "stack of nothing": Case(lambda: annx.stack([]), ValueError, ["[stack]"]),
    "expand": Case(
        lambda: annx.ones(2, 3).expand(2, 4), ValueError, ["[expand]", "(2, 3)", "(2, 4)"]
    ),
    "ragged list": Case(lambda: annx.tensor([[1, 2], [3]]), ValueError, ["[tensor]"]),
    "nine dimensions": Case(lambda: annx.ones(*[1] * 9), ValueError, ["at most 8 dimensions"]),
    "negative size": Case(lambda: annx.zeros(2, -1), ValueError, ["non-negative sizes", "(2, -1)"]),
    # Dims and indices.
    "sum over dim 2 of 2": Case(lambda: annx.ones(2, 3).sum(2), IndexError, ["[sum]", "2"]),
    "softmax over dim -3": Case(
        lambda: annx.ones(2, 3).softmax(-3), IndexError, ["[softmax]", "-3"]
    ),
    "transpose": Case(lambda: annx.ones(2, 3).transpose(0, 5), IndexError, ["[transpose]", "5"]),
    "permute twice the same": Case(
        lambda: annx.ones(2, 3).permute(0, 0), ValueError, ["[permute]", "0"]
    ),
    "index out of range": Case(lambda: annx.ones(3)[3], IndexError, ["3"]),
    "too many indices": Case(lambda: annx.ones(3)[0, 0], IndexError, ["1", "2"]),
    "float index": Case(lambda: annx.ones(3)[1.0], IndexError, ["float"]),
    "string index": Case(lambda: annx.ones(3)["a"], IndexError, ["str"]),
    "float tensor as index": Case(
        lambda: annx.ones(3)[annx.tensor([0.5])], IndexError, ["float32"]
    ),
    "mask of another shape": Case(
        lambda: annx.ones(3)[annx.tensor([True, False])], IndexError, ["3", "2"]
    ),
    "gather past the end": Case(
        lambda: annx.gather(annx.ones(2, 2), 1, annx.tensor([[2]])), IndexError, ["[gather]", "2"]
    ),
    # Dtypes and devices.
    "unknown dtype": Case(lambda: annx.ones(2, dtype="float33"), TypeError, ["dtype", "'float33'"]),
    "text as data": Case(lambda: annx.tensor(["a"]), TypeError, ["[tensor]"]),
    "complex data": Case(lambda: annx.tensor(np.ones(2, complex)), TypeError, ["complex128"]),
    "gradient of ints": Case(lambda: annx.tensor([1, 2]).requires_grad_(), RuntimeError, ["int64"]),
    "exp of text": Case(lambda: annx.exp("1"), TypeError, ["[exp]", "'input'", "Tensor", "str"]),
    "floats as classes to embed": Case(
        lambda: nn.Embedding(4, 2)(annx.tensor([0.5])), TypeError, ["[embedding]", "float32"]
    ),
    "cuda without cuda": Case(
        lambda: annx.ones(2, device="cuda"), RuntimeError, ["device", "'cuda'"]
    ),
    "to cuda": Case(lambda: annx.ones(2).to("cuda:7"), RuntimeError, ["device", "'cuda:7'"]),
    "unknown device": Case(lambda: annx.ones(2, device="tpu"), ValueError, ["'tpu'"]),
    # Gradients and values.
    "backward of a vector": Case(
        lambda: annx.ones(3, requires_grad=True).exp().backward(), RuntimeError, ["scalar", "(3,)"]
    ),
    "gradient of another shape": Case(
        lambda: annx.ones(3, requires_grad=True).exp().backward(annx.ones(2)),
        RuntimeError,
        ["[backward]", "(3,)", "(2,)"],
    ),
    "backward twice": Case(backward_twice, RuntimeError, ["retain_graph"]),
    "backward without gradients": Case(
        lambda: annx.ones(1).sum().backward(), RuntimeError, ["requires grad"]
    ),
    "item of many": Case(lambda: annx.ones(2, 2).item(), ValueError, ["[item]", "(2, 2)"]),
    "truth of many": Case(lambda: bool(annx.ones(2)), ValueError, ["[bool]", "2", ".any()"]),
    "numpy with gradient": Case(
        lambda: annx.ones(2, requires_grad=True).numpy(), RuntimeError, ["detach()"]
    ),
    "writing an element": Case(element_write, TypeError, ["where"]),
    "copy of another shape": Case(
        lambda: annx.ones(2).copy_(annx.ones(3)), ValueError, ["(3,)", "(2,)"]
    ),
    # Layers and losses.
    "layer of another width": Case(
        lambda: model()(annx.ones(2, 5)), ValueError, ["4", "5", "(in 0: Linear"]
    ),
    "layer inside a model": Case(
        lambda: nn.Sequential(nn.Linear(4, 8), nn.Linear(9, 3))(annx.ones(2, 4)),
        ValueError,
        ["9", "8", "(in 1: Linear"],
    ),
    "class out of range": Case(
        lambda: F.cross_entropy(annx.zeros(2, 3), annx.tensor([0, 3])),
        IndexError,
        ["[cross_entropy]", "3"],
    ),
    "negative class": Case(
        lambda: F.cross_entropy(annx.zeros(2, 3), annx.tensor([0, -1])),
        IndexError,
        ["[cross_entropy]", "-1"],
    ),
    "float classes": Case(
        lambda: F.cross_entropy(annx.zeros(2, 3), annx.tensor([0.5, 1.0])),
        ValueError,
        ["[cross_entropy]", "(2, 3)", "(2,)"],
    ),
    "classes of another length": Case(
        lambda: F.cross_entropy(annx.zeros(2, 3), annx.tensor([0, 1, 2])),
        ValueError,
        ["[cross_entropy]", "2", "3"],
    ),
    "mse of other shapes": Case(
        lambda: F.mse_loss(annx.zeros(4, 1), annx.zeros(4)),
        ValueError,
        ["[mse_loss]", "(4, 1)", "(4,)"],
    ),
    "reduction": Case(
        lambda: F.mse_loss(annx.ones(2), annx.ones(2), reduction="avg"),
        ValueError,
        ["'mean'", "'avg'"],
    ),
    "dropout of 1.5": Case(lambda: nn.Dropout(1.5), ValueError, ["1.5"]),
    "embedding past the end": Case(
        lambda: nn.Embedding(4, 2)(annx.tensor([4])), IndexError, ["4", "Embedding"]
    ),
    "batch norm of one value": Case(
        lambda: nn.BatchNorm1d(3)(annx.ones(1, 3)), ValueError, ["1", "BatchNorm1d"]
    ),
    "batch norm of another width": Case(
        lambda: nn.BatchNorm1d(3)(annx.ones(4, 5)), ValueError, ["3", "5", "BatchNorm1d"]
    ),
    # Training.
    "unknown optimizer": Case(lambda: compiled(optimizer="adan"), ValueError, ["adan", "'adam'"]),
    "unknown loss": Case(
        lambda: compiled(loss="cross_entrpy"), ValueError, ["cross_entrpy", "'cross_entropy'"]
    ),
    "unknown metric": Case(
        lambda: compiled(metrics=["acuracy"]), ValueError, ["acuracy", "'accuracy'"]
    ),
    "other lengths": Case(lambda: fit(x, y[:-1]), ValueError, ["[fit]", "8", "7"]),
    "no samples": Case(lambda: fit(x[:0], y[:0]), ValueError, ["[fit]", "one sample", "empty"]),
    "batch of 0": Case(lambda: fit(x, y, batch_size=0), ValueError, ["[fit]", "batch_size", "0"]),
    "fit before compile": Case(lambda: model().fit(x, y), RuntimeError, ["[fit]", "compile"]),
    "fit on another width": Case(lambda: fit(x[:, :3], y), ValueError, ["4", "3", "(in 0: Linear"]),
    "logits where probabilities belong": Case(
        lambda: F.binary_cross_entropy(annx.tensor([0.5, 1.5]), annx.ones(2)),
        ValueError,
        ["[binary_cross_entropy]", "[0, 1]", "1.5", "position 1", "with_logits"],
    ),
    "index_select out of range": Case(
        lambda: annx.index_select(annx.zeros(3, 2), 0, annx.tensor([5])),
        IndexError,
        ["[index_select]", "[-3, 2]", "5"],
    ),
    "NaN targets": Case(fit_nan_targets, ValueError, ["[fit]", "NaN", "row 3"]),
    "learning rate below 0": Case(
        lambda: annx.optim.SGD(model().parameters(), lr=-1.0), ValueError, ["lr", "-1.0"]
    ),
    "no parameters": Case(lambda: annx.optim.Adam([]), ValueError, ["parameter"]),
    # Files and state.
    "missing key": Case(
        lambda: model().load_state_dict({"0.weight": annx.ones(8, 4)}),
        RuntimeError,
        ["[load_state_dict]", "0.bias", "2.weight"],
    ),
    "unexpected key": Case(
        lambda: model().load_state_dict({**model().state_dict(), "3.bias": annx.ones(1)}),
        RuntimeError,
        ["[load_state_dict]", "3.bias"],
    ),
    "state of another shape": Case(
        lambda: nn.Linear(2, 2, bias=False).load_state_dict({"weight": annx.ones(3, 2)}),
        RuntimeError,
        ["weight", "(2, 2)", "(3, 2)"],
    ),
    "file cut in the header": Case(
        lambda: annx.load(save_cut(40)), ValueError, ["[safetensors]", "bad.safetensors"]
    ),
    "file cut in the data": Case(
        lambda: annx.load(save_cut(-1)),
        ValueError,
        ["[safetensors]", "'weight'", "bad.safetensors"],
    ),
    "file with a flipped bit": Case(
        lambda: annx.load(save_flipped()), ValueError, ["[safetensors]", "CRC-32", "damaged"]
    ),
    "file that is not one": Case(
        lambda: annx.load(write(b"PK\3\4" + bytes(60))), ValueError, ["[safetensors]"]
    ),
    "file with a huge header": Case(
        lambda: annx.load(write(struct.pack("<Q", 2**63) + b"{}")),
        ValueError,
        ["[safetensors]", "100000000"],
    ),
    "saving a model": Case(
        lambda: annx.save(model(), "bad.safetensors"), TypeError, ["[save]", "state_dict()"]
    ),
    "saving an array": Case(
        lambda: annx.save({"a": [np.ones(2)]}, "bad.safetensors"),
        TypeError,
        ["[save]", "numpy.ndarray", "['a'][0]"],
    ),
    "saving a tuple as key": Case(
        lambda: annx.save({(1, 2): 3}, "bad.safetensors"), TypeError, ["[save]", "(1, 2)"]
    ),
    # Settings.
    "no threads": Case(lambda: annx.set_num_threads(0), ValueError, ["[set_num_threads]", "0"]),
}


@pytest.mark.parametrize("label", CASES)
def test_wrong_call(label: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[label]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(case.error) as caught:
        case.call()
    message = str(caught.value)
    place = 0
    for fragment in case.fragments:
        assert fragment in message[place:], f"expected {fragment!r} in {message!r}"
        place = message.index(fragment, place)
    form = r"\[[\w.]+\] (argument '\w+': )?expected .+ but .+"
    assert re.match(form, message, re.DOTALL), message
    assert len(message) < 600
    # The test's own damaged file may lie there; nothing temporary or half-written may.
    assert set(os.listdir(tmp_path)) <= {"bad.safetensors"}
    if label.startswith("saving"):
        assert os.listdir(tmp_path) == []


def test_nothing_changes_on_a_failed_load() -> None:
    """All is checked before the first value is written."""
    net = model()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = {name: value + 1 for name, value in before.items()}
    state["2.bias"] = annx.ones(99)
    with pytest.raises(RuntimeError, match=r"2\.bias"):
        net.load_state_dict(state)
    for name, value in net.state_dict().items():
        assert value.tolist() == before[name].tolist()


def test_numpy_views_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        annx.ones(2).numpy()[0] = 3


def test_in_place_operators_rebind() -> None:
    first = annx.ones(2)
    second = first
    second += 1
    assert first.tolist() == [1, 1]
    assert second.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        # Their sum wraps to 4.
        (lambda v: v.split([2**62, 2**62, 2**62, 2**62 + 4]), "expected sizes that sum to 4"),
        (lambda v: F.one_hot(annx.tensor([LARGEST])), f"below 2**59 but got {LARGEST}"),
        (lambda v: annx.bincount(annx.tensor([LARGEST])), f"below 2**59 but got {LARGEST}"),
        (
            lambda v: annx.repeat_interleave(v, annx.tensor([2**61] * 4)),
            "fewer than 2**59 elements",
        ),
        (lambda v: annx.set_num_threads(2**32 + 1), "from 1 to 256 but got 4294967297"),
    ],
)
def test_sizes_that_wrap_are_named(call: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call(annx.ones(4))


def test_the_library_works_after_all_this() -> None:
    net = compiled(metrics=["accuracy"])
    history = net.fit(*data(32), epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
