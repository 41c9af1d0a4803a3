"""The table that ``model.summary()`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annx import _core, _creation
from annx._core import Tensor
from annx.autograd import no_grad
from annx.train._data import Place, map_tree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annx.nn import Module


def summary_text(model: Module, input_shape: Any, dtype: Any) -> str:
    """The table as text.

    Args:
        model: what is described.
        input_shape: shape of one sample, or a tuple or dict of such for several inputs; None for
            none known.
        dtype: of the inputs, or None for the parameters' (int64 where an Embedding comes first).
    """
    shapes = {} if input_shape is None else _output_shapes(model, input_shape, dtype)
    rows = []
    for name, module in model.named_modules():
        own = list(module.parameters(recurse=False))
        if own or not any(True for _ in module.children()):
            label = f"{name} ({type(module).__name__})" if name else type(module).__name__
            rows.append((label, shapes.get(id(module), "?"), f"{sum(p.numel() for p in own):,}"))
    header = ("Layer (type)", "Output shape", "Param #")
    if not shapes:
        header = ("Layer (type)", "", "Param #")
        rows = [(label, "", count) for label, _, count in rows]
    return "\n".join([f'Model: "{type(model).__name__}"', *_table(header, rows), *_totals(model)])


def _table(header: tuple[str, str, str], rows: list[tuple[str, str, str]]) -> list[str]:
    keep = [i for i in range(3) if header[i]]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(3)]

    def line(left: str, middle: str, right: str, fill: str) -> str:
        return left + middle.join(fill * (widths[i] + 2) for i in keep) + right

    def cells(row: tuple[str, str, str], bar: str) -> str:
        texts = [row[i].rjust(widths[i]) if i == 2 else row[i].ljust(widths[i]) for i in keep]
        return f"{bar} " + f" {bar} ".join(texts) + f" {bar}"

    return [
        line("┏", "┳", "┓", "━"),
        cells(header, "┃"),
        line("┡", "╇", "┩", "━"),
        *(cells(row, "│") for row in rows),
        line("└", "┴", "┘", "─"),
    ]


def _size(tensors: Sequence[Tensor]) -> str:
    count = sum(t.numel() for t in tensors)
    size = float(sum(t.numel() * t.dtype.itemsize for t in tensors))
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024 or unit == "GB":
            break
        size /= 1024
    return f"{count:,} ({size:.2f} {unit})"


def _totals(model: Module) -> list[str]:
    parameters, buffers = list(model.parameters()), list(model.buffers())
    trainable = [p for p in parameters if p.requires_grad]
    frozen = [p for p in parameters if not p.requires_grad]
    lines = [
        f"Total params: {_size(parameters)}",
        f"Trainable params: {_size(trainable)}",
        f"Non-trainable params: {_size(frozen)}",
    ]
    return [f" {line}" for line in [*lines, f"Buffers: {_size(buffers)}"][: 4 if buffers else 3]]


def _output_shapes(model: Module, input_shape: Any, dtype: Any) -> dict[int, str]:
    """Module id -> shape of its output, found by a run on zeros."""
    from annx.train._loop import Modes, call_model

    shapes: dict[int, str] = {}

    def keep(module: Module, inputs: Any, output: Any) -> None:
        shapes[id(module)] = _shape_text(output)

    if dtype is None:
        dtype = _first_dtype(model)
    x = _zeros(input_shape, dtype)
    modes, state = Modes(model), _core.get_rng_state()
    handles = [module.register_forward_hook(keep) for module in model.modules()]
    try:
        model.eval()
        with no_grad():
            call_model(model, x)
    finally:
        for handle in handles:
            handle.remove()
        modes.restore()
        _core.set_rng_state(state)
    return shapes


def _first_dtype(model: Module) -> Any:
    for module in model.modules():
        if not any(True for _ in module.children()):
            if type(module).__name__ in ("Embedding", "EmbeddingBag"):
                return _core.int64
            break
    return Place(model).dtype


def _zeros(shape: Any, dtype: Any) -> Any:
    if isinstance(shape, dict):
        return {key: _zeros(value, dtype) for key, value in shape.items()}
    if isinstance(shape, tuple) and shape and isinstance(shape[0], (tuple, list)):
        return tuple(_zeros(value, dtype) for value in shape)
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    return _creation.zeros((1, *(size or 1 for size in sizes)), dtype=dtype)


def _shape_text(output: Any) -> str:
    if isinstance(output, Tensor):
        shape = tuple(output.shape)
        inner = ", ".join(["None", *map(str, shape[1:])])
        return f"({inner})" if shape else "()"
    if isinstance(output, (tuple, list)):
        return "[" + ", ".join(map(_shape_text, output)) + "]"
    if isinstance(output, dict):
        return "{" + ", ".join(f"{k}: {_shape_text(v)}" for k, v in output.items()) + "}"
    return "?"


def sample_shapes(x: Any) -> Any:
    """The shape of a sample of each leaf, as ``input_shape`` takes it."""
    return map_tree(lambda leaf: tuple(leaf.shape[1:]), x)
