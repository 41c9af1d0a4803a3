"""Normalisation modules against PyTorch's numbers, and their outputs in both memory layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import annx
import numpy as np
import pytest
from annx import nn

GOLDENS = Path(__file__).parent / "goldens" / "normalization"
CASES = json.loads((GOLDENS / "cases.json").read_text())


@pytest.fixture(scope="module")
def values() -> dict[str, np.ndarray]:
    with np.load(GOLDENS / "values.npz") as file:
        return dict(file)


def close(actual: annx.Tensor | None, expected: np.ndarray) -> None:
    assert actual is not None
    np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_module_has_the_numbers_of_pytorch(
    case: dict[str, Any], values: dict[str, np.ndarray]
) -> None:
    name = case["name"]
    module = getattr(nn, case["kind"])(**case["kwargs"], dtype="float64")
    assert list(module.state_dict()) == case["state"]
    assert repr(module) == case["repr"]
    module.load_state_dict(
        {key: annx.tensor(values[f"{name}/before/{key}"]) for key in case["state"]}
    )
    for batch in range(2):
        module.train(not (case["evaluates"] and batch == 1))
        x = annx.tensor(values[f"{name}/{batch}/x"], requires_grad=True)
        module.zero_grad()
        out = module(x)
        close(out, values[f"{name}/{batch}/out"])
        out.backward(annx.tensor(values[f"{name}/{batch}/seed"]))
        close(x.grad, values[f"{name}/{batch}/grad"])
        for key, parameter in module.named_parameters():
            close(parameter.grad, values[f"{name}/{batch}/grad.{key}"])
    for key, value in module.state_dict().items():
        close(value, values[f"{name}/after/{key}"])


def test_rms_norm_epsilon_by_dtype() -> None:
    for dtype, epsilon in (("float32", 2.0**-23), ("float64", 2.0**-52), ("float16", 2.0**-23)):
        x = annx.full((1, 4), 2.0**-10, dtype=dtype)
        expected = 2.0**-10 / np.sqrt(2.0**-20 + epsilon)
        out = nn.functional.rms_norm(x, 4).to("float64").numpy()
        np.testing.assert_allclose(out, expected, rtol=1e-3 if dtype == "float16" else 1e-6)


MODULES = [
    lambda: nn.BatchNorm2d(6),
    lambda: nn.GroupNorm(3, 6),
    lambda: nn.InstanceNorm2d(6, affine=True, track_running_stats=True),
]


@pytest.mark.parametrize("make", MODULES, ids=["batch", "group", "instance"])
@pytest.mark.parametrize("shape", [(3, 6, 5, 7), (2, 6, 33, 40)])
def test_channels_last_keeps_its_layout_and_meaning(make: Any, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    data, seed = (rng.normal(size=shape).astype(np.float32) for _ in range(2))
    weight = annx.tensor(rng.normal(size=6).astype(np.float32))
    results = []
    for channels_last in (False, True):
        module = make()
        module.weight.copy_(weight)

        def placed(array: np.ndarray, last: bool = channels_last) -> annx.Tensor:
            if not last:
                return annx.tensor(array)
            rows = np.ascontiguousarray(array.transpose(0, 2, 3, 1))
            return annx.tensor(rows).permute(0, 3, 1, 2)

        x = placed(data).detach()
        x.requires_grad = True
        out = module(x)
        if channels_last:
            assert out.stride() == placed(data).stride()
        grads = annx.autograd.grad(out, [x, module.weight, module.bias], [placed(seed)])
        assert all(grad is not None for grad in grads)
        if channels_last:
            assert grads[0].stride() == x.stride()
        arrays = [out.detach(), *grads, *(value for _, value in module.named_buffers())]
        results.append([np.array(array.numpy()) for array in arrays])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)


def test_seed_in_another_layout() -> None:
    rng = np.random.default_rng(2)
    data, seed = (rng.normal(size=(2, 6, 4, 4)).astype(np.float32) for _ in range(2))
    rows = annx.tensor(np.ascontiguousarray(data.transpose(0, 2, 3, 1))).permute(0, 3, 1, 2)
    for x in (annx.tensor(data), rows.detach()):
        x.requires_grad = True
        module = nn.BatchNorm2d(6)
        (plain,) = annx.autograd.grad(module(x), [x], [annx.tensor(seed)])
        turned = annx.tensor(np.ascontiguousarray(seed.transpose(2, 3, 0, 1))).permute(2, 3, 0, 1)
        (other,) = annx.autograd.grad(module(x), [x], [turned])
        np.testing.assert_array_equal(plain.numpy(), other.numpy())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.GroupNorm(4, 6), ValueError, r"\[GroupNorm\] expected num_channels divisible"),
        (lambda: nn.GroupNorm(0, 6), ValueError, r"\[GroupNorm\] expected"),
        (lambda: nn.RMSNorm(-1), ValueError, r"\[RMSNorm\] expected normalized_shape"),
        (
            lambda: nn.InstanceNorm2d(3)(annx.ones((2, 3))),
            ValueError,
            r"\[InstanceNorm2d\] expected an input of 3 or 4 dimensions but got shape \(2, 3\)",
        ),
        (
            lambda: nn.InstanceNorm1d(3)(annx.ones((2, 3, 1))),
            ValueError,
            r"\[instance_norm\] expected more than 1 spatial element",
        ),
        (lambda: nn.BatchNorm2d(3)(annx.ones((2, 3))), ValueError, r"of 4 dimensions"),
        (lambda: nn.BatchNorm3d(3)(annx.ones((2, 3, 4, 4))), ValueError, r"of 5 dimensions"),
        (lambda: nn.GroupNorm(2, 4)(annx.ones((2, 6, 3))), ValueError, r"expected weight of shape"),
    ],
)
def test_errors(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("momentum", [None, 0.1])
def test_a_batch_that_is_refused_leaves_no_trace_in_statistics(momentum: float | None) -> None:
    norm = nn.BatchNorm1d(3, momentum=momentum)
    norm(annx.tensor(np.arange(12, dtype=np.float32).reshape(4, 3)))
    before = [b.tolist() for b in norm.buffers()]
    with pytest.raises(ValueError, match="more than 1 value per channel.*another batch_size"):
        norm(annx.ones(1, 3))
    assert [b.tolist() for b in norm.buffers()] == before
