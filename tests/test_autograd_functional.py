"""Transforms over pytrees, PyTorch-style gradients, recording switches, custom gradients."""

from __future__ import annotations

from collections import OrderedDict, namedtuple

import annx
import numpy as np
import pytest
from annx import nn, pytree
from annx.autograd import grad as torch_style_grad

Point = namedtuple("Point", "x y")


def f64(values, requires_grad=False):
    made = annx.tensor(values, dtype=annx.float64)
    return made.requires_grad_() if requires_grad else made


# Pytrees

TREES = [
    3,
    None,
    [],
    {},
    (1, [2, (3,)], {"b": 4, "a": None}),
    Point(1, {"k": [2, 3]}),
    OrderedDict(z=1, a=(2, None)),
]


@pytest.mark.parametrize("tree", TREES)
def test_flatten_and_unflatten_are_inverse(tree):
    leaves, treedef = pytree.flatten(tree)
    again = pytree.unflatten(treedef, leaves)
    assert again == tree
    assert type(again) is type(tree)
    assert treedef.num_leaves == len(leaves) == len(pytree.leaves(tree))
    assert treedef == pytree.flatten(tree)[1]
    assert hash(treedef) == hash(pytree.flatten(tree)[1])


def test_structures_differ():
    defs = [pytree.flatten(tree)[1] for tree in [*TREES, [3], (3,), {"a": 3}, {"b": 3}]]
    assert len(set(defs)) == len(defs)
    assert all((a == b) == (a is b) for a in defs for b in defs)
    assert defs[0] != 3
    assert "Point" in repr(pytree.flatten(Point(1, 2))[1])


def test_map_matches_dictionaries_by_key():
    got = pytree.map(lambda a, b: a - b, {"x": 5, "y": [7]}, {"y": [1], "x": 2})
    assert got == {"x": 3, "y": [6]}
    assert pytree.map(lambda a: a + 1, Point(1, None)) == Point(2, None)


@pytest.mark.parametrize("other", [{"x": 1}, {"x": 1, "z": [2]}, {"x": 1, "y": [2, 3]}, [1, [2]]])
def test_map_refuses_another_structure(other):
    with pytest.raises(ValueError, match=r"\[pytree.map\] expected a tree like"):
        pytree.map(lambda a, b: a, {"x": 1, "y": [2]}, other)


def test_unflatten_counts_leaves():
    _, treedef = pytree.flatten([1, 2])
    with pytest.raises(ValueError, match="expected 2 leaves but got 3"):
        pytree.unflatten(treedef, [1, 2, 3])


# grad and value_and_grad


def test_gradient_of_a_tree():
    def loss(params, x):
        return ((params["w"] * x).sum() + params["b"][0]) ** 2

    params = {"w": f64([1.0, 2.0]), "b": (f64(0.5), f64(9.0))}
    value, grads = annx.value_and_grad(loss)(params, f64([3.0, 4.0]))
    assert value.item() == 11.5**2
    assert not value.requires_grad
    assert grads["w"].tolist() == [2 * 11.5 * 3, 2 * 11.5 * 4]
    assert grads["b"][0].item() == 23.0
    assert grads["b"][1].item() == 0.0
    assert not params["w"].requires_grad
    only = annx.grad(loss)(params, f64([3.0, 4.0]))
    assert only["w"].tolist() == grads["w"].tolist()


def test_argnums():
    def f(a, b, c):
        return (a * a * b).sum() + 0 * c.sum()

    a, b, c = f64([2.0]), f64([3.0]), f64([4.0])
    assert annx.grad(f, argnums=1)(a, b, c).tolist() == [4.0]
    first, last = annx.grad(f, argnums=(0, -1))(a, b, c)
    assert first.tolist() == [12.0]
    assert last.tolist() == [0.0]
    assert len(annx.grad(f, argnums=(1,))(a, b, c)) == 1
    for bad in (3, -4, (0, 3)):
        with pytest.raises(ValueError, match="expected argnums below the 3 positional"):
            annx.grad(f, argnums=bad)(a, b, c)


def test_numbers_arrays_and_keywords():
    gradient = annx.grad(lambda x, scale: (x * x * scale).sum())
    assert gradient(3.0, scale=2.0).item() == 12.0
    assert gradient(np.array([1.0, 2.0]), scale=1.0).tolist() == [2.0, 4.0]


def test_aux():
    def f(x):
        return (x * x).sum(), {"double": x * 2, "name": "aux"}

    (value, aux), gradient = annx.value_and_grad(f, has_aux=True)(f64([3.0]))
    assert value.item() == 9.0
    assert gradient.tolist() == [6.0]
    assert aux["double"].tolist() == [6.0]
    assert not aux["double"].requires_grad
    assert aux["name"] == "aux"
    gradient, aux = annx.grad(f, has_aux=True)(f64([3.0]))
    assert gradient.tolist() == [6.0]
    assert aux["name"] == "aux"


def test_derivatives_of_higher_order():
    def f(x):
        return x**4

    third = annx.grad(annx.grad(annx.grad(f)))
    assert third(f64(2.0)).item() == pytest.approx(48.0, rel=1e-14)
    assert annx.grad(annx.grad(annx.sin))(f64(0.5)).item() == pytest.approx(-np.sin(0.5))


def test_inner_gradient_depends_on_a_captured_outer_variable():
    def outer(x):
        inner = annx.grad(lambda y: x * x * y * y)
        return inner(f64(3.0))

    assert outer(f64(2.0)).item() == 24.0
    assert annx.grad(outer)(f64(2.0)).item() == 24.0
    assert annx.grad(annx.grad(outer))(f64(2.0)).item() == 12.0


def test_transforms_see_through_a_recorded_argument():
    x = f64(3.0, requires_grad=True)
    g = annx.grad(lambda y: y * y * y)(x * 2.0)
    assert g.item() == 3 * 36.0
    g.backward()
    assert x.grad.item() == 6 * 6.0 * 2.0


def test_a_parameter_is_differentiated_without_touching_its_grad():
    layer = nn.Linear(2, 1)

    def loss(weight, x):
        return annx.nn.functional.linear(x, weight).sum()

    gradient = annx.grad(loss)(layer.weight, annx.ones((3, 2)))
    assert gradient.tolist() == [[3.0, 3.0]]
    assert not gradient.requires_grad
    assert layer.weight.grad is None


def test_transforms_record_inside_no_grad():
    with annx.no_grad():
        assert annx.grad(lambda x: x * x)(f64(3.0)).item() == 6.0
        assert not annx.is_grad_enabled()


def test_a_constant_function_has_gradient_zero():
    value, gradient = annx.value_and_grad(lambda x: f64(5.0))(f64([1.0, 2.0]))
    assert value.item() == 5.0
    assert gradient.tolist() == [0.0, 0.0]
    assert annx.grad(lambda tree: f64(5.0))([]) == []


TRANSFORM_ERRORS = [
    (lambda: annx.grad(lambda x: x)(f64([1.0])), ValueError, r"scalar result but got shape \(1,\)"),
    (lambda: annx.grad(lambda x: 1.0)(f64(1.0)), TypeError, "Tensor as result but got float"),
    (lambda: annx.grad(lambda x: x > 0)(f64(1.0)), TypeError, "Tensor as result but got .*bool"),
    (lambda: annx.grad(lambda x: x)(annx.tensor([1])), TypeError, "differentiate by but got"),
    (lambda: annx.grad(lambda x: x, has_aux=True)(f64(1.0)), TypeError, r"pair \(value, aux\)"),
]


@pytest.mark.parametrize(("call", "kind", "message"), TRANSFORM_ERRORS)
def test_transform_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
    # The nesting is undone: results stay off the tape.
    assert not annx.grad(lambda x: x * x)(f64(3.0)).requires_grad


# autograd.grad


def test_grad_of_leaves_and_computed_tensors():
    x = f64([1.0, 2.0], requires_grad=True)
    y = x * x
    z = (y * 3).sum()
    gx, gy = torch_style_grad(z, [x, y])
    assert gx.tolist() == [6.0, 12.0]
    assert gy.tolist() == [3.0, 3.0]
    assert x.grad is None


def test_grad_outputs_weigh_the_outputs():
    x = f64([1.0, 2.0], requires_grad=True)
    outputs = [x * x, (x * 3).sum()]
    (g,) = torch_style_grad(outputs, x, [f64([10.0, 1.0]), None])
    assert g.tolist() == [23.0, 7.0]
    (g,) = torch_style_grad(x * x, x, f64([1.0, 1.0]))
    assert g.tolist() == [2.0, 4.0]


def test_create_graph_gives_second_derivatives():
    x = f64(2.0, requires_grad=True)
    (first,) = torch_style_grad(x * x * x, x, create_graph=True)
    (second,) = torch_style_grad(first, x)
    assert (first.item(), second.item()) == (12.0, 12.0)


def test_retain_graph():
    x = f64(2.0, requires_grad=True)
    y = annx.exp(x) * x
    (first,) = torch_style_grad(y, x, retain_graph=True)
    (again,) = torch_style_grad(y, x)
    assert first.item() == again.item()
    with pytest.raises(RuntimeError):
        torch_style_grad(y, x)


def test_unused_inputs():
    x, other = f64(2.0, requires_grad=True), f64([1.0, 1.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="allow_unused"):
        torch_style_grad(x * x, [x, other])
    assert torch_style_grad(x * x, [x, other], allow_unused=True)[1] is None
    zeros = torch_style_grad(x * x, [x, other], materialize_grads=True)[1]
    assert zeros.tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="allow_unused=True with materialize_grads=True"):
        torch_style_grad(x * x, x, allow_unused=False, materialize_grads=True)
    with pytest.raises(ValueError, match="expected 1 grad_outputs but got 2"):
        torch_style_grad(x * x, x, [None, None])


# Recording switches


def test_modes_nest_and_return():
    x = f64(1.0, requires_grad=True)
    with annx.no_grad():
        assert not (x * 2).requires_grad
        with annx.enable_grad():
            assert (x * 2).requires_grad
        assert not annx.is_grad_enabled()
    assert (x * 2).requires_grad
    with pytest.raises(KeyError), annx.no_grad():
        raise KeyError("x")
    assert annx.is_grad_enabled()


@pytest.mark.parametrize("decorate", [annx.no_grad, annx.no_grad()])
def test_modes_decorate(decorate):
    x = f64(1.0, requires_grad=True)

    @decorate
    def double(value, *, times=2):
        """Doc."""
        assert not annx.is_grad_enabled()
        return double(value, times=times - 1) if times > 1 else value * 2

    assert not double(x).requires_grad
    assert annx.is_grad_enabled()
    assert double.__name__ == "double"
    assert double.__doc__ == "Doc."
    with annx.no_grad():
        assert annx.enable_grad(lambda: x * 2)().requires_grad
        assert annx.enable_grad()(lambda: x * 2)().requires_grad


def test_set_grad_enabled():
    annx.set_grad_enabled(False)
    assert not annx.is_grad_enabled()
    annx.set_grad_enabled(True)
    with annx.set_grad_enabled(False):
        assert not annx.is_grad_enabled()
    assert annx.is_grad_enabled()

    @annx.set_grad_enabled(False)
    def off():
        return annx.is_grad_enabled()

    assert annx.is_grad_enabled()
    assert off() is False
    assert annx.is_grad_enabled()


def test_a_generator_function_cannot_be_decorated():
    with pytest.raises(TypeError, match="generator function"):

        @annx.no_grad
        def numbers():
            yield 1


# custom_gradient


@annx.custom_gradient
def log1pexp(x):
    e = annx.exp(x)
    return annx.log(1 + e), lambda upstream: upstream * (1 - 1 / (1 + e))


def test_custom_gradient_is_used():
    x = f64([100.0, 0.0], requires_grad=True)
    log1pexp(x).sum().backward()
    assert x.grad.tolist() == [1.0, 0.5]
    assert not log1pexp(x.detach()).requires_grad
    with annx.no_grad():
        assert not log1pexp(x).requires_grad
    assert log1pexp.__name__ == "log1pexp"


def test_custom_gradient_may_lie():
    lie = annx.custom_gradient(lambda x: (x * 2, lambda g: g * 7))
    assert annx.grad(lambda x: lie(x * 3))(f64(1.0)).item() == 21.0


def test_custom_gradient_of_higher_order():
    s = 1 / (1 + np.exp(-0.3))
    first = annx.grad(log1pexp)
    assert first(f64(0.3)).item() == pytest.approx(s, rel=1e-14)
    assert annx.grad(first)(f64(0.3)).item() == pytest.approx(s * (1 - s), rel=1e-12)
    third = annx.grad(annx.grad(first))(f64(0.3)).item()
    assert third == pytest.approx(s * (1 - s) * (1 - 2 * s), rel=1e-12)


def test_custom_gradient_with_several_arguments_and_results():
    @annx.custom_gradient
    def both(a, power, b, *, scale):
        def gradient(g_sum, g_product):
            return g_sum + g_product * b, (g_sum + g_product * a) * scale

        return (a + b, a * b**power), gradient

    a, b = f64(2.0, requires_grad=True), f64(3.0, requires_grad=True)
    total, product = both(a, 1, b, scale=10.0)
    assert (total.item(), product.item()) == (5.0, 6.0)
    product.backward()
    assert (a.grad.item(), b.grad.item()) == (3.0, 20.0)


def test_custom_gradient_skips_integers_and_constants():
    @annx.custom_gradient
    def pick(table, index):
        return table[index], lambda g: annx.ones((3,), dtype=annx.float64) * g

    table = f64([1.0, 2.0, 3.0], requires_grad=True)
    pick(table, annx.tensor(1)).backward()
    assert table.grad.tolist() == [1.0, 1.0, 1.0]

    product = annx.custom_gradient(lambda a, b: (a * b, lambda g: (g * b, None)))
    x = f64(2.0, requires_grad=True)
    product(x, f64(5.0)).backward()
    assert x.grad.item() == 5.0


def test_custom_gradient_errors():
    x = f64(1.0, requires_grad=True)
    with pytest.raises(TypeError, match=r"\[<lambda>\] expected a pair .* but got Tensor"):
        annx.custom_gradient(lambda x: x)(x)
    two = annx.custom_gradient(lambda x: (x * 1, lambda g: (g, g)))
    with pytest.raises(ValueError, match="expected 1 gradients, one for each Tensor argument"):
        two(x).backward()
