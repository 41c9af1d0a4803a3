"""Checks a ``state_dict`` against a module, whole, before a single value is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from annx import _creation
from annx._core import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annx.nn._module import Module


class IncompatibleKeys(NamedTuple):
    """What ``load_state_dict(strict=False)`` passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def load_state(module: Module, state: Mapping[str, Any], strict: bool) -> IncompatibleKeys:
    """Copies ``state`` into the parameters and persistent buffers of ``module``."""
    if not hasattr(state, "keys"):
        raise TypeError(f"[load_state_dict] expected a dict but got {type(state).__name__}")
    targets = module.state_dict(keep_vars=True)
    missing = [key for key in targets if key not in state]
    unexpected = [key for key in state if key not in targets]
    problems: list[str] = []
    if strict and missing:
        problems.append("missing keys: " + ", ".join([f'"{key}"' for key in missing]))
    if strict and unexpected:
        problems.append("unexpected keys: " + ", ".join([f'"{key}"' for key in unexpected]))

    copies: list[tuple[Tensor, Tensor]] = []
    for key, target in targets.items():
        if key not in state:
            continue
        value = state[key]
        try:
            source = value.detach() if isinstance(value, Tensor) else _creation.as_tensor(value)
        except (TypeError, ValueError, RuntimeError) as error:
            problems.append(f"{key}: expected a tensor but got {type(value).__name__} ({error})")
            continue
        if tuple(source.shape) != tuple(target.shape):
            problems.append(
                f"{key}: expected shape {tuple(target.shape)} but got {tuple(source.shape)}"
            )
            continue
        copies.append((target.detach(), source))
    if problems:
        listed = "\n  ".join(problems)
        raise RuntimeError(
            f"[load_state_dict] expected a state_dict that fits {type(module).__name__} "
            f"but got\n  {listed}"
        )
    for target, source in copies:
        target.copy_(source)
    return IncompatibleKeys(missing, unexpected)
