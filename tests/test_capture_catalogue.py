"""Every public module, optimizer and schedule: ten replayed steps have the bits of eager ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import annx
import numpy as np
import pytest
from annx import nn, optim
from annx.nn import functional as F
from annx.optim import lr_scheduler

STEPS = 10

Make = Callable[[], nn.Module]
Input = Callable[[np.random.Generator], annx.Tensor]


def real(*shape: int) -> Input:
    return lambda rng: annx.tensor(rng.standard_normal(shape).astype(np.float32))


def positive(*shape: int) -> Input:
    return lambda rng: annx.tensor(rng.uniform(0.1, 0.9, shape).astype(np.float32))


def index(high: int, *shape: int) -> Input:
    return lambda rng: annx.tensor(rng.integers(0, high, shape))


def sign(*shape: int) -> Input:
    return lambda rng: annx.tensor((rng.integers(0, 2, shape) * 2 - 1).astype(np.float32))


def log_probabilities(*shape: int) -> Input:
    return lambda rng: annx.log_softmax(real(*shape)(rng), -1)


@dataclass
class Case:
    """How a module is made and called; of its inputs the first is multiplied by a parameter."""

    make: Make
    inputs: tuple[Input, ...]
    call: Callable[..., Any] = lambda module, *inputs: module(*inputs)


def case(make: Make, *inputs: Input, call: Callable[..., Any] | None = None) -> Case:
    return Case(make, inputs, call) if call else Case(make, inputs)


def activation(name: str, *args: Any) -> Case:
    return case(lambda: getattr(nn, name)(*args), real(6, 40))


ACTIVATIONS: dict[str, tuple[Any, ...]] = {
    "CELU": (1.3,),
    "ELU": (0.7,),
    "GELU": ("tanh",),
    "GLU": (1,),
    "Hardshrink": (),
    "Hardsigmoid": (),
    "Hardswish": (),
    "Hardtanh": (-0.5, 0.8),
    "LeakyReLU": (0.2,),
    "LogSigmoid": (),
    "LogSoftmax": (-1,),
    "Mish": (),
    "PReLU": (40,),
    "RReLU": (),
    "ReLU": (),
    "ReLU6": (),
    "SELU": (),
    "SiLU": (),
    "Sigmoid": (),
    "Softmax": (-1,),
    "Softmin": (-1,),
    "Softplus": (2.0,),
    "Softshrink": (),
    "Softsign": (),
    "Swish": (),
    "Tanh": (),
    "Tanhshrink": (),
    "Threshold": (0.1, -0.5),
}

CNL, CHW, CDHW = real(3, 4, 9), real(3, 4, 7, 6), real(2, 4, 5, 4, 4)
SEQUENCE = real(5, 3, 8)


def recurrent(module: nn.Module, x: annx.Tensor) -> Any:
    return annx.pytree.leaves(module(x))


MODULES: dict[str, Case] = {
    **{name: activation(name, *args) for name, args in ACTIVATIONS.items()},
    "AdaptiveAvgPool1d": case(lambda: nn.AdaptiveAvgPool1d(4), CNL),
    "AdaptiveAvgPool2d": case(lambda: nn.AdaptiveAvgPool2d((3, 2)), CHW),
    "AdaptiveAvgPool3d": case(lambda: nn.AdaptiveAvgPool3d(2), CDHW),
    "AdaptiveMaxPool1d": case(lambda: nn.AdaptiveMaxPool1d(4), CNL),
    "AdaptiveMaxPool2d": case(lambda: nn.AdaptiveMaxPool2d((3, 2), return_indices=True), CHW),
    "AdaptiveMaxPool3d": case(lambda: nn.AdaptiveMaxPool3d(2), CDHW),
    "AlphaDropout": case(lambda: nn.AlphaDropout(0.3), real(6, 40)),
    "AvgPool1d": case(lambda: nn.AvgPool1d(3, 2), CNL),
    "AvgPool2d": case(lambda: nn.AvgPool2d(2, padding=1, count_include_pad=False), CHW),
    "AvgPool3d": case(lambda: nn.AvgPool3d(2), CDHW),
    "BCELoss": case(nn.BCELoss, positive(4, 3), positive(4, 3)),
    "BCEWithLogitsLoss": case(nn.BCEWithLogitsLoss, real(4, 3), positive(4, 3)),
    "BatchNorm1d": case(lambda: nn.BatchNorm1d(4), CNL),
    "BatchNorm2d": case(lambda: nn.BatchNorm2d(4, momentum=None), CHW),
    "BatchNorm3d": case(lambda: nn.BatchNorm3d(4), CDHW),
    "Bilinear": case(lambda: nn.Bilinear(3, 4, 5), real(6, 3), real(6, 4)),
    "Conv1d": case(lambda: nn.Conv1d(4, 6, 3, padding=1), CNL),
    "Conv2d": case(lambda: nn.Conv2d(4, 6, 3, stride=2, padding_mode="circular", padding=1), CHW),
    "Conv3d": case(lambda: nn.Conv3d(4, 6, 3), CDHW),
    "ConvTranspose1d": case(lambda: nn.ConvTranspose1d(4, 6, 3, stride=2), CNL),
    "ConvTranspose2d": case(lambda: nn.ConvTranspose2d(4, 6, 3, groups=2), CHW),
    "ConvTranspose3d": case(lambda: nn.ConvTranspose3d(4, 2, 2), CDHW),
    "CosineEmbeddingLoss": case(nn.CosineEmbeddingLoss, real(4, 3), real(4, 3), sign(4)),
    "CosineSimilarity": case(nn.CosineSimilarity, real(4, 3), real(4, 3)),
    "CrossEntropyLoss": case(
        lambda: nn.CrossEntropyLoss(label_smoothing=0.1), real(6, 5), index(5, 6)
    ),
    "Dropout": case(lambda: nn.Dropout(0.4), real(6, 40)),
    "Dropout1d": case(lambda: nn.Dropout1d(0.4), CNL),
    "Dropout2d": case(lambda: nn.Dropout2d(0.4), CHW),
    "Dropout3d": case(lambda: nn.Dropout3d(0.4), CDHW),
    "Embedding": case(
        lambda: nn.Embedding(7, 4, padding_idx=0),
        real(5, 4),
        index(7, 5),
        call=lambda module, x, i: module(i) * x,
    ),
    "Flatten": case(nn.Flatten, CHW),
    "GRU": case(lambda: nn.GRU(8, 6, 2, dropout=0.3), SEQUENCE, call=recurrent),
    "GRUCell": case(lambda: nn.GRUCell(8, 6), real(3, 8)),
    "GroupNorm": case(lambda: nn.GroupNorm(2, 4), CHW),
    "HingeEmbeddingLoss": case(nn.HingeEmbeddingLoss, real(4, 3), sign(4, 3)),
    "HuberLoss": case(nn.HuberLoss, real(4, 3), real(4, 3)),
    "Identity": case(nn.Identity, CNL),
    "InstanceNorm1d": case(lambda: nn.InstanceNorm1d(4, track_running_stats=True), CNL),
    "InstanceNorm2d": case(lambda: nn.InstanceNorm2d(4, affine=True), CHW),
    "InstanceNorm3d": case(lambda: nn.InstanceNorm3d(4), CDHW),
    "KLDivLoss": case(lambda: nn.KLDivLoss("batchmean"), log_probabilities(4, 3), positive(4, 3)),
    "L1Loss": case(nn.L1Loss, real(4, 3), real(4, 3)),
    "LSTM": case(lambda: nn.LSTM(8, 6, bidirectional=True, proj_size=3), SEQUENCE, call=recurrent),
    "LSTMCell": case(lambda: nn.LSTMCell(8, 6), real(3, 8)),
    "LayerNorm": case(lambda: nn.LayerNorm(8), SEQUENCE),
    "Linear": case(lambda: nn.Linear(8, 5), SEQUENCE),
    "MSELoss": case(nn.MSELoss, real(4, 3), real(4, 3)),
    "MarginRankingLoss": case(nn.MarginRankingLoss, real(4), real(4), sign(4)),
    "MaxPool1d": case(lambda: nn.MaxPool1d(3, 2), CNL),
    "MaxPool2d": case(lambda: nn.MaxPool2d(2, padding=1, return_indices=True), CHW),
    "MaxPool3d": case(lambda: nn.MaxPool3d(2), CDHW),
    "MaxUnpool1d": case(
        lambda: nn.MaxUnpool1d(2),
        CNL,
        call=lambda module, x: module(*F.max_pool1d(x, 2, return_indices=True), (9,)),
    ),
    "MaxUnpool2d": case(
        lambda: nn.MaxUnpool2d(3, 2, 1),
        CHW,
        call=lambda module, x: module(*F.max_pool2d(x, 3, 2, 1, return_indices=True), (7, 6)),
    ),
    "MaxUnpool3d": case(
        lambda: nn.MaxUnpool3d(2),
        CDHW,
        call=lambda module, x: module(*F.max_pool3d(x, 2, return_indices=True), x.shape),
    ),
    "ModuleDict": case(
        lambda: nn.ModuleDict({"a": nn.Linear(8, 5), "b": nn.Tanh()}),
        SEQUENCE,
        call=lambda module, x: module["b"](module["a"](x)),
    ),
    "ModuleList": case(
        lambda: nn.ModuleList([nn.Linear(8, 5), nn.Tanh()]),
        SEQUENCE,
        call=lambda module, x: module[1](module[0](x)),
    ),
    "MultiheadAttention": case(
        lambda: nn.MultiheadAttention(8, 2, dropout=0.2),
        SEQUENCE,
        call=lambda module, x: annx.pytree.leaves(module(x, x, x)),
    ),
    "NLLLoss": case(nn.NLLLoss, log_probabilities(6, 5), index(5, 6)),
    "PairwiseDistance": case(nn.PairwiseDistance, real(4, 3), real(4, 3)),
    "ParameterDict": case(
        lambda: nn.ParameterDict({"w": annx.ones(8)}), SEQUENCE, call=lambda m, x: x * m["w"]
    ),
    "ParameterList": case(
        lambda: nn.ParameterList([annx.ones(8)]), SEQUENCE, call=lambda m, x: x * m[0]
    ),
    "PoissonNLLLoss": case(lambda: nn.PoissonNLLLoss(full=True), real(4, 3), positive(4, 3)),
    "PositionalEncoding": case(lambda: nn.PositionalEncoding(8, 0.2), SEQUENCE),
    "RMSNorm": case(lambda: nn.RMSNorm(8), SEQUENCE),
    "RNN": case(lambda: nn.RNN(8, 6, nonlinearity="relu"), SEQUENCE, call=recurrent),
    "RNNCell": case(lambda: nn.RNNCell(8, 6), real(3, 8)),
    "Sequential": case(lambda: nn.Sequential(nn.Linear(8, 5), nn.Tanh()), SEQUENCE),
    "SmoothL1Loss": case(nn.SmoothL1Loss, real(4, 3), real(4, 3)),
    "Transformer": case(
        lambda: nn.Transformer(8, 2, 1, 1, 16, dropout=0.2), SEQUENCE, real(4, 3, 8)
    ),
    "TransformerDecoder": case(
        lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16), 2),
        SEQUENCE,
        real(4, 3, 8),
    ),
    "TransformerDecoderLayer": case(
        lambda: nn.TransformerDecoderLayer(8, 2, 16, norm_first=True), SEQUENCE, real(4, 3, 8)
    ),
    "TransformerEncoder": case(
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2), SEQUENCE
    ),
    "TransformerEncoderLayer": case(
        lambda: nn.TransformerEncoderLayer(8, 2, 16, activation="gelu"), SEQUENCE
    ),
    "TripletMarginLoss": case(nn.TripletMarginLoss, real(4, 3), real(4, 3), real(4, 3)),
    "Unflatten": case(lambda: nn.Unflatten(1, (2, 2)), CNL),
    "Upsample": case(lambda: nn.Upsample(scale_factor=2, mode="bilinear"), CHW),
    "ZeroPad2d": case(lambda: nn.ZeroPad2d((1, 2, 0, 1)), CHW),
}

# Base classes, which nobody calls.
BASES = {"Module", "RNNBase", "RNNCellBase"}

OPTIMIZERS: dict[str, Callable[[Any], optim.Optimizer]] = {
    "ASGD": lambda p: optim.ASGD(p, lr=0.05, t0=3),
    "Adadelta": optim.Adadelta,
    "Adagrad": lambda p: optim.Adagrad(p, lr_decay=0.1),
    "Adam": lambda p: optim.Adam(p, amsgrad=True, weight_decay=0.01),
    "AdamW": lambda p: optim.AdamW(p, lr=0.01),
    "Adamax": optim.Adamax,
    "Lion": lambda p: optim.Lion(p, lr=0.01, weight_decay=0.1),
    "NAdam": optim.NAdam,
    "RAdam": lambda p: optim.RAdam(p, lr=0.01),
    "RMSprop": lambda p: optim.RMSprop(p, centered=True, momentum=0.9),
    "Rprop": optim.Rprop,
    "SGD": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
}

SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 7),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3, 2),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.8),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda k: 1 / (k + 1)),
    "LinearLR": lr_scheduler.LinearLR,
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [2, 5], 0.3),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=12),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0, threshold=10.0),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 3, 0.5),
}


def public(module: Any, base: type) -> set[str]:
    found = {name for name, kind in vars(module).items() if inspect.isclass(kind)}
    return {n for n in found if n[0] != "_" and issubclass(getattr(module, n), base)}


def test_every_public_class_has_a_case() -> None:
    assert public(nn, nn.Module) - BASES == set(MODULES)
    assert public(optim, optim.Optimizer) - {"Optimizer"} == set(OPTIMIZERS)
    assert public(lr_scheduler, object) - {"LRScheduler"} == set(SCHEDULES)


def total(result: Any) -> annx.Tensor:
    """A scalar that every floating output takes part in."""
    parts = [t for t in annx.pytree.leaves(result) if t.dtype.is_floating_point]
    return sum([(t * t * 0.5 + t).mean() for t in parts], annx.zeros(()))


def bits(tree: Any) -> list[bytes]:
    return [t.detach().numpy().tobytes() for t in annx.pytree.leaves(tree)]


def train(
    capture: bool,
    c: Case,
    optimizer: Callable[[Any], optim.Optimizer],
    schedule: Callable[[Any], Any] | None = None,
) -> list[bytes]:
    annx.manual_seed(3)
    rng = np.random.default_rng(0)
    module = c.make()
    gain = nn.Parameter(annx.ones(1))
    opt = optimizer([gain, *module.parameters()])
    sched = schedule(opt) if schedule else None
    plateau = isinstance(sched, lr_scheduler.ReduceLROnPlateau)

    def step(*inputs: annx.Tensor) -> tuple[Any, annx.Tensor]:
        opt.zero_grad()
        result = c.call(module, inputs[0] * gain, *inputs[1:])
        loss = total(result)
        loss.backward()
        opt.step()
        if sched is not None and not plateau:
            sched.step()
        return result, loss

    run = annx.jit(step) if capture else step
    seen = []
    for _ in range(STEPS):
        result, loss = run(*[make(rng) for make in c.inputs])
        if plateau:
            sched.step(loss.item())
        seen.append((result, loss))
    if capture:
        assert run.captures == 1
    grads = [p.grad for p in (gain, *module.parameters())]
    state = [list(s.values()) for s in opt.state_dict()["state"].values()]
    rates = annx.tensor([group["lr"] for group in opt.param_groups])
    return bits([seen, gain, module.state_dict(), grads, state, rates])


def momentum(parameters: Any) -> optim.Optimizer:
    return optim.SGD(parameters, lr=0.05, momentum=0.9)


@pytest.mark.parametrize("name", MODULES)
def test_modules(name: str) -> None:
    assert train(True, MODULES[name], momentum) == train(False, MODULES[name], momentum)


@pytest.mark.parametrize("name", MODULES)
def test_modules_in_evaluation(name: str) -> None:
    c = MODULES[name]
    annx.manual_seed(3)
    rng = np.random.default_rng(0)
    module = c.make()
    c.call(module, *[make(rng) for make in c.inputs])  # running statistics
    module.eval()
    run = annx.jit(lambda *inputs: c.call(module, *inputs))
    with annx.no_grad():
        for _ in range(3):
            inputs = [make(rng) for make in c.inputs]
            assert bits(run(*inputs)) == bits(c.call(module, *inputs))
    assert run.captures == 1


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
@pytest.mark.parametrize("name", ["BatchNorm1d", "InstanceNorm1d", "Linear", "LayerNorm", "Conv2d"])
def test_other_dtypes(name: str, dtype: str) -> None:
    c = MODULES[name]
    other = getattr(annx, dtype)
    inputs = tuple([lambda rng, make=make: make(rng).to(other) for make in c.inputs])
    in_dtype = Case(lambda: c.make().to(other), inputs, c.call)
    assert train(True, in_dtype, momentum) == train(False, in_dtype, momentum)


MLP = case(
    lambda: nn.Sequential(
        nn.Linear(10, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3)
    ),
    real(8, 10),
)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name: str) -> None:
    assert train(True, MLP, OPTIMIZERS[name]) == train(False, MLP, OPTIMIZERS[name])


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name: str) -> None:
    schedule = SCHEDULES[name]
    assert train(True, MLP, momentum, schedule) == train(False, MLP, momentum, schedule)
