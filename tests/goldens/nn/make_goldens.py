"""Writes what PyTorch computes for the modules of annx.nn: cases.json and values.npz beside it.

Run by hand: python tests/goldens/nn/make_goldens.py (needs torch; the tests need only the files).
Every case is computed in float64 from values that float32 holds exactly. All numbers stand in one
vector; "arrays" of a case says where each of its arrays begins there, and its shape.
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).parent
rng = np.random.default_rng(20261121)
values: list[np.ndarray] = []
length = 0
cases: list[dict] = []


# PyTorch's own gradient of it multiplies by 1/6 in float32 even for float64 inputs.
nn.Hardsigmoid.forward = lambda self, x: nn.functional.relu6(x + 3) / 6


def normal(*shape, scale=1.0):
    array = np.asarray(rng.standard_normal(shape) * scale)
    return array.astype(np.float32).astype(np.float64)


def uniform(low, high, *shape):
    return rng.uniform(low, high, shape).astype(np.float32).astype(np.float64)


def signs(*shape):
    return rng.choice([-1.0, 1.0], shape)


def as_torch(array, grad):
    tensor = torch.from_numpy(np.array(array))
    return tensor.requires_grad_() if grad and tensor.is_floating_point() else tensor


def put(entry, name, array):
    global length
    array = array.detach().numpy() if isinstance(array, torch.Tensor) else np.asarray(array)
    entry["arrays"][name] = [length, *array.shape]
    values.append(array.astype(np.float64).ravel())
    length += array.size


def add(case, module, inputs, kwargs=None, tensors=None, no_grad=(), batches=None, evaluate=False):
    """One module called once (or once per batch), with its gradients, parameters and buffers."""
    kwargs, tensors = kwargs or {}, tensors or {}
    assert all(entry["case"] != case for entry in cases), case
    made = getattr(nn, module)(**kwargs, **{k: torch.from_numpy(v) for k, v in tensors.items()})
    made = made.double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.from_numpy(normal(*parameter.shape)))
    entry = {
        "case": case,
        "module": module,
        "kwargs": kwargs,
        "tensors": list(tensors),
        "repr": repr(made),
        "state": list(made.state_dict()),
        "parameters": [name for name, _ in made.named_parameters()],
        "evaluate": evaluate,
        "no_grad": list(no_grad),
        "batches": 1 if batches is None else len(batches),
        "integers": [i for i, v in enumerate(inputs) if np.asarray(v).dtype.kind == "i"],
        "inputs": len(inputs),
        "arrays": {},
    }
    cases.append(entry)
    for name, value in tensors.items():
        put(entry, f"tensor.{name}", value)
    for name, value in made.state_dict().items():
        put(entry, f"before.{name}", value)
    made.train(not evaluate)
    for b, batch in enumerate([inputs] if batches is None else batches):
        torch_inputs = [as_torch(v, i not in no_grad) for i, v in enumerate(batch)]
        out = made(*torch_inputs)
        seed = torch.from_numpy(normal(*out.shape))
        for i, value in enumerate(batch):
            put(entry, f"{b}.in{i}", value)
        put(entry, f"{b}.out", out)
        if out.requires_grad:
            put(entry, f"{b}.seed", seed)
            made.zero_grad()
            out.backward(seed)
            for i, tensor in enumerate(torch_inputs):
                if tensor.grad is not None:
                    put(entry, f"{b}.grad{i}", tensor.grad)
            for name, parameter in made.named_parameters():
                put(entry, f"{b}.grad.{name}", parameter.grad)
    for name, value in made.state_dict().items():
        put(entry, f"after.{name}", value)


def activations():
    edges = np.array([-30, -20, -6, -3, -1, -0.5, 0, 0.5, 1, 3, 6, 20, 30], np.float64)
    x = np.concatenate([edges, normal(11, scale=2.0)]).reshape(4, 6)
    plain = (
        "Sigmoid Tanh ReLU LeakyReLU ELU SELU SiLU GELU Softplus Mish Hardswish Hardsigmoid "
        "Hardtanh ReLU6 LogSigmoid Softsign Tanhshrink CELU GLU"
    )
    for module in plain.split():
        add(module, module, [x])
    add("LeakyReLU-0.3", "LeakyReLU", [x], {"negative_slope": 0.3, "inplace": False})
    add("ELU-0.5", "ELU", [x], {"alpha": 0.5})
    add("CELU-2", "CELU", [x], {"alpha": 2.0})
    add("GELU-tanh", "GELU", [x], {"approximate": "tanh"})
    add("Softplus-2-4", "Softplus", [x], {"beta": 2.0, "threshold": 4.0})
    add("Hardtanh-limits", "Hardtanh", [x], {"min_val": -0.5, "max_val": 3.0})
    add("Threshold", "Threshold", [x], {"threshold": 0.5, "value": -2.0})
    add("GLU-0", "GLU", [normal(4, 3, 2)], {"dim": 0})
    add("PReLU", "PReLU", [x])
    add("PReLU-channels", "PReLU", [normal(3, 4, 2)], {"num_parameters": 4})
    for module in ("Softmax", "LogSoftmax", "Softmin"):
        add(module, module, [normal(3, 4, scale=3.0)], {"dim": 1})
        add(f"{module}-0", module, [normal(3, 4, 2)], {"dim": 0})
    for module in ("ReLU", "ELU", "Hardtanh", "SELU", "SiLU", "Mish", "Hardswish", "CELU"):
        inputs = [normal(2, 2)]
        add(f"{module}-inplace", module, inputs, {"inplace": True}, no_grad=(0,))


def layers():
    add("Linear", "Linear", [normal(5, 3)], {"in_features": 3, "out_features": 4})
    add("Linear-vector", "Linear", [normal(3)], {"in_features": 3, "out_features": 4})
    no_bias = {"in_features": 3, "out_features": 2, "bias": False}
    add("Linear-3d-no-bias", "Linear", [normal(2, 4, 3)], no_bias)
    sizes = {"in1_features": 3, "in2_features": 2, "out_features": 4}
    add("Bilinear", "Bilinear", [normal(5, 3), normal(5, 2)], sizes)
    pair = [normal(2, 3, 3), normal(2, 3, 2)]
    add("Bilinear-3d-no-bias", "Bilinear", pair, {**sizes, "bias": False})
    add("Identity", "Identity", [normal(2, 3)])
    add("Flatten", "Flatten", [normal(2, 3, 2)])
    add("Flatten-0-1", "Flatten", [normal(2, 3, 2)], {"start_dim": 0, "end_dim": 1})
    add("Unflatten", "Unflatten", [normal(2, 6)], {"dim": 1, "unflattened_size": (2, 3)})
    add("Unflatten-free", "Unflatten", [normal(6, 2)], {"dim": -2, "unflattened_size": (3, -1)})
    add("Dropout-eval", "Dropout", [normal(2, 3)], {"p": 0.4}, evaluate=True)
    add("AlphaDropout-eval", "AlphaDropout", [normal(2, 3)], {"p": 0.4}, evaluate=True)
    add("LayerNorm", "LayerNorm", [normal(4, 6)], {"normalized_shape": 6})
    twice = {"normalized_shape": (2, 3), "eps": 1e-3}
    add("LayerNorm-2d", "LayerNorm", [normal(4, 2, 3)], twice)
    add("LayerNorm-no-bias", "LayerNorm", [normal(4, 6)], {"normalized_shape": 6, "bias": False})
    add(
        "LayerNorm-plain",
        "LayerNorm",
        [normal(4, 6)],
        {"normalized_shape": (6,), "elementwise_affine": False},
    )
    table = {"num_embeddings": 7, "embedding_dim": 3}
    indices = np.array([[1, 2, 2], [6, 0, 1]])
    add("Embedding", "Embedding", [indices], table)
    add("Embedding-padding", "Embedding", [indices], {**table, "padding_idx": -6})
    add("Embedding-max-norm", "Embedding", [indices], {**table, "max_norm": 1.0})
    limits = {**table, "max_norm": 0.75, "norm_type": 1.0}
    add("Embedding-max-1-norm", "Embedding", [indices], limits)


def batch_norms():
    def several(*shape):
        return [[normal(*shape, scale=1.0 + b) + b] for b in range(3)]

    variants = {
        "": {},
        "-cumulative": {"momentum": None},
        "-momentum": {"momentum": 0.3, "eps": 1e-3},
        "-plain": {"affine": False},
        "-no-bias": {"bias": False},
        "-untracked": {"track_running_stats": False},
    }
    for name, kwargs in variants.items():
        kwargs = {"num_features": 4, **kwargs}
        add(f"BatchNorm1d{name}", "BatchNorm1d", [0.0], kwargs, batches=several(5, 4))
        add(f"BatchNorm1d{name}-3d", "BatchNorm1d", [0.0], kwargs, batches=several(3, 4, 2))
        add(f"BatchNorm1d{name}-eval", "BatchNorm1d", [normal(5, 4)], kwargs, evaluate=True)


def losses():
    def each(module, inputs, kwargs=None, name="", extra=(), **rest):
        for reduction in ("mean", "sum", "none", *extra):
            full = {"reduction": reduction, **(kwargs or {})}
            add(f"{module}{name}-{reduction}", module, inputs, full, **rest)

    pair = [normal(4, 3), normal(4, 3)]
    each("MSELoss", pair)
    each("L1Loss", [np.array([[0.5, -1.0], [2.0, 0.0]]), np.array([[0.5, 1.0], [-2.0, 0.25]])])
    each("HuberLoss", pair)
    each("HuberLoss", pair, {"delta": 0.4}, "-delta")
    each("SmoothL1Loss", pair)
    each("SmoothL1Loss", pair, {"beta": 0.5}, "-beta")
    each("SmoothL1Loss", pair, {"beta": 0.0}, "-zero")

    logits, classes = normal(5, 4, scale=2.0), np.array([0, 3, 1, 3, 2])
    weight = {"weight": uniform(0.5, 2.0, 4)}
    some = np.array([0, -100, 1, 3, -100])
    each("CrossEntropyLoss", [logits, classes])
    each("CrossEntropyLoss", [logits, some], None, "-weight", tensors=weight)
    each("CrossEntropyLoss", [logits, some], {"label_smoothing": 0.2}, "-smooth")
    smooth = {"label_smoothing": 0.2, "ignore_index": 3}
    each("CrossEntropyLoss", [logits, classes], smooth, "-all", tensors=weight)
    each("CrossEntropyLoss", [normal(2, 3, 4), np.array([[0, 2, 1, 0], [2, 2, 1, 0]])], None, "-3d")
    shares = uniform(0.0, 1.0, 5, 4)
    shares = (shares / shares.sum(1, keepdims=True)).astype(np.float32).astype(np.float64)
    add_soft = {"label_smoothing": 0.1}
    each("CrossEntropyLoss", [logits, shares], add_soft, "-soft", tensors=weight, no_grad=(1,))
    log_probabilities = normal(5, 4)
    each("NLLLoss", [log_probabilities, classes])
    each("NLLLoss", [log_probabilities, some], None, "-weight", tensors=weight)

    bits = np.array([[0.0, 1.0, 1.0], [0.25, 0.0, 1.0]])
    each("BCELoss", [uniform(0.05, 0.95, 2, 3), bits], no_grad=(1,))
    element = {"weight": uniform(0.5, 2.0, 2, 3)}
    each(
        "BCELoss", [uniform(0.05, 0.95, 2, 3), bits], None, "-weight", tensors=element, no_grad=(1,)
    )
    raw = np.array([[-40.0, 40.0, 0.0], [0.5, -2.0, 3.0]])
    each("BCEWithLogitsLoss", [raw, bits], no_grad=(1,))
    both = {"weight": uniform(0.5, 2.0, 2, 3), "pos_weight": uniform(0.5, 3.0, 3)}
    each("BCEWithLogitsLoss", [raw, bits], None, "-weight", tensors=both, no_grad=(1,))

    p = np.array([[0.0, 0.25, 0.75], [0.5, 0.125, 0.375]])
    each("KLDivLoss", [normal(2, 3), p], extra=("batchmean",), no_grad=(1,))
    logs = {"log_target": True}
    each("KLDivLoss", [normal(2, 3), normal(2, 3)], logs, "-log", ("batchmean",), no_grad=(1,))

    counts = np.array([[0.0, 1.0, 2.0], [5.0, 0.0, 3.0]])
    each("PoissonNLLLoss", [normal(2, 3), counts], no_grad=(1,))
    rates = {"log_input": False, "full": True}
    each("PoissonNLLLoss", [uniform(0.5, 4.0, 2, 3), counts], rates, "-full", no_grad=(1,))

    y = signs(4)
    each("CosineEmbeddingLoss", [normal(4, 3), normal(4, 3), y], no_grad=(2,))
    each("CosineEmbeddingLoss", [*pair, y], {"margin": 0.3}, "-margin", no_grad=(2,))
    each("HingeEmbeddingLoss", [normal(4, 3), signs(4, 3)], {"margin": 0.5}, no_grad=(1,))
    each("MarginRankingLoss", [normal(4), normal(4), y], {"margin": 0.25}, no_grad=(2,))
    triple = [normal(4, 3), normal(4, 3), normal(4, 3)]
    each("TripletMarginLoss", triple)
    each("TripletMarginLoss", triple, {"p": 1.0, "margin": 0.5}, "-1")
    each("TripletMarginLoss", triple, {"swap": True, "margin": 2.0}, "-swap")


def more_activations():
    x = np.array([[-3.0, -1.0, -0.75, -0.5, -0.1], [0.0, 0.1, 0.5, 0.75, 2.0]])
    for module in ("Hardshrink", "Softshrink"):
        add(module, module, [x])
        add(f"{module}-0.7", module, [x], {"lambd": 0.7})
    add("RReLU-eval", "RReLU", [x], evaluate=True)
    add("RReLU-eval-limits", "RReLU", [x], {"lower": 0.25, "upper": 0.5}, evaluate=True)


def distances():
    for module in ("CosineSimilarity", "PairwiseDistance"):
        add(module, module, [normal(4, 3), normal(4, 3)])
        add(f"{module}-broadcast", module, [normal(2, 4, 3), normal(4, 3)])
    add("CosineSimilarity-0", "CosineSimilarity", [normal(4, 3), normal(4, 3)], {"dim": 0})
    keep = {"p": 1.0, "eps": 1e-3, "keepdim": True}
    add("PairwiseDistance-1", "PairwiseDistance", [normal(4, 3), normal(4, 3)], keep)


def trees():
    """How nested models print and what their state_dict holds."""
    deep = nn.Sequential(
        nn.Linear(2, 3),
        nn.Sequential(nn.ReLU(), nn.BatchNorm1d(3)),
        nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2), nn.Tanh()]),
        nn.ModuleDict({"one": nn.Identity(), "two": nn.Embedding(3, 2)}),
    )
    blocks = nn.ModuleList([nn.Sequential(nn.Linear(2, 2), nn.Tanh()) for _ in range(2)])
    return {
        "deep": {"repr": repr(deep), "state": list(deep.state_dict())},
        "blocks": {"repr": repr(blocks), "state": list(blocks.state_dict())},
        "empty": {"repr": repr(nn.Sequential()), "state": []},
    }


def gains():
    names = [
        "linear",
        "conv1d",
        "conv_transpose2d",
        "sigmoid",
        "tanh",
        "relu",
        "leaky_relu",
        "selu",
    ]
    table = [[name, None, nn.init.calculate_gain(name)] for name in names]
    return [*table, ["leaky_relu", 0.2, nn.init.calculate_gain("leaky_relu", 0.2)]]


if __name__ == "__main__":
    activations()
    layers()
    batch_norms()
    losses()
    more_activations()
    distances()
    lines = ",\n  ".join(json.dumps(entry) for entry in cases)
    rest = json.dumps({"trees": trees(), "gains": gains()})
    (HERE / "cases.json").write_text(f'{{"cases": [\n  {lines}\n ],\n {rest[1:]}\n')
    np.savez_compressed(HERE / "values.npz", values=np.concatenate(values))
    print(f"{len(cases)} cases, {length} numbers, torch {torch.__version__}")
