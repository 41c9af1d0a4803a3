"""The base of all optimizers: parameter groups, state, and saving and loading both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from typing import TYPE_CHECKING, Any, TypeAlias

from annx import _creation
from annx._core import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Params: TypeAlias = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]

# Keys of a group that are no hyperparameters.
_GROUP_KEYS = ("params", "param_names", "initial_lr")


class Optimizer(ABC):
    """Base class of all optimizers, with the interface of ``torch.optim.Optimizer``.

    A subclass calls ``super().__init__(params, defaults)`` and defines :meth:`step`.

    Args:
        params: Tensors, dicts with a list of them under ``"params"`` and hyperparameters of their
            own, or pairs of a name and a Tensor as ``module.named_parameters()`` gives.
        defaults: hyperparameters of groups that do not set them.

    Raises:
        TypeError: ``params`` is a Tensor, or holds something that is not a Tensor.
        ValueError: there are no parameters, one appears twice or is not a leaf, or a
            hyperparameter is out of range.
    """

    defaults: dict[str, Any]
    param_groups: list[dict[str, Any]]

    # The names a parameter's state may have; empty: any.
    _STATE_KEYS: tuple[str, ...] = ()
    # Those of them that are single numbers.
    _SCALAR_KEYS: tuple[str, ...] = ("step",)

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.param_groups = []
        self._state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self._reset()
        if isinstance(params, Tensor):
            raise TypeError(
                f"[{self._name}] expected an iterable of Tensors or dicts but got a Tensor; "
                "put it in a list"
            )
        self._check_ordered(params)
        groups: list[Any] = list(params)
        if not groups:
            raise ValueError(f"[{self._name}] expected at least one parameter but got none")
        if isinstance(groups[0], dict):
            for group in groups:
                self.add_param_group(group)
        else:
            self.add_param_group({"params": groups})

    @property
    def _name(self) -> str:
        return type(self).__name__

    @abstractmethod
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates the parameters that have a gradient.

        Args:
            closure: computes the loss anew and its gradients, before the update.

        Returns:
            What ``closure`` returned, or None.
        """

    def _check(self, group: Mapping[str, Any]) -> None:  # noqa: B027
        """Raises ValueError for a hyperparameter out of range."""

    def _reset(self) -> None:
        """Forgets what is derived from groups and state."""
        # Schedules warn when they are stepped before the optimizer ever was.
        self._stepped = False

    def _step_clipped(self, max_norm: float) -> None:
        """A step with the norm of all gradients bounded by ``max_norm``."""
        from annx.nn.utils import clip_grad_norm_

        clip_grad_norm_([p for group in self.param_groups for p in group["params"]], max_norm)
        self.step()

    def _sync(self) -> None:  # noqa: B027
        """Writes into the state what a subclass keeps elsewhere."""

    def _expect_edits(self) -> None:  # noqa: B027
        """The state is handed out, and may be changed before the next step."""

    # Parameter groups.

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group; what it does not set is taken from ``defaults``.

        Args:
            param_group: a dict with ``"params"``, one Tensor or an iterable of them or of pairs of
                a name and a Tensor, and any hyperparameters.

        Raises:
            TypeError, ValueError: as the constructor.
        """
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise TypeError(
                f"[{self._name}] expected a dict with 'params' as parameter group but got "
                f"{param_group!r}"
            )
        group = dict(param_group)
        params = group["params"]
        self._check_ordered(params)
        params = [params] if isinstance(params, Tensor) else list(params)
        if any(isinstance(item, tuple) for item in params):
            if not all(isinstance(item, tuple) and len(item) == 2 for item in params):
                raise ValueError(
                    f"[{self._name}] expected all parameters of a group with or all without a name"
                )
            group["param_names"] = [name for name, _ in params]
            params = [param for _, param in params]
        self._check_params(params)
        group["params"] = params
        self._check_keys(group)
        for key, value in self.defaults.items():
            group.setdefault(key, value)
        self._check(group)
        self.param_groups.append(group)

    def _check_ordered(self, params: object) -> None:
        if isinstance(params, (set, frozenset)):
            raise TypeError(
                f"[{self._name}] expected parameters in an order but got a set; use a list"
            )

    def _check_params(self, params: list[Any]) -> None:
        if not params:
            raise ValueError(f"[{self._name}] expected at least one parameter in a group, got none")
        known = {id(param) for group in self.param_groups for param in group["params"]}
        for position, param in enumerate(params):
            if not isinstance(param, Tensor):
                raise TypeError(
                    f"[{self._name}] expected Tensors as parameters but got "
                    f"{type(param).__name__} at position {position}"
                )
            if not param.is_leaf:
                raise ValueError(
                    f"[{self._name}] expected leaf Tensors as parameters but the one at position "
                    f"{position}, of shape {tuple(param.shape)}, was computed by an operation"
                )
            if id(param) in known:
                raise ValueError(
                    f"[{self._name}] expected every parameter once but the one at position "
                    f"{position}, of shape {tuple(param.shape)}, appears again"
                )
            known.add(id(param))

    def _check_keys(self, group: Mapping[str, Any]) -> None:
        """A key of the user's own is welcome, a misspelt hyperparameter is not."""
        unknown = [key for key in group if key not in self.defaults and key not in _GROUP_KEYS]
        if not unknown:
            return
        from difflib import get_close_matches

        for key in unknown:
            close = get_close_matches(str(key), list(self.defaults), n=1, cutoff=0.85)
            if close:
                raise ValueError(
                    f"[{self._name}] expected a known hyperparameter in a parameter group but got "
                    f"{key!r}; did you mean {close[0]!r}?"
                )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops the gradients of all parameters, or fills them with zeros.

        Args:
            set_to_none: ``.grad`` becomes None, which is faster; a parameter that gets no gradient
                afterwards is then left alone by ``step``.
        """
        for group in self.param_groups:
            for param in group["params"]:
                if set_to_none:
                    param.grad = None
                elif param.grad is not None:
                    param.grad = _creation.zeros_like(param)

    # State.

    @property
    def state(self) -> defaultdict[Tensor, dict[str, Any]]:
        """The state of each parameter, as a dict by name. What is changed in it takes effect."""
        self._sync()
        self._expect_edits()
        return self._state

    def state_dict(self) -> dict[str, Any]:
        """The state and the hyperparameters, structured as PyTorch structures them.

        Returns:
            ``{"state": {index: {name: Tensor}}, "param_groups": [{..., "params": [index]}]}``
            where parameters are numbered through all groups. Tensors are not copied.
        """
        indices: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for param in group["params"]:
                indices[id(param)] = len(indices)
            packed = {key: value for key, value in group.items() if key != "params"}
            packed["params"] = [indices[id(param)] for param in group["params"]]
            groups.append(packed)
        self._sync()
        state = {indices[id(p)]: dict(s) for p, s in self._state.items() if id(p) in indices and s}
        return {"state": dict(sorted(state.items())), "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over what ``state_dict`` returned, here or in PyTorch; tensors are copied.

        Raises:
            KeyError: ``state_dict`` lacks ``"state"`` or ``"param_groups"``.
            ValueError: groups, parameters, names of the state or shapes do not match. Nothing
                has changed then.
        """
        op = f"{self._name}.load_state_dict"
        for key in ("state", "param_groups"):
            if key not in state_dict:
                raise KeyError(f"[{op}] expected {key!r} in the state but got {list(state_dict)}")
        saved = state_dict["param_groups"]
        sizes = [len(group["params"]) for group in self.param_groups]
        saved_sizes = [len(group["params"]) for group in saved]
        if sizes != saved_sizes:
            raise ValueError(
                f"[{op}] expected groups of {sizes} parameters but got groups of {saved_sizes}"
            )
        groups = []
        param_of: dict[Any, Tensor] = {}
        for group, packed in zip(self.param_groups, saved, strict=True):
            param_of.update(zip(packed["params"], group["params"], strict=True))
            merged = {**{key: group[key] for key in self.defaults}, **packed}
            if "betas" in merged:
                merged["betas"] = tuple(merged["betas"])
            merged["params"] = group["params"]
            self._check(merged)
            groups.append(merged)
        state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        for index, values in state_dict["state"].items():
            if index not in param_of:
                raise ValueError(f"[{op}] expected state of known parameters but got {index!r}")
            for name, value in values.items():
                if self._STATE_KEYS and name not in self._STATE_KEYS:
                    raise ValueError(
                        f"[{op}] expected state named {', '.join(self._STATE_KEYS)} but got "
                        f"{name!r}; was it saved by another optimizer?"
                    )
                state[param_of[index]][name] = self._load_value(op, name, value, param_of[index])
        self.param_groups = groups
        self._state = state
        self._reset()

    def _load_value(self, op: str, name: str, value: Any, param: Tensor) -> Any:
        if not hasattr(value, "shape"):
            return value
        tensor = _creation.as_tensor(value).detach()
        if name in self._SCALAR_KEYS:
            return _creation.tensor(float(tensor.item()))
        if self._STATE_KEYS and tuple(tensor.shape) != tuple(param.shape):
            raise ValueError(
                f"[{op}] expected {name!r} of shape {tuple(param.shape)} but got "
                f"{tuple(tensor.shape)}"
            )
        return tensor.to(param.device).to(param.dtype).clone()

    def __getstate__(self) -> dict[str, Any]:
        return {
            "defaults": self.defaults,
            "param_groups": self.param_groups,
            "state": dict(self.state),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.defaults = state["defaults"]
        self.param_groups = state["param_groups"]
        self._state = defaultdict(dict, state["state"])
        self._reset()

    def __repr__(self) -> str:
        lines = [f"{self._name} ("]
        for index, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {index}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join([*lines, ")"])
