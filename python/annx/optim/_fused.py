"""Optimizers whose step is one native call per group and dtype.

The parameters of a group that share dtype, device and number of steps taken form a
:class:`Bucket`. Its hyperparameters lie in a small float64 tensor that keeps its identity from
step to step, so that a captured step can be replayed while learning rate and step count move on.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from annx import _capture, _core, _creation
from annx.autograd import enable_grad
from annx.optim._optimizer import Optimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from annx._core import Tensor

_write_hyper = _core.write_hyper
_hyper_tensor = _core.hyper_tensor
_state_number = _core.state_number
_plan_states = _core.plan_states
_grads_of = _core.grads_of
_global_norm = _core.ops.global_norm
_clip_scale = _core.ops.clip_scale_
_optimizer_step = _core.ops.optimizer_step_


class Bucket:
    """Parameters of one group that one native call updates.

    Attributes:
        params: the parameters, each of which has a gradient.
        slots: state tensors by name of the state, each list in the order of ``params``.
        hyper: what the native call reads, float64.
        count: steps taken.
        first: the next step is the first one of the momentum buffers (SGD).
    """

    __slots__ = ("count", "first", "hyper", "params", "slots")

    def __init__(
        self,
        params: list[Tensor],
        slots: dict[str, list[Tensor]],
        hyper: Tensor,
        count: int,
        first: bool,
    ) -> None:
        self.params = params
        self.slots = slots
        self.hyper = hyper
        self.count = count
        self.first = first


class _Plan:
    """The buckets of one group, valid while the same parameters have gradients."""

    __slots__ = ("buckets", "group", "idle", "mode", "params", "total")

    def __init__(
        self, group: dict[str, Any], mode: object, idle: list[Tensor], buckets: list[Bucket]
    ) -> None:
        self.group = group
        self.params: list[Tensor] = group["params"]
        self.total = len(self.params)
        self.mode = mode
        self.idle = idle
        self.buckets = buckets


class FusedOptimizer(Optimizer):
    """An optimizer that describes its native call; groups and state are the base's."""

    # Numbers in the tensor of hyperparameters.
    _HYPER_LENGTH = 0
    # Where among them the factor of the gradients stands.
    _SCALE_AT = 0
    # Whether the state holds the number of steps taken, under "step".
    _COUNTS_STEPS = False
    # Whether a step must know that state is new.
    _TELLS_FIRST = False

    def _reset(self) -> None:
        super()._reset()
        self._plans: dict[int, _Plan] = {}
        # The state was handed out since the last step.
        self._edits_expected = False
        # Captured steps know by it whether their buckets are still in use.
        self._plan_version = getattr(self, "_plan_version", 0) + 1
        self._hypers: dict[tuple[int, ...], Tensor] = {}

    def _mode(self, group: Mapping[str, Any]) -> object:
        """What decides, besides the parameters, which state a group needs."""
        return None

    def _scale_at(self, group: Mapping[str, Any]) -> int:
        return self._SCALE_AT

    def _step_at(self, group: Mapping[str, Any]) -> int | None:
        """Where among the hyperparameters the step number stands, if nothing else follows it."""
        return None

    def _initial(self, name: str, group: Mapping[str, Any]) -> float:
        """What fills a state tensor before the first step."""
        return 0.0

    def _scalars(self, group: Mapping[str, Any], count: int) -> dict[str, float]:
        """What the state holds besides tensors of the parameter's shape, after ``count`` steps."""
        return {}

    @abstractmethod
    def _state_names(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """Names of the state tensors, shaped as the parameter, that a step of the group needs."""

    @abstractmethod
    def _hyper_values(self, group: Mapping[str, Any], bucket: Bucket) -> list[float]:
        """The numbers that the native call of the coming step reads."""

    @abstractmethod
    def _apply(self, group: Mapping[str, Any], bucket: Bucket, grads: list[Tensor]) -> None:
        """Writes the parameters and the state of a bucket."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates the parameters that have a gradient.

        Args:
            closure: computes the loss anew and its gradients, before the update.

        Returns:
            What ``closure`` returned, or None.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        self._run(None)
        return loss

    def _step_clipped(self, max_norm: float) -> None:
        """A step with the norm of all gradients bounded, without a pass over them for it."""
        grads = [p.grad for group in self.param_groups for p in group["params"]]
        if any(grad is not None and grad.dtype == _core.float64 for grad in grads):
            super()._step_clipped(max_norm)
        else:
            self._run(max_norm)

    def _as_planned(self) -> bool:
        """Whether the groups are those of the last step, and need the same state."""
        if self._edits_expected:
            self._take_edits()
        groups, plans = self.param_groups, self._plans
        if len(groups) != len(plans):
            return False
        for index, plan in plans.items():
            group = groups[index]
            if (
                plan.params is not group["params"]
                or plan.total != len(plan.params)
                or plan.mode != self._mode(group)
            ):
                return False
        return True

    def _run(self, max_norm: float | None) -> None:
        self._stepped = True
        if self._edits_expected:
            self._take_edits()
        if _capture.active:
            _capture.repeat(self._advance, self)
        # Groups may have been taken out of the list.
        for index in range(len(self.param_groups), len(self._plans)):
            self._drop_plan(index)
        work = [
            (group, bucket, grads)
            for index, group in enumerate(self.param_groups)
            for bucket, grads in self._work(index, group)
        ]
        for group, bucket, _ in work:
            _write_hyper(bucket.hyper, self._hyper_values(group, bucket))
        if max_norm is not None and work:
            norm = _global_norm([grad for _, _, grads in work for grad in grads])
            for group in self.param_groups:
                hypers = [bucket.hyper for other, bucket, _ in work if other is group]
                if hypers:
                    _clip_scale(norm, max_norm, hypers, self._scale_at(group))
        for group, bucket, grads in work:
            self._apply(group, bucket, grads)
            bucket.count += 1
            bucket.first = False

    def _advance(self) -> None:
        """Prepares a replay of the native calls of the last step as one step more.

        Writes learning rate, step count and the rest where the recorded calls read them.
        """
        for index, plan in self._plans.items():
            for bucket in plan.buckets:
                _write_hyper(bucket.hyper, self._hyper_values(self.param_groups[index], bucket))
                bucket.count += 1
                bucket.first = False

    def _feeds(self, steps: int) -> list[tuple[Tensor, Tensor]]:
        """For each bucket what ``_advance`` would write ahead of that many replays, a row each."""
        return [
            (bucket.hyper, self._hyper_rows(self.param_groups[index], bucket, steps))
            for index, plan in self._plans.items()
            for bucket in plan.buckets
        ]

    def _feeds_ahead(
        self, steps: int, advance: Callable[[], None]
    ) -> tuple[list[tuple[Tensor, Tensor]], int]:
        """``_feeds`` where ``advance`` follows each step, and the number of rows.

        There are fewer where ``advance`` fails: it will fail again behind the last of them.
        """
        pairs = [
            (self.param_groups[index], bucket)
            for index, plan in self._plans.items()
            for bucket in plan.buckets
        ]
        before = [(bucket.count, bucket.first) for _, bucket in pairs]
        tables: list[list[list[float]]] = [[] for _ in pairs]
        done = 0
        try:
            while done < steps:
                for (group, bucket), table in zip(pairs, tables, strict=True):
                    table.append(self._hyper_values(group, bucket))
                    bucket.count += 1
                    bucket.first = False
                done += 1
                try:
                    advance()
                except Exception:
                    break  # raised again, and told, when the schedule steps behind this step
        finally:
            for (_, bucket), (count, first) in zip(pairs, before, strict=True):
                bucket.count, bucket.first = count, first
        rows = [_creation.as_tensor(np.array(table, np.float64)) for table in tables]
        return [(bucket.hyper, table) for (_, bucket), table in zip(pairs, rows, strict=True)], done

    def _hyper_rows(self, group: Mapping[str, Any], bucket: Bucket, steps: int) -> Tensor:
        at = self._step_at(group)
        if at is not None:
            table = np.tile(np.array(self._hyper_values(group, bucket), np.float64), (steps, 1))
            table[:, at] += np.arange(steps)
            return _creation.as_tensor(table)
        count, first = bucket.count, bucket.first
        rows = []
        try:
            for step in range(steps):
                bucket.count, bucket.first = count + step, first and step == 0
                rows.append(self._hyper_values(group, bucket))
        finally:
            bucket.count, bucket.first = count, first
        return _creation.as_tensor(np.array(rows, np.float64))

    def _count_steps(self, steps: int) -> None:
        """Takes note of replays that took place."""
        for plan in self._plans.values():
            for bucket in plan.buckets:
                bucket.count += steps
                bucket.first = bucket.first and steps == 0

    def _work(self, index: int, group: dict[str, Any]) -> list[tuple[Bucket, list[Any]]]:
        """The buckets of a group with the gradients of their parameters."""
        plan = self._plans.get(index)
        if (
            plan is not None
            and plan.params is group["params"]
            and plan.total == len(plan.params)
            and plan.mode == self._mode(group)
        ):
            work = []
            for bucket in plan.buckets:
                grads = _grads_of(bucket.params)
                if grads is None:
                    break
                work.append((bucket, grads))
            else:
                if not plan.idle or all(param.grad is None for param in plan.idle):
                    return work
        plan = self._make_plan(index, group)
        return [(bucket, _grads_of(bucket.params) or []) for bucket in plan.buckets]

    def _make_plan(self, index: int, group: dict[str, Any]) -> _Plan:
        if index in self._plans:
            self._drop_plan(index)
        names = self._state_names(group)
        fills = [self._initial(name, group) for name in names]
        idle, found = _plan_states(
            group["params"], self._state, names, fills, self._COUNTS_STEPS, self._TELLS_FIRST
        )
        buckets = [
            Bucket(params, slots, self._hyper_of(params), count, first)
            for params, slots, count, first in found
        ]
        plan = _Plan(group, self._mode(group), idle, buckets)
        self._plans[index] = plan
        self._plan_version += 1
        return plan

    def _hyper_of(self, params: list[Tensor]) -> Tensor:
        """The same tensor whenever the same parameters form a bucket."""
        key = tuple(map(id, params))
        hyper = self._hypers.get(key)
        if hyper is None:
            # Ever-changing buckets must not grow the memory.
            if self._hypers and len(self._hypers) > 4 * sum(
                len(g["params"]) for g in self.param_groups
            ):
                self._hypers.clear()
            hyper = self._hypers[key] = _hyper_tensor(self._HYPER_LENGTH)
        return hyper

    def _sync(self) -> None:
        """Writes what the buckets hold into the state."""
        if self._edits_expected:
            self._take_edits()
        for plan in self._plans.values():
            self._write_state(plan)

    def _expect_edits(self) -> None:
        self._edits_expected = True

    def _take_edits(self) -> None:
        """Drops the plans of groups whose state was changed since it was handed out."""
        self._edits_expected = False
        for index in [i for i, plan in self._plans.items() if not self._is_unedited(plan)]:
            del self._plans[index]
            self._plan_version += 1

    def _is_unedited(self, plan: _Plan) -> bool:
        for bucket in plan.buckets:
            for position, param in enumerate(bucket.params):
                state = self._state.get(param)
                if state is None:
                    if bucket.slots or self._COUNTS_STEPS:
                        return False
                    continue
                if any(
                    state.get(name) is not slot[position] for name, slot in bucket.slots.items()
                ):
                    return False
                if self._COUNTS_STEPS:
                    step = state.get("step")
                    if step is None or float(step) != bucket.count:
                        return False
        return True

    def _drop_plan(self, index: int) -> None:
        plan = self._plans.pop(index, None)
        self._plan_version += 1
        if plan is not None:
            self._write_state(plan)

    def _write_state(self, plan: _Plan) -> None:
        for bucket in plan.buckets:
            numbers: dict[str, float] = {}
            if self._COUNTS_STEPS:
                numbers = {"step": bucket.count, **self._scalars(plan.group, bucket.count)}
            # Buffers that no step has begun are no state yet.
            if bucket.first or not (numbers or bucket.slots):
                continue
            for k, param in enumerate(bucket.params):
                state = self._state[param]
                for name, value in numbers.items():
                    state[name] = _state_number(value)
                for name, slot in bucket.slots.items():
                    state[name] = slot[k]


def check_at_least(op: str, name: str, value: float, least: float = 0.0) -> None:
    """Raises ValueError unless ``value >= least``; NaN does not pass."""
    if not value >= least:
        raise ValueError(f"[{op}] expected {name} >= {least:g} but got {value}")


def check_no_graph(op: str, group: Mapping[str, Any]) -> None:
    """Raises ValueError for the option of PyTorch that a native step cannot honour."""
    if group.get("differentiable"):
        raise ValueError(
            f"[{op}] expected differentiable=False but got True: the step writes in place and is "
            "not recorded; compute the update with ops to differentiate through it"
        )


class RuleOptimizer(FusedOptimizer):
    """An optimizer whose step is a rule of the native ``optimizer_step_``."""

    _HYPER_LENGTH = 12
    _SCALE_AT = 5
    _COUNTS_STEPS = True

    @abstractmethod
    def _rule(self, group: Mapping[str, Any]) -> str:
        """The rule's name."""

    @abstractmethod
    def _own(self, group: Mapping[str, Any], step: int) -> list[float]:
        """The rule's own numbers for step number ``step``, from 1."""

    def _hyper_values(self, group: Mapping[str, Any], bucket: Bucket) -> list[float]:
        return rule_hyper(group, bucket.count + 1, self._own(group, bucket.count + 1))

    def _apply(self, group: Mapping[str, Any], bucket: Bucket, grads: list[Tensor]) -> None:
        apply_rule(self._rule(group), bucket, grads)


def rule_hyper(group: Mapping[str, Any], step: int, own: list[float]) -> list[float]:
    """The hyperparameters of ``optimizer_step_``."""
    values = [
        group["lr"],
        group.get("weight_decay", 0.0),
        group.get("decoupled_weight_decay", False),
        group["maximize"],
        step,
        1.0,
        *own,
    ]
    return values + [0.0] * (RuleOptimizer._HYPER_LENGTH - len(values))


def apply_rule(rule: str, bucket: Bucket, grads: list[Tensor]) -> None:
    """One native step of a bucket, whose slots are in the rule's order."""
    states = [state for slot in bucket.slots.values() for state in slot]
    _optimizer_step(bucket.params, grads, states, bucket.hyper, rule)


def check_betas(op: str, betas: tuple[float, float]) -> None:
    """Raises ValueError unless both lie in [0, 1)."""
    if not all(0.0 <= beta < 1.0 for beta in betas):
        raise ValueError(f"[{op}] expected betas in [0, 1) but got {betas}")
