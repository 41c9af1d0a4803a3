"""What is not a number stays so: an activation that made one of it would hide where it began."""

from __future__ import annotations

from typing import Any

import annx
import numpy as np
import pytest
from annx import _core
from annx.nn import functional as F

ACTIVATIONS = (
    "celu elu gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish relu relu6 "
    "selu sigmoid silu softplus softshrink softsign tanh"
).split()
# Constant on both sides of where it bends: 0 is a gradient of theirs whatever the input.
FLAT = {"hardsigmoid", "hardtanh", "relu", "relu6", "hardshrink", "softshrink", "leaky_relu"}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_hand_nan_on(name: str, dtype: Any) -> None:
    array = np.linspace(-8, 8, 37).astype(dtype)
    array[::3] = np.nan
    function = getattr(F, name)
    before = _core.active_target()
    for target in _core.supported_targets():
        _core.set_target(target)
        try:
            x = annx.tensor(array, requires_grad=True)
            y = function(x)
            y.sum().backward()
            z = annx.tensor(array, requires_grad=True)
            (grad,) = annx.autograd.grad(function(z).sum(), [z], create_graph=True)
        finally:
            _core.set_target(before)
        np.testing.assert_array_equal(np.isnan(y.detach().numpy()), np.isnan(array))
        assert x.grad is not None
        assert grad is not None
        for found in (x.grad, grad.detach()):
            assert not np.isnan(found.numpy()[~np.isnan(array)]).any()
            if name not in FLAT:
                assert np.isnan(found.numpy()[::3]).all()
