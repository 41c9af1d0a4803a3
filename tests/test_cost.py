"""Floating-point operations and bytes by the ops' own counts."""

from __future__ import annotations

import annx
import pytest
from annx import _core, nn


def test_an_op_counts_by_its_formula_or_by_its_shapes():
    x, y = annx.ones(8, 4), annx.ones(4)
    assert _core.op_cost("add", x, y) == (32, 4 * (32 + 4 + 32))
    assert _core.op_cost("matmul", annx.ones(3, 5), annx.ones(5, 7))[0] == 2 * 3 * 5 * 7
    assert _core.op_cost("sum", x)[0] == 32


def test_views_are_free_and_copies_only_move():
    x = annx.ones(8, 4)
    assert _core.op_cost("transpose", x, 0, 1) == (0, 0)
    assert _core.op_cost("reshape", x, (4, 8)) == (0, 0)
    assert _core.op_cost("reshape", x.T, (32,)) == (0, 2 * x.nbytes)
    rows = annx.tensor([1, 5, 1])
    assert _core.op_cost("index_select", x, 0, rows) == (0, 2 * 3 * 16 + 24)
    assert _core.op_cost("concat", [x, x]) == (0, 4 * x.nbytes)
    assert _core.op_cost("full", (8, 4), 1.0) == (0, x.nbytes)


def test_a_composite_counts_by_its_parts():
    x = annx.ones(6, dtype=annx.int64)
    parts = [_core.op_cost("maximum", x, 0), _core.op_cost("minimum", x, 1)]
    assert _core.op_cost("clamp", x, 0, 1) == tuple(map(sum, zip(*parts, strict=True)))


def test_half_inputs_count_with_their_own_size():
    x = annx.ones(64).half()
    assert _core.op_cost("exp", x) == (64, 2 * 64 * 2)


def test_a_whole_step_is_counted_with_its_backward():
    layer, x = nn.Linear(16, 32), annx.ones(8, 16)
    forward, _ = _core.count_cost(lambda: layer(x))
    step, _ = _core.count_cost(lambda: layer(x).sum().backward())
    assert forward >= 2 * 8 * 16 * 32
    assert step >= forward + 2 * 8 * 16 * 32  # the gradient of the weight is one more product
    assert _core.count_cost(lambda: None) == (0, 0)


def test_a_failed_call_leaves_no_counter_behind():
    with pytest.raises(ValueError, match="expected the name of an op"):
        _core.op_cost("ad", 1)
    with pytest.raises(ValueError, match="broadcast"):
        _core.op_cost("add", annx.ones(2), annx.ones(3))
    inner = []

    def nested():
        annx.ones(4) + 1
        inner.append(_core.op_cost("add", annx.ones(4), 1.0))

    outer = _core.count_cost(nested)
    assert inner[0][0] == 4
    assert outer[0] == 4
