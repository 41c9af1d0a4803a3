"""annx: a small native neural-network library.

Tensors with gradients, layers, losses, optimizers and a ``fit`` loop over kernels of its own;
NumPy is the only dependency.
"""

from __future__ import annotations

from annx import _core as _core
from annx import _tensor as _tensor_methods
from annx._core import Tensor as Tensor
from annx._core import bfloat16 as bfloat16
from annx._core import bool_ as bool_
from annx._core import device as device
from annx._core import dtype as dtype
from annx._core import float16 as float16
from annx._core import float32 as float32
from annx._core import float64 as float64
from annx._core import int32 as int32
from annx._core import int64 as int64
from annx._core import uint8 as uint8

_tensor_methods.install()

from annx import autograd as autograd  # noqa: E402
from annx import backends as backends  # noqa: E402
from annx import cuda as cuda  # noqa: E402
from annx import nn as nn  # noqa: E402
from annx import optim as optim  # noqa: E402
from annx._checkpoint import checkpoint as checkpoint  # noqa: E402
from annx._compare import allclose as allclose  # noqa: E402
from annx._compare import broadcast_shapes as broadcast_shapes  # noqa: E402
from annx._compare import broadcast_tensors as broadcast_tensors  # noqa: E402
from annx._compare import broadcast_to as broadcast_to  # noqa: E402
from annx._compare import einsum as einsum  # noqa: E402
from annx._compare import equal as equal  # noqa: E402
from annx._compare import hstack as hstack  # noqa: E402
from annx._compare import is_floating_point as is_floating_point  # noqa: E402
from annx._compare import is_tensor as is_tensor  # noqa: E402
from annx._compare import meshgrid as meshgrid  # noqa: E402
from annx._compare import numel as numel  # noqa: E402
from annx._compare import vstack as vstack  # noqa: E402
from annx._creation import arange as arange  # noqa: E402
from annx._creation import as_tensor as as_tensor  # noqa: E402
from annx._creation import bernoulli as bernoulli  # noqa: E402
from annx._creation import empty as empty  # noqa: E402
from annx._creation import empty_like as empty_like  # noqa: E402
from annx._creation import eye as eye  # noqa: E402
from annx._creation import from_dlpack as from_dlpack  # noqa: E402
from annx._creation import from_numpy as from_numpy  # noqa: E402
from annx._creation import full as full  # noqa: E402
from annx._creation import full_like as full_like  # noqa: E402
from annx._creation import linspace as linspace  # noqa: E402
from annx._creation import ones as ones  # noqa: E402
from annx._creation import ones_like as ones_like  # noqa: E402
from annx._creation import rand as rand  # noqa: E402
from annx._creation import rand_like as rand_like  # noqa: E402
from annx._creation import randint as randint  # noqa: E402
from annx._creation import randn as randn  # noqa: E402
from annx._creation import randn_like as randn_like  # noqa: E402
from annx._creation import randperm as randperm  # noqa: E402
from annx._creation import tensor as tensor  # noqa: E402
from annx._creation import zeros as zeros  # noqa: E402
from annx._creation import zeros_like as zeros_like  # noqa: E402
from annx._functions import *  # noqa: E402, F403
from annx._generator import Generator as Generator  # noqa: E402
from annx._generator import manual_seed as manual_seed  # noqa: E402
from annx._jit import jit as jit  # noqa: E402
from annx._layout import channels_last as channels_last  # noqa: E402
from annx._layout import channels_last_3d as channels_last_3d  # noqa: E402
from annx._layout import contiguous_format as contiguous_format  # noqa: E402
from annx._layout import memory_format as memory_format  # noqa: E402
from annx._layout import preserve_format as preserve_format  # noqa: E402
from annx._prepare import Prepared as Prepared  # noqa: E402
from annx._prepare import prepare as prepare  # noqa: E402
from annx._transforms import grad as grad  # noqa: E402
from annx._transforms import value_and_grad as value_and_grad  # noqa: E402
from annx.autograd import custom_gradient as custom_gradient  # noqa: E402
from annx.autograd import enable_grad as enable_grad  # noqa: E402
from annx.autograd import is_grad_enabled as is_grad_enabled  # noqa: E402
from annx.autograd import no_grad as no_grad  # noqa: E402
from annx.autograd import set_grad_enabled as set_grad_enabled  # noqa: E402
from annx.debug import show_config as show_config  # noqa: E402
from annx.io import load as load  # noqa: E402
from annx.io import save as save  # noqa: E402

__version__: str = _core.build_info()["version"]


get_rng_state = _core.get_rng_state
set_rng_state = _core.set_rng_state
num_threads = _core.num_threads
get_num_threads = _core.num_threads
set_num_threads = _core.set_num_threads

_LAZY = ("callbacks", "data", "datasets", "debug", "io", "metrics", "pytree", "train", "utils")


def __getattr__(name: str) -> object:
    """Submodules that few programs need are imported at first use."""
    if name in _LAZY:
        from importlib import import_module

        return import_module(f"annx.{name}")
    raise AttributeError(f"module 'annx' has no attribute '{name}'")
