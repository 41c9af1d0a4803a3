"""Writes what PyTorch computes for convolution and pooling layers: cases.json and values.npz.

Run by hand: python tests/goldens/conv/make.py (needs torch; the tests need only the files). Cases
are made as in ../nn/make_goldens.py, which see.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "nn"))
import make_goldens as tool  # noqa: E402

normal = tool.normal


def each(module, inputs, kwargs, suffix=""):
    tool.add(module + suffix, module, inputs, kwargs)


def convolutions():
    for dims, size in ((1, (11,)), (2, (7, 6)), (3, (3, 4, 3))):
        plain = {"in_channels": 4, "out_channels": 6, "kernel_size": 3}
        name, back = f"Conv{dims}d", f"ConvTranspose{dims}d"
        x = normal(2, 4, *size)
        each(name, [x], plain)
        more = {"stride": 2, "padding": 1, "groups": 2, "bias": False}
        each(name, [x], {**plain, **more}, "-groups")
        if dims < 3:
            each(name, [x], {**plain, "padding": "same", "dilation": 2}, "-same")
        each(name, [x], {**plain, "kernel_size": 2, "padding": "same"}, "-same-even")
        each(name, [x], {**plain, "padding": "valid"}, "-valid")
        each(name, [x[0]], {**plain, "padding": 1}, "-single")
        for mode in ("reflect", "replicate", "circular") if dims < 3 else ():
            each(name, [x], {**plain, "padding": 1, "padding_mode": mode}, f"-{mode}")
        each(back, [x], plain)
        more = {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2, "dilation": 2}
        each(back, [x], {**plain, **more}, "-groups")
        each(back, [x[0]], {**plain, "bias": False}, "-single")
    deep = {"in_channels": 4, "out_channels": 4, "kernel_size": (3, 2), "groups": 4}
    each("Conv2d", [normal(2, 4, 6, 5)], {**deep, "padding": (1, 0)}, "-depthwise")
    # At least 16 channels on both sides: Winograd.
    wide = {"in_channels": 16, "out_channels": 16, "kernel_size": 3, "padding": 1}
    each("Conv2d", [normal(1, 16, 4, 3)], wide, "-wide")
    each("Conv2d", [normal(1, 16, 4, 3)], {**wide, "kernel_size": 3, "padding": (2, 0)}, "-border")


def pools():
    for dims, size in ((1, (11,)), (2, (7, 6)), (3, (4, 5, 4))):
        x = normal(2, 3, *size)
        each(f"MaxPool{dims}d", [x], {"kernel_size": 2})
        more = {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}
        each(f"MaxPool{dims}d", [x], more, "-more")
        each(f"MaxPool{dims}d", [x[0]], {"kernel_size": 2, "dilation": 2, "stride": 1}, "-dilated")
        each(f"AvgPool{dims}d", [x], {"kernel_size": 2})
        each(f"AvgPool{dims}d", [x[0]], {**more, "count_include_pad": False}, "-more")
        each(f"AdaptiveAvgPool{dims}d", [x], {"output_size": 3})
        each(f"AdaptiveMaxPool{dims}d", [x[0]], {"output_size": 2})
        tool.add(f"Dropout{dims}d", f"Dropout{dims}d", [x], evaluate=True)
    image = normal(1, 2, 5, 7)
    each("MaxPool2d", [image], {"kernel_size": (3, 2), "stride": (1, 2)}, "-uneven")
    each("AvgPool2d", [image], {"kernel_size": (3, 2), "divisor_override": 4}, "-divisor")
    each("AdaptiveAvgPool2d", [image], {"output_size": (2, None)}, "-none")
    each("ZeroPad2d", [image], {"padding": (1, 2, 0, 3)})
    each("Upsample", [image], {"scale_factor": 2})
    each("Upsample", [image], {"size": (3, 9), "mode": "nearest-exact"}, "-exact")
    each("Upsample", [image], {"scale_factor": 1.5, "mode": "bilinear"}, "-bilinear")
    corners = {"size": (8, 4), "mode": "bilinear", "align_corners": True}
    each("Upsample", [image], corners, "-corners")
    each("Upsample", [normal(1, 2, 6)], {"size": 9, "mode": "linear"}, "-linear")
    volume = {"scale_factor": 2, "mode": "trilinear"}
    each("Upsample", [normal(1, 1, 2, 3, 2)], volume, "-trilinear")


def unpools():
    for dims, size in ((1, (4,)), (2, (3, 2)), (3, (2, 2, 3))):
        x = normal(2, 3, *size)
        count = int(np.prod(size))
        places = np.array([tool.rng.permutation(2**dims * count)[:count] for _ in range(6)])
        each(f"MaxUnpool{dims}d", [x, places.reshape(x.shape)], {"kernel_size": 2})


def write():
    lines = ",\n ".join(json.dumps(entry) for entry in tool.cases)
    (HERE / "cases.json").write_text(f"[{lines}]\n")
    np.savez_compressed(HERE / "values.npz", values=np.concatenate(tool.values).astype(np.float64))
    print(f"{len(tool.cases)} cases, {tool.length} numbers, torch {torch.__version__}")


if __name__ == "__main__":
    convolutions()
    pools()
    unpools()
    write()
