"""Writes what PyTorch computes for attention and transformers: cases.json, values.npz beside it.

Run by hand: python tests/goldens/attention/make_goldens.py (needs torch; the tests need the files).
All in float64 from values that float32 holds exactly. Arrays stand in one vector; a case says where
each begins and its shape. Masks are stored as numbers, with "bool" where they are that.
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).parent
rng = np.random.default_rng(20261122)
values: list[np.ndarray] = []
length = 0
cases: list[dict] = []
INF = float("inf")


def normal(*shape):
    return rng.standard_normal(shape).astype(np.float32).astype(np.float64)


def bools(*shape):
    """True hides: never the first key."""
    mask = rng.random(shape) < 0.4
    mask[..., 0] = False
    return mask


def added(*shape):
    return np.where(bools(*shape), -INF, normal(*shape))


def causal(n):
    return np.where(np.triu(np.ones((n, n), bool), 1), -INF, 0.0)


def put(entry, name, array):
    global length
    array = array.detach().numpy() if isinstance(array, torch.Tensor) else np.asarray(array)
    where = {"at": length, "shape": list(array.shape)}
    if array.dtype == bool:
        where["bool"] = True
    entry["arrays"][name] = where
    values.append(array.astype(np.float64).ravel())
    length += array.size


def add(case, module, kwargs, inputs, masks=None, call=None, alike=None):
    """``alike`` names, for each argument, which of the inputs it is (several may be one tensor)."""
    masks, call = masks or {}, call or {}
    alike = alike or list(range(len(inputs)))
    options = dict(kwargs)
    if module in ("TransformerEncoder", "TransformerDecoder"):
        layer = getattr(nn, f"{module}Layer")(**options.pop("layer"))
        norm = nn.LayerNorm(options.pop("norm")) if "norm" in options else None
        made = getattr(nn, module)(layer, norm=norm, **options)
    else:
        made = getattr(nn, module)(**options)
    made = made.double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.from_numpy(normal(*parameter.shape) * 0.5))
    entry = {
        "case": case,
        "module": module,
        "kwargs": kwargs,
        "call": call,
        "alike": alike,
        "masks": list(masks),
        "repr": repr(made).replace("NonDynamicallyQuantizableLinear", "Linear"),
        "state": list(made.state_dict()),
        "parameters": [name for name, _ in made.named_parameters()],
        "arrays": {},
    }
    cases.append(entry)
    for name, value in made.state_dict().items():
        put(entry, f"state.{name}", value)
    for i, value in enumerate(inputs):
        put(entry, f"in{i}", value)
    for name, value in masks.items():
        put(entry, f"mask.{name}", value)
    tensors = [torch.from_numpy(v.copy()).requires_grad_() for v in inputs]
    arguments = {k: torch.from_numpy(np.array(v)) for k, v in masks.items()}
    out = made(*(tensors[i] for i in alike), **arguments, **call)
    outs = [o for o in (out if isinstance(out, tuple) else (out,)) if o is not None]
    entry["outs"] = len(outs)
    total = 0.0
    for i, o in enumerate(outs):
        seed = torch.from_numpy(normal(*o.shape))
        put(entry, f"out{i}", o)
        put(entry, f"seed{i}", seed)
        total = total + (o * seed).sum()
    total.backward()
    for i, t in enumerate(tensors):
        put(entry, f"grad{i}", t.grad)
    for name, parameter in made.named_parameters():
        put(entry, f"grad.{name}", parameter.grad)


def attention():
    e, h, n, t, s = 8, 2, 3, 5, 4
    size = {"embed_dim": e, "num_heads": h}
    first = {**size, "batch_first": True}
    quiet = {"need_weights": False}
    heads = {"average_attn_weights": False}
    x, q, k, v = normal(t, n, e), normal(t, n, e), normal(s, n, e), normal(s, n, e)

    def both(case, kwargs, inputs, masks=None, alike=None):
        add(f"{case}-weights", "MultiheadAttention", kwargs, inputs, masks, None, alike)
        add(case, "MultiheadAttention", kwargs, inputs, masks, quiet, alike)

    both("self", size, [x], alike=[0, 0, 0])
    both("self-first", first, [normal(n, t, e)], alike=[0, 0, 0])
    both("self-single", size, [normal(t, e)], alike=[0, 0, 0])
    both("cross", size, [q, k, v])
    both("cross-shared", size, [q, k], alike=[0, 1, 1])
    both("no-bias", {**first, "bias": False}, [normal(n, t, e), normal(n, s, e)], alike=[0, 1, 1])
    both("sizes", {**size, "kdim": 6, "vdim": 3}, [q, normal(s, n, 6), normal(s, n, 3)])
    both("bias-kv", {**size, "add_bias_kv": True}, [q, k, v], {"attn_mask": bools(t, s)})
    both("zero", {**first, "add_zero_attn": True}, [normal(n, t, e)], alike=[0, 0, 0])
    both("bias-kv-zero", {**size, "add_bias_kv": True, "add_zero_attn": True}, [q, k, v])
    both("padding", size, [x], {"key_padding_mask": bools(n, t)}, [0, 0, 0])
    both("mask", size, [x], {"attn_mask": bools(t, t)}, [0, 0, 0])
    both("mask-added", size, [q, k, v], {"attn_mask": added(t, s)})
    both("mask-heads", first, [normal(n, t, e)], {"attn_mask": bools(n * h, t, t)}, [0, 0, 0])
    two = {"attn_mask": bools(t, s), "key_padding_mask": bools(n, s)}
    both("two-masks", size, [q, k, v], two)
    two = {"attn_mask": added(n * h, t, s), "key_padding_mask": added(n, s)}
    both("two-masks-added", size, [q, k, v], two)
    add("per-head", "MultiheadAttention", size, [q, k, v], None, heads)
    add("single-head-weights", "MultiheadAttention", size, [normal(t, e)], None, heads, [0, 0, 0])
    is_causal = {"is_causal": True, **quiet}
    add("causal", "MultiheadAttention", size, [x], {"attn_mask": causal(t)}, is_causal, [0, 0, 0])
    masks = {"attn_mask": causal(t), "key_padding_mask": np.where(bools(n, t), -INF, 0.0)}
    add("causal-padding", "MultiheadAttention", size, [x], masks, is_causal, [0, 0, 0])


def transformers():
    layer = {"d_model": 8, "nhead": 2, "dim_feedforward": 12, "dropout": 0.0}
    t, s, n = 5, 4, 3
    src, tgt = normal(s, n, 8), normal(t, n, 8)
    variants = {
        "": {},
        "-first": {"batch_first": True},
        "-norm-first": {"norm_first": True},
        "-gelu": {"activation": "gelu", "layer_norm_eps": 1e-3},
        "-no-bias": {"bias": False, "norm_first": True},
    }
    for name, more in variants.items():
        kwargs = {**layer, **more}
        add(f"encoder-layer{name}", "TransformerEncoderLayer", kwargs, [normal(3, 4, 8)])
        pair = [normal(3, 5, 8), normal(3, 5, 8)]
        add(f"decoder-layer{name}", "TransformerDecoderLayer", kwargs, pair)
    padding = {"src_key_padding_mask": bools(n, s)}
    add("encoder-layer-padding", "TransformerEncoderLayer", layer, [src], padding)
    masks = {
        "tgt_mask": causal(t),
        "memory_mask": bools(t, s),
        "tgt_key_padding_mask": np.where(bools(n, t), -INF, 0.0),
        "memory_key_padding_mask": bools(n, s),
    }
    add("decoder-layer-masks", "TransformerDecoderLayer", layer, [tgt, src], masks)
    stack = {"layer": layer, "num_layers": 2}
    add("encoder", "TransformerEncoder", stack, [src], {"mask": causal(s)})
    add("encoder-norm", "TransformerEncoder", {**stack, "norm": 8}, [src], {"mask": causal(s)})
    masks = {"tgt_mask": causal(t)}
    add("decoder", "TransformerDecoder", {**stack, "norm": 8}, [tgt, src], masks)
    whole = {**layer, "num_encoder_layers": 2, "num_decoder_layers": 1}
    add("transformer", "Transformer", whole, [src, tgt])
    masks = {"tgt_mask": causal(t), "src_key_padding_mask": bools(n, s)}
    add("transformer-masks", "Transformer", {**whole, "norm_first": True}, [src, tgt], masks)
    single = [normal(s, 8), normal(t, 8)]
    add("transformer-single", "Transformer", {**whole, "batch_first": True}, single)


if __name__ == "__main__":
    attention()
    transformers()
    lines = ",\n  ".join(json.dumps(entry) for entry in cases)
    (HERE / "cases.json").write_text(f'{{"cases": [\n  {lines}\n ]}}\n')
    np.savez_compressed(HERE / "values.npz", values=np.concatenate(values))
    print(f"{len(cases)} cases, {length} numbers, torch {torch.__version__}")
