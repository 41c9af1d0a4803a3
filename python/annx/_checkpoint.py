"""Checkpoints: less memory for a longer backward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annx import _core, pytree
from annx._core import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """Calls ``function(*args, **kwargs)`` without keeping what its gradient needs.

    When the gradient is computed, the function runs once more and its intermediate tensors live
    until they have been used: memory is that of one checkpointed function at a time, for one more
    forward computation. Results and gradients have the same bits as without. It works inside
    captured steps, for functions within functions (``checkpoint`` in ``checkpoint``), with
    ``retain_graph``, ``create_graph`` and :func:`annx.autograd.grad`.

    The function must do the same in both runs; what it computes may depend on its arguments and on
    parameters, and those must not be written to in between. While it runs again, running statistics
    of batch and instance norms are left alone. Tensors that a function made by
    ``annx.custom_gradient`` keeps are not given up. Where no gradient is recorded
    (``annx.no_grad``), this is the plain call.

    Args:
        function: takes and returns any tree of values. Parameters that it uses get their gradients
            as usual.
        args: its positional arguments.
        use_reentrant: taken for PyTorch's sake; both of its ways come to the same here.
        preserve_rng_state: the second run draws the same random numbers as the first, so that
            dropout has the same mask.
        kwargs: its keyword arguments.

    Returns:
        What the function returns.

    Raises:
        TypeError: ``function`` is not callable.
        RuntimeError: when the gradient is computed: the second run did not do the same, or an
            argument was written to since.

    Source: Chen et al., 2016; PyTorch ``torch.utils.checkpoint.checkpoint``.
    """
    if not callable(function):
        raise TypeError(f"[checkpoint] expected a function but got {type(function).__name__}")
    if not _core.is_grad_enabled():
        return function(*args, **kwargs)
    leaves, treedef = pytree.flatten((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    # Tensors go with the checkpoint, which may leave them to an outer one.
    rest = [_TENSOR if isinstance(leaf, Tensor) else leaf for leaf in leaves]

    def again(*tensors: Tensor) -> None:
        it = iter(tensors)
        leaves = [next(it) if leaf is _TENSOR else leaf for leaf in rest]
        args, kwargs = pytree.unflatten(treedef, leaves)
        if not _core.capturing():
            function(*args, **kwargs)
            return
        region = _core.capture_region(-1)
        try:
            function(*args, **kwargs)
        finally:
            _core.capture_region(region)

    return _core.checkpoint(
        lambda: function(*args, **kwargs), again, tensors, bool(preserve_rng_state)
    )


_TENSOR = object()


def checkpoint_sequential(
    functions: Callable[..., Any] | Sequence[Callable[..., Any]],
    segments: int,
    input: Any,
    use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
) -> Any:
    """Runs functions one after the other, in segments of which all but the last are checkpoints.

    Args:
        functions: an ``nn.Sequential``, or a sequence of functions of one value.
        segments: in how many parts to cut it, of ``len(functions) // segments`` functions each; the
            last one takes the rest.
        input: of the first function.
        use_reentrant: taken for PyTorch's sake.
        preserve_rng_state: as for :func:`checkpoint`.

    Returns:
        The output of the last function.

    Raises:
        ValueError: ``segments`` is not between 1 and the number of functions.

    Source: PyTorch ``torch.utils.checkpoint.checkpoint_sequential``.
    """
    parts: list[Callable[..., Any]] = list(functions)  # type: ignore[arg-type]
    if not 1 <= segments <= len(parts):
        raise ValueError(
            f"[checkpoint_sequential] expected segments between 1 and {len(parts)}, the number of "
            f"functions, but got {segments}"
        )

    def chain(part: list[Callable[..., Any]]) -> Callable[[Any], Any]:
        def run(value: Any) -> Any:
            for function in part:
                value = function(value)
            return value

        return run

    size = len(parts) // segments
    for start in range(0, size * (segments - 1), size):
        run = chain(parts[start : start + size])
        input = checkpoint(run, input, preserve_rng_state=preserve_rng_state)
    return chain(parts[size * (segments - 1) :])(input)
