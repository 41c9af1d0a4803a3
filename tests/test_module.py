"""Module: registration, state, conversion, hooks, copies, and errors that name it."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict

import annx
import numpy as np
import pytest
from annx import nn


class Block(nn.Module):
    def __init__(self, size=3):
        super().__init__()
        self.linear = nn.Linear(size, size)
        self.norm = nn.BatchNorm1d(size)
        self.scale = nn.Parameter(annx.ones((size,)))
        self.register_buffer("shift", annx.zeros((size,)))
        self.register_buffer("scratch", annx.ones((1,)), persistent=False)
        self.register_parameter("extra", None)
        self.note = "plain"

    def forward(self, x):
        return self.norm(self.linear(x)) * self.scale + self.shift


KEYS = ["scale", "shift", "linear.weight", "linear.bias", "norm.weight", "norm.bias"]
STATE_KEYS = [*KEYS, "norm.running_mean", "norm.running_var", "norm.num_batches_tracked"]


def snapshot(module):
    return {k: v.numpy().copy() for k, v in module.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all((a[k] == b[k]).all() for k in a)


# Registration


def test_what_is_registered_and_in_which_order():
    block = Block()
    assert list(block.state_dict()) == STATE_KEYS
    names = [name for name, _ in block.named_parameters()]
    assert names == ["scale", "linear.weight", "linear.bias", "norm.weight", "norm.bias"]
    assert [name for name, _ in block.named_buffers()] == ["shift", "scratch", *STATE_KEYS[6:]]
    assert [name for name, _ in block.named_modules()] == ["", "linear", "norm"]
    assert [name for name, _ in block.named_children()] == ["linear", "norm"]
    assert list(block.children()) == [block.linear, block.norm]
    assert [n for n, _ in block.named_parameters("p", recurse=False)] == ["p.scale"]
    assert len(list(block.parameters())) == 5
    assert block.extra is None


def test_assignment_moves_names_between_registries():
    block = Block()
    block.scale = None
    assert "scale" not in block.state_dict()
    block.scale = nn.Parameter(annx.zeros((2,)))
    assert next(iter(block.state_dict())) == "scale"
    block.note = nn.Parameter(annx.zeros((2,)))
    block.linear = nn.Parameter(annx.zeros((2,)))
    assert "linear" in dict(block.named_parameters())
    assert [name for name, _ in block.named_children()] == ["norm"]
    block.fresh = nn.Buffer(annx.zeros((2,)))
    block.hidden = nn.Buffer(annx.zeros((2,)), persistent=False)
    assert "fresh" in block.state_dict()
    assert "hidden" not in block.state_dict()
    assert "hidden" in dict(block.named_buffers())
    block.shift = annx.ones((3,))
    assert (block.state_dict()["shift"].numpy() == 1).all()


def test_deletion():
    block = Block()
    del block.scale, block.shift, block.linear, block.note
    assert list(block.state_dict()) == STATE_KEYS[4:]
    assert not hasattr(block, "linear")
    with pytest.raises(AttributeError):
        del block.linear


REGISTRATION_ERRORS = [
    (lambda b: setattr(b, "scale", annx.ones((3,))), TypeError, "expected a Parameter or None"),
    (lambda b: setattr(b, "linear", 3), TypeError, "expected a Module or None for linear but got"),
    (lambda b: setattr(b, "shift", 3.0), TypeError, "expected a Tensor or None for shift but got"),
    (lambda b: b.register_parameter("w", annx.ones((1,))), TypeError, "Parameter or None for w"),
    (lambda b: b.register_buffer("w", 1.0), TypeError, "a Tensor or None for w but got float"),
    (lambda b: b.register_module("w", 1.0), TypeError, "a Module or None for w but got float"),
    (lambda b: b.register_parameter("note", None), KeyError, "expected a new name but got 'note'"),
    (lambda b: b.register_buffer("scale", None), KeyError, "expected a new name but got 'scale'"),
    (lambda b: b.add_module("forward", None), KeyError, "expected a new name but got 'forward'"),
    (lambda b: b.register_buffer("a.b", None), KeyError, "without dots but got 'a.b'"),
    (lambda b: b.register_module("", None), KeyError, "without dots but got ''"),
    (lambda b: b.register_module(3, None), TypeError, "expected a string as name but got int"),
    (lambda b: setattr(b, "train", nn.Identity()), KeyError, "Module does not use but got 'train'"),
    (lambda b: b.get_submodule("linear.x"), AttributeError, "'linear.x' but got Linear without"),
    (lambda b: b.get_parameter("linear.x"), AttributeError, r"\[get_parameter\] .* 'x' for Linear"),
    (lambda b: b.get_parameter("shift"), AttributeError, r"\[get_parameter\] .* 'shift' for Block"),
    (lambda b: b.get_buffer("scale"), AttributeError, r"\[get_buffer\] .* 'scale' for Block"),
    (lambda b: b.train(1), ValueError, r"\[train\] expected a bool but got int"),
    (lambda b: b.to(annx.int64), TypeError, r"\[Module.to\] expected a floating-point dtype"),
    (lambda b: b.to(colour="red"), TypeError, r"\[Module.to\] expected .* got 'colour'"),
]


@pytest.mark.parametrize(("call", "kind", "message"), REGISTRATION_ERRORS)
def test_registration_errors_leave_the_module_alone(call, kind, message):
    block = Block()
    before = snapshot(block)
    with pytest.raises(kind, match=message):
        call(block)
    assert same(snapshot(block), before)


def test_assigning_before_init_says_what_is_missing():
    class Early(nn.Module):
        def __init__(self):
            self.size = 3
            self.linear = nn.Linear(3, 3)

    with pytest.raises(AttributeError, match=r"\[Early\] expected super\(\).__init__\(\) before"):
        Early()


def test_lookup_by_dotted_name():
    model = nn.Sequential(Block(), nn.ModuleList([Block()]))
    assert model.get_submodule("") is model
    assert model.get_submodule("1.0.linear") is model[1][0].linear
    assert model.get_parameter("1.0.linear.weight") is model[1][0].linear.weight
    assert model.get_buffer("0.norm.running_var") is model[0].norm.running_var


def test_shared_modules_and_parameters_are_walked_once():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = first.weight
    model = nn.Sequential(first, second, first)
    assert [n for n, _ in model.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    assert [n for n, _ in model.named_modules()] == ["", "0", "1"]
    every = [n for n, _ in model.named_parameters(remove_duplicate=False)]
    assert every == [f"{i}.{n}" for i in range(3) for n in ("weight", "bias")]
    assert list(model.state_dict()) == every


# State


def test_state_dict_shares_memory_and_is_detached():
    block = Block()
    state = block.state_dict(prefix="model.")
    assert list(state) == ["model." + key for key in STATE_KEYS]
    assert state["model.scale"].data_ptr() == block.scale.data_ptr()
    assert not state["model.scale"].requires_grad
    assert block.state_dict(keep_vars=True)["scale"] is block.scale
    collected = {"x": annx.ones((1,))}
    assert block.state_dict(destination=collected) is collected
    assert list(collected) == ["x", *STATE_KEYS]


def test_load_state_dict_copies_into_the_same_tensors():
    source, target = Block(), Block()
    source(annx.randn((4, 3)))
    kept = dict(target.named_parameters())
    result = target.load_state_dict(source.state_dict())
    assert result.missing_keys == []
    assert result.unexpected_keys == []
    assert same(snapshot(source), snapshot(target))
    assert all(kept[name] is value for name, value in target.named_parameters())
    source.scale.detach().fill_(9.0)
    assert (target.scale.detach().numpy() == 1).all()


def test_load_state_dict_takes_arrays_and_converts():
    layer = nn.Linear(2, 1)
    layer.load_state_dict({"weight": np.array([[1.5, 2.5]]), "bias": np.array([3], np.int64)})
    assert layer.weight.dtype == annx.float32
    assert layer.weight.tolist() == [[1.5, 2.5]]
    assert layer.bias.tolist() == [3.0]


def test_load_state_dict_lists_every_problem_and_writes_nothing():
    block = Block()
    before = snapshot(block)
    state = dict(Block().state_dict())
    state["linear.weight"] = annx.ones((3, 4))
    state["norm.bias"] = annx.ones((2,))
    state["scale"] = "not a tensor"
    state["surplus"] = state.pop("shift")
    with pytest.raises(RuntimeError) as caught:
        block.load_state_dict(state)
    message = str(caught.value)
    assert message.startswith("[load_state_dict] expected a state_dict that fits Block but got")
    assert 'missing keys: "shift"' in message
    assert 'unexpected keys: "surplus"' in message
    assert "linear.weight: expected shape (3, 3) but got (3, 4)" in message
    assert "norm.bias: expected shape (3,) but got (2,)" in message
    assert "scale: expected a tensor but got str" in message
    assert same(snapshot(block), before)


def test_load_state_dict_not_strict():
    block = Block()
    result = block.load_state_dict({"scale": annx.zeros((3,)), "other": 1}, strict=False)
    assert result.unexpected_keys == ["other"]
    assert result.missing_keys == STATE_KEYS[1:]
    assert (block.scale.detach().numpy() == 0).all()
    with pytest.raises(RuntimeError, match="scale: expected shape"):
        block.load_state_dict({"scale": annx.zeros((4,))}, strict=False)
    with pytest.raises(TypeError, match="expected a dict but got list"):
        block.load_state_dict([1])


def test_train_and_eval_reach_every_module_through_overrides():
    class Frozen(nn.BatchNorm1d):
        def train(self, mode=True):
            return super().train(False)

    model = nn.Sequential(Block(), nn.ModuleList([Frozen(2), nn.Dropout()]))
    assert model.eval() is model
    assert not any(module.training for module in model.modules())
    model.train()
    assert model[0].norm.training
    assert model[1][1].training
    assert not model[1][0].training


def test_requires_grad_zero_grad_and_apply():
    block = Block()
    block(annx.randn((4, 3))).sum().backward()
    assert all(p.grad is not None for p in block.parameters())
    block.zero_grad(set_to_none=False)
    assert all((p.grad.numpy() == 0).all() for p in block.parameters())
    block.zero_grad()
    assert all(p.grad is None for p in block.parameters())
    assert block.requires_grad_(False) is block
    assert not any(p.requires_grad for p in block.parameters())
    assert not block(annx.randn((4, 3))).requires_grad
    seen = []
    assert block.apply(lambda m: seen.append(m)) is block
    assert seen == [block.linear, block.norm, block]


# Conversion


@pytest.mark.parametrize("name", ["float64", "float16", "bfloat16"])
def test_conversion_keeps_the_tensors_and_spares_integers(name):
    dtype = getattr(annx, name)
    model = Block()
    second = nn.Linear(3, 3)
    second.weight = model.linear.weight
    model.tied = second
    parameters, weight = list(model.parameters()), model.linear.weight.detach().numpy().copy()
    method = {"float64": "double", "float16": "half", "bfloat16": "bfloat16"}[name]
    assert getattr(model, method)() is model
    assert all(p.dtype == dtype and p.is_leaf and p.requires_grad for p in parameters)
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    assert model.tied.weight is model.linear.weight
    assert model.norm.running_mean.dtype == dtype
    assert model.norm.num_batches_tracked.dtype == annx.int64
    model.to(annx.float32)
    assert model.norm.running_mean.dtype == annx.float32
    got = model.linear.weight.detach().numpy()
    if name == "float64":
        assert (got == weight).all()
    else:
        np.testing.assert_allclose(got, weight, rtol=2**-8)


def test_a_converted_model_trains():
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    x = annx.ones((4, 2), dtype=annx.float64)
    model(x).sum().backward()
    assert model[0].weight.grad.dtype == annx.float64
    model.float()
    assert model[0].weight.grad.dtype == annx.float32
    model(annx.ones((4, 2))).sum().backward()
    assert model.to("cpu") is model.to(device="cpu", dtype=annx.float32) is model
    assert model.to(annx.ones((1,), dtype=annx.float64))[0].weight.dtype == annx.float64


# Copies


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_whole_and_apart(duplicate):
    model = nn.Sequential(Block(), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].linear.weight
    model[0].extra_buffer = nn.Buffer(annx.ones((2,)), persistent=False)
    model[0].linear.bias.requires_grad = False
    model[0].eval()
    twin = duplicate(model)
    assert same(snapshot(model), snapshot(twin))
    assert repr(twin) == repr(model)
    assert all(type(p) is nn.Parameter for p in twin.parameters())
    assert twin[1].weight is twin[0].linear.weight
    assert [p.requires_grad for p in twin.parameters()] == [
        p.requires_grad for p in model.parameters()
    ]
    assert type(twin[0].extra_buffer) is nn.Buffer
    assert "0.extra_buffer" not in twin.state_dict()
    assert not twin[0].training
    twin[1].weight.detach().fill_(5.0)
    assert (model[1].weight.detach().numpy() != 5).all()
    twin(annx.randn((4, 3))).sum().backward()
    assert model[1].weight.grad is None


def test_parameter_is_a_leaf_that_shares_memory():
    data = annx.ones((2, 3))
    parameter = nn.Parameter(data)
    assert isinstance(parameter, annx.Tensor)
    assert parameter.is_leaf
    assert parameter.requires_grad
    assert parameter.data_ptr() == data.data_ptr()
    assert not nn.Parameter(data, requires_grad=False).requires_grad
    assert repr(parameter).startswith("Parameter containing:\ntensor(")
    assert type(parameter * 2) is annx.Tensor
    with pytest.raises(RuntimeError):
        nn.Parameter(annx.tensor([1, 2]))


def test_assigning_data_replaces_values_and_keeps_the_object():
    parameter = nn.Parameter(annx.zeros((2,)))
    parameter.data = annx.ones((3,), dtype=annx.float64)
    assert parameter.tolist() == [1.0, 1.0, 1.0]
    assert parameter.dtype == annx.float64
    assert parameter.requires_grad
    assert parameter.is_leaf
    assert not parameter.data.requires_grad
    assert parameter.data.data_ptr() == parameter.data_ptr()
    with pytest.raises(TypeError, match=r"\[data\] expected a floating dtype .* int64"):
        parameter.data = annx.tensor([1])
    with pytest.raises(TypeError, match=r"\[data\] expected a Tensor but got int"):
        parameter.data = 3
    with pytest.raises(RuntimeError, match=r"\[data\] expected a leaf"):
        (parameter * 2).data = parameter


# Hooks


def test_forward_hooks_run_in_order_and_may_replace():
    layer, log = nn.Identity(), []
    x = annx.ones((2,))
    first = layer.register_forward_pre_hook(lambda m, args: log.append("pre") or (args[0] + 1,))
    layer.register_forward_pre_hook(lambda m, args: log.append("first"), prepend=True)
    layer.register_forward_hook(lambda m, args, out: log.append((m, args[0].tolist())))
    last = layer.register_forward_hook(lambda m, args, out: out * 10)
    assert layer(x).tolist() == [20, 20]
    assert log == ["first", "pre", (layer, [2, 2])]
    first.remove()
    last.remove()
    last.remove()
    assert layer(x).tolist() == [1, 1]


def test_a_module_whose_hooks_are_removed_is_as_fast_as_before():
    layer = nn.Identity()
    layer.register_forward_hook(lambda m, args, out: out).remove()
    layer(annx.ones((1,)))
    assert layer._hooks is None
    layer.register_forward_hook(lambda m, args, out: out * 2)
    assert layer(annx.ones((1,))).item() == 2


def test_hooks_with_keyword_arguments():
    class Scale(nn.Module):
        def forward(self, x, factor=1.0):
            return x * factor

    layer, seen = Scale(), []
    layer.register_forward_pre_hook(
        lambda m, args, kwargs: (args, {"factor": kwargs["factor"] + 1}), with_kwargs=True
    )
    layer.register_forward_hook(
        lambda m, args, kwargs, out: seen.append(kwargs["factor"]), with_kwargs=True
    )
    assert layer(annx.ones((1,)), factor=2.0).tolist() == [3.0]
    assert seen == [3.0]
    broken = Scale()
    broken.register_forward_pre_hook(lambda m, args, kwargs: 3, with_kwargs=True)
    with pytest.raises(TypeError, match=r"\(args, kwargs\) but got int \(in Scale\(\)\)"):
        broken(annx.ones((1,)))


def test_handle_as_context_manager():
    layer, calls = nn.Identity(), []
    with layer.register_forward_hook(lambda *a: calls.append(1)):
        layer(annx.ones((1,)))
    layer(annx.ones((1,)))
    assert calls == [1]


def test_full_backward_hooks_see_and_replace_gradients():
    layer, seen = nn.Linear(3, 2), []
    weight = layer.weight.detach().numpy()
    layer.register_full_backward_pre_hook(lambda m, g: (g[0] * 2,))
    layer.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go)))
    layer.register_full_backward_hook(lambda m, gi, go: (gi[0] * 10,))
    x = annx.ones((1, 3)).requires_grad_()
    layer(x).sum().backward()
    [(grad_input, grad_output)] = seen
    assert grad_output[0].tolist() == [[2, 2]]
    np.testing.assert_allclose(grad_input[0].numpy(), 2 * weight.sum(0, keepdims=True), rtol=1e-6)
    np.testing.assert_allclose(x.grad.numpy(), 20 * weight.sum(0, keepdims=True), rtol=1e-6)
    assert layer.bias.grad.tolist() == [2, 2]


def test_full_backward_hook_without_input_gradient():
    layer, seen = nn.Bilinear(3, 2, 2), []
    handle = layer.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go[0].shape)))
    layer(annx.ones((1, 3)), annx.ones((1, 2))).sum().backward()
    assert seen == [((None, None), (1, 2))]
    with annx.no_grad():
        layer(annx.ones((1, 3)), annx.ones((1, 2)))
    handle.remove()
    layer(annx.ones((1, 3)), annx.ones((1, 2))).sum().backward()
    assert len(seen) == 1


def test_full_backward_hook_with_several_tensors():
    class Swap(nn.Module):
        def forward(self, a, b):
            return {"first": b * 3, "second": a * 2}

    layer, seen = Swap(), []
    layer.register_full_backward_hook(
        lambda m, gi, go: seen.append([None if g is None else g.tolist() for g in (*gi, *go)])
    )
    a, b = annx.ones((1,)).requires_grad_(), annx.ones((1,))
    out = layer(a, b)
    (out["first"] + out["second"] * 5).sum().backward()
    assert seen == [[[10.0], None, None, [5.0]]]
    layer.register_full_backward_hook(lambda m, gi, go: (None,))
    with pytest.raises(RuntimeError, match="expected 2 gradients but got 1"):
        layer(a, b)["second"].sum().backward()


def test_hooks_survive_a_copy():
    layer = nn.Identity()
    layer.register_forward_hook(lambda m, args, out: out + 1)
    twin = copy.deepcopy(layer)
    twin.register_forward_hook(lambda m, args, out: out * 10)
    assert twin(annx.ones((1,))).item() == 20
    assert layer(annx.ones((1,))).item() == 2


# Errors that name the module


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(
            nn.Linear(4, 4), nn.ReLU(), nn.Sequential(OrderedDict(linear=nn.Linear(3, 2)))
        )
        self.blocks = nn.ModuleList([nn.Identity(), nn.Linear(5, 5)])
        self.table = nn.ModuleDict({"tail": nn.Linear(6, 6)})
        self.path = "model"

    def forward(self, x):
        if self.path == "model":
            return self.model(x)
        if self.path == "blocks":
            return self.blocks[1](x)
        if self.path == "table":
            return self.table["tail"](x)
        raise KeyError("own")


def test_an_error_carries_the_path_of_its_module():
    net = Net()
    x = annx.ones((2, 4))
    linear = r"Linear\(in_features={0}, out_features={1}, bias=True\)\)$"
    with pytest.raises(ValueError, match=r"\(in model.2.linear: " + linear.format(3, 2)) as caught:
        net(x)
    assert str(caught.value).startswith("[linear] expected")
    net.path = "blocks"
    with pytest.raises(ValueError, match=r"\(in blocks.1: " + linear.format(5, 5)):
        net(x)
    net.path = "table"
    with pytest.raises(ValueError, match=r"\(in table.tail: " + linear.format(6, 6)):
        net(x)
    with pytest.raises(ValueError, match=r"\(in 2.linear: Linear"):
        net.model(x)
    with pytest.raises(ValueError, match=r"but got [^(]*\([^(]*\)?[^(]* \(in Linear\("):
        net.blocks[1](x)
    net.path = "other"
    with pytest.raises(KeyError) as caught:
        net(x)
    assert caught.value.args == ("own (in Net)",)


def test_an_error_from_a_module_that_is_not_registered_keeps_its_own_name():
    class Loose(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = [nn.Sequential(nn.Linear(3, 3))]

        def forward(self, x):
            return self.hidden[0](x)

    with pytest.raises(ValueError, match=r"\(in outer.0: Linear|\(in 0: Linear"):
        Loose()(annx.ones((2, 4)))


def test_errors_of_other_shapes_pass_untouched():
    class Raises(nn.Module):
        def forward(self, error):
            raise error

    layer = nn.Sequential(Raises())
    others = (OSError(2, "no such file"), ValueError(), ValueError("text", 3), KeyError(4))
    for error in others:
        args = error.args
        with pytest.raises(type(error)) as caught:
            layer(error)
        assert caught.value is error
        assert error.args == args


def test_a_module_without_forward():
    with pytest.raises(AttributeError, match=r"forward.*\(in Module\(\)\)"):
        nn.Module()(1)


def test_repr_of_several_lines():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.ReLU())

        def extra_repr(self):
            return "one=1,\ntwo=2"

    expected = "Own(\n  one=1,\n  two=2\n  (inner): Sequential(\n    (0): ReLU()\n  )\n)"
    assert repr(Own()) == expected
