"""Writes what PyTorch computes for recurrent layers: cases.json and values.npz beside it.

Run by hand: python tests/goldens/rnn/make_goldens.py (needs torch; the tests need only the files).
Everything is computed in float64. All numbers stand in one vector; "arrays" of a case says where
each of its arrays begins there, and its shape. "lengths" says that the input is packed, "sorted"
whether its sequences come sorted; "state" whether a first state is given.
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

HERE = Path(__file__).parent
rng = np.random.default_rng(20261121)
values: list[np.ndarray] = []
length = 0
cases: list[dict] = []


def normal(*shape):
    return rng.standard_normal(shape).astype(np.float32).astype(np.float64)


def put(name, array):
    global length
    array = np.asarray(array)
    cases[-1]["arrays"][name] = [length, *array.shape]
    values.append(array.ravel())
    length += array.size


def fill(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.from_numpy(0.5 * normal(*parameter.shape)))


def finish(module, inputs, results):
    """Gradients of a weighted sum of all results."""
    total = 0.0
    for i, result in enumerate(results):
        seed = normal(*result.shape)
        put(f"out{i}", result.detach())
        put(f"seed{i}", seed)
        total = total + (result * torch.from_numpy(seed)).sum()
    total.backward()
    for i, tensor in enumerate(inputs):
        put(f"in{i}", tensor.detach())
        put(f"grad{i}", tensor.grad)
    for name, parameter in module.named_parameters():
        put(f"parameter.{name}", parameter.detach())
        put(f"grad.{name}", parameter.grad)


def layer(kind, shape, state=False, lengths=None, ordered=True, **kwargs):
    module = getattr(torch.nn, kind)(3, 5, **kwargs).double()
    fill(module)
    rows = kwargs.get("num_layers", 1) * (2 if kwargs.get("bidirectional") else 1)
    first = kwargs.get("batch_first", False)
    batch = (shape[0 if first else 1],) if len(shape) == 3 else ()
    inputs = [normal(*shape)]
    if state:
        inputs.append(normal(rows, *batch, kwargs.get("proj_size", 0) or 5))
        if kind == "LSTM":
            inputs.append(normal(rows, *batch, 5))
    inputs = [torch.from_numpy(a).requires_grad_() for a in inputs]
    hx = None
    if state:
        hx = tuple(inputs[1:]) if kind == "LSTM" else inputs[1]
    x = inputs[0]
    if lengths is not None:
        x = pack_padded_sequence(x, torch.tensor(lengths), first, ordered)
    output, last = module(x, hx)
    if lengths is not None:
        output, _ = pad_packed_sequence(output, first)
    results = [output, *(last if kind == "LSTM" else [last])]
    cases.append(
        {
            "module": kind,
            "kwargs": kwargs,
            "repr": repr(module),
            "state_dict": list(module.state_dict()),
            "state": state,
            "lengths": lengths,
            "sorted": ordered,
            "arrays": {},
        }
    )
    finish(module, inputs, results)


def cell(kind, shape, state=False, **kwargs):
    module = getattr(torch.nn, kind)(3, 5, **kwargs).double()
    fill(module)
    inputs = [normal(*shape)]
    if state:
        inputs += [normal(*shape[:-1], 5) for _ in range(2 if kind == "LSTMCell" else 1)]
    inputs = [torch.from_numpy(a).requires_grad_() for a in inputs]
    hx = None
    if state:
        hx = tuple(inputs[1:]) if kind == "LSTMCell" else inputs[1]
    result = module(inputs[0], hx)
    cases.append(
        {
            "module": kind,
            "kwargs": kwargs,
            "repr": repr(module),
            "state_dict": list(module.state_dict()),
            "state": state,
            "lengths": None,
            "sorted": True,
            "arrays": {},
        }
    )
    finish(module, inputs, result if kind == "LSTMCell" else [result])


for kind in ("RNN", "GRU", "LSTM"):
    layer(kind, (4, 2, 3))
    layer(kind, (4, 2, 3), state=True)
    layer(kind, (3, 3), bias=False)
    layer(kind, (3, 3), state=True, bidirectional=True)
    layer(kind, (2, 4, 3), state=True, batch_first=True, num_layers=2)
    layer(kind, (3, 2, 3), state=True, num_layers=2, bidirectional=True)
    layer(kind, (4, 3, 3), lengths=[4, 2, 2])
    layer(kind, (4, 3, 3), state=True, lengths=[4, 3, 1], num_layers=2, bidirectional=True)
    layer(kind, (4, 3, 3), state=True, lengths=[1, 4, 2], ordered=False, bidirectional=True)
    layer(kind, (3, 4, 3), state=True, lengths=[2, 3, 3], ordered=False, batch_first=True)
layer("RNN", (4, 2, 3), nonlinearity="relu", num_layers=2)
layer("LSTM", (4, 2, 3), state=True, proj_size=2)
layer("LSTM", (4, 2, 3), state=True, proj_size=2, num_layers=2, bidirectional=True)
layer("LSTM", (4, 3, 3), lengths=[3, 4, 1], ordered=False, proj_size=3, bidirectional=True)
for kind in ("RNNCell", "GRUCell", "LSTMCell"):
    cell(kind, (2, 3))
    cell(kind, (2, 3), state=True)
    cell(kind, (3,), state=True, bias=False)
cell("RNNCell", (2, 3), state=True, nonlinearity="relu")

(HERE / "cases.json").write_text(json.dumps(cases) + "\n")
np.savez_compressed(HERE / "values.npz", values=np.concatenate(values))
