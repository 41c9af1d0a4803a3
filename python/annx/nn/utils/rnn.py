"""Batches of sequences of different lengths, as ``torch.nn.utils.rnn``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from annx import _core, _creation
from annx._core import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_ops = _core.ops


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes one; None for None."""
    if permutation is None:
        return None
    return _creation.as_tensor(np.argsort(np.asarray(permutation.numpy())))


class _Packed(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Packed):
    """Sequences of different lengths without padding: what recurrent layers take and give.

    Made by :func:`pack_padded_sequence` and :func:`pack_sequence`.

    Attributes:
        data: the elements of all sequences step by step, ``(sum of lengths, *)``: first those of
            step 0 of every sequence, longest sequence first, then those of step 1, and so on.
        batch_sizes: how many sequences have each step, int64.
        sorted_indices: which sequence of the batch is the longest, the next longest, …; None if
            they came in this order.
        unsorted_indices: the permutation that undoes it.
    """

    __slots__ = ()

    def __new__(
        cls,
        data: Any,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        if batch_sizes is None:
            data, batch_sizes = data
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        sizes = cast("Tensor", batch_sizes)
        return super().__new__(cls, data, sizes, sorted_indices, unsorted_indices)

    def _with(self, change: Callable[[Tensor], Tensor]) -> PackedSequence:
        data = change(self.data)
        if data is self.data:
            return self
        return type(self)(data, self.batch_sizes, self.sorted_indices, self.unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same sequences with ``data.to(*args, **kwargs)``."""
        return self._with(lambda data: data.to(*args, **kwargs))

    def cpu(self) -> PackedSequence:
        """The same sequences on the CPU."""
        return self.to("cpu")

    def float(self) -> PackedSequence:
        """The same sequences in float32."""
        return self.to(_core.float32)

    def double(self) -> PackedSequence:
        """The same sequences in float64."""
        return self.to(_core.float64)

    def long(self) -> PackedSequence:
        """The same sequences in int64."""
        return self.to(_core.int64)


def _lengths(op: str, lengths: Any, batch: int) -> Any:
    array = np.asarray(lengths.numpy() if isinstance(lengths, Tensor) else lengths)
    if array.ndim != 1 or array.dtype.kind not in "iu" or len(array) != batch:
        raise ValueError(
            f"[{op}] expected one integer length for each of the {batch} sequences but got "
            f"{array.dtype} of shape {array.shape}"
        )
    if batch == 0 or array.min() <= 0:
        raise ValueError(f"[{op}] expected lengths of at least 1 but got {array.tolist()}")
    return array.astype(np.int64)


def _columns(batch_sizes: Any) -> tuple[Any, Any]:
    """Step and sequence of every row of packed data."""
    steps = np.repeat(np.arange(len(batch_sizes)), batch_sizes)
    starts = np.repeat(np.cumsum(batch_sizes) - batch_sizes, batch_sizes)
    return steps, np.arange(len(steps)) - starts


def pack_padded_sequence(
    input: Tensor,
    lengths: Tensor | Sequence[int],
    batch_first: bool = False,
    enforce_sorted: bool = True,
) -> PackedSequence:
    """Takes the padding out of a batch of padded sequences.

    Args:
        input: ``(T, B, *)``, or ``(B, T, *)`` if ``batch_first``.
        lengths: the length of each sequence, from 1 to T.
        batch_first: see ``input``.
        enforce_sorted: require lengths that do not grow; otherwise sequences are sorted, and
            :func:`pad_packed_sequence` restores their order.

    Raises:
        ValueError: the lengths do not fit, or grow although ``enforce_sorted``.

    Source: ``torch.nn.utils.rnn.pack_padded_sequence``.
    """
    op = "pack_padded_sequence"
    if input.ndim < 2:
        raise ValueError(
            f"[{op}] expected an input of at least 2 dimensions but got shape {tuple(input.shape)}"
        )
    batch, steps = input.shape[:2] if batch_first else (input.shape[1], input.shape[0])
    sizes = _lengths(op, lengths, batch)
    if sizes.max() > steps:
        raise ValueError(
            f"[{op}] expected lengths of at most {steps}, the steps of the input, "
            f"but got {sizes.max()}"
        )
    order = None
    if not enforce_sorted:
        order = np.argsort(-sizes, kind="stable")
        sizes = sizes[order]
    elif (np.diff(sizes) > 0).any():
        raise ValueError(
            f"[{op}] expected lengths that do not grow, or enforce_sorted=False, "
            f"but got {sizes.tolist()}"
        )
    batch_sizes = (sizes[None, :] > np.arange(sizes[0])[:, None]).sum(axis=1)
    step, row = _columns(batch_sizes)
    if order is not None:
        row = order[row]
    index = row * steps + step if batch_first else step * batch + row
    flat = input.reshape(batch * steps, *input.shape[2:])
    return PackedSequence(
        _ops.index_select(flat, 0, _creation.as_tensor(index)),
        _creation.as_tensor(batch_sizes),
        None if order is None else _creation.as_tensor(order),
    )


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Undoes :func:`pack_padded_sequence`.

    Args:
        sequence: what was packed.
        batch_first: give ``(B, T, *)`` instead of ``(T, B, *)``.
        padding_value: what stands after the end of a sequence.
        total_length: T; the length of the longest sequence if None.

    Returns:
        The padded batch in its first order, and the lengths, int64 ``(B,)``.

    Raises:
        ValueError: ``total_length`` is less than the length of the longest sequence.

    Source: ``torch.nn.utils.rnn.pad_packed_sequence``.
    """
    batch_sizes = np.asarray(sequence.batch_sizes.numpy())
    steps = len(batch_sizes)
    if total_length is not None:
        if total_length < steps:
            raise ValueError(
                "[pad_packed_sequence] expected total_length of at least "
                f"{steps}, the longest sequence, but got {total_length}"
            )
        steps = total_length
    data = sequence.data
    batch, rows = int(batch_sizes[0]), data.shape[0]
    step, row = _columns(batch_sizes)
    lengths = (batch_sizes[None, :] > np.arange(batch)[:, None]).sum(axis=1)
    if sequence.unsorted_indices is not None:
        unsorted = np.asarray(sequence.unsorted_indices.numpy())
        lengths = lengths[unsorted]
        row = np.argsort(unsorted)[row]
    # Row number `rows` is the padding.
    index = np.full((batch, steps) if batch_first else (steps, batch), rows, np.int64)
    index[(row, step) if batch_first else (step, row)] = np.arange(rows)
    padding = _ops.full((1, *data.shape[1:]), padding_value, dtype=data.dtype)
    padded = _ops.index_select(
        _ops.concat([data, padding], 0), 0, _creation.as_tensor(index.reshape(-1))
    )
    return padded.reshape(*index.shape, *data.shape[1:]), _creation.as_tensor(lengths)


def pad_sequence(
    sequences: Sequence[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Stacks sequences of different lengths, filled up to the longest.

    Args:
        sequences: Tensors ``(length, *)`` with equal ``*``.
        batch_first: give ``(B, T, *)`` instead of ``(T, B, *)``.
        padding_value: what they are filled up with.
        padding_side: ``"right"`` (after the end) or ``"left"``.

    Raises:
        ValueError: there are none, their shapes do not fit, or the side is neither.

    Source: ``torch.nn.utils.rnn.pad_sequence``.
    """
    if padding_side not in ("right", "left"):
        raise ValueError(
            f"[pad_sequence] expected padding_side 'right' or 'left' but got {padding_side!r}"
        )
    rest = _check_sequences("pad_sequence", sequences)
    longest = max(s.shape[0] for s in sequences)
    padded = []
    for s in sequences:
        shape = (longest - s.shape[0], *rest)
        fill = _ops.full(shape, padding_value, dtype=s.dtype)
        parts = [s, fill] if padding_side == "right" else [fill, s]
        padded.append(_ops.concat(parts, 0) if shape[0] else s)
    return _ops.stack(padded, 0 if batch_first else 1)


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Packs a list of sequences of different lengths.

    Args:
        sequences: Tensors ``(length, *)`` with equal ``*``.
        enforce_sorted: as for :func:`pack_padded_sequence`.

    Raises:
        ValueError: there are none, their shapes do not fit, or their lengths grow although
            ``enforce_sorted``.

    Source: ``torch.nn.utils.rnn.pack_sequence``.
    """
    _check_sequences("pack_sequence", sequences)
    lengths = [s.shape[0] for s in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Tensor | Sequence[int], batch_first: bool = False
) -> list[Tensor]:
    """Undoes :func:`pad_sequence`: the list of its sequences.

    Args:
        padded_sequences: ``(T, B, *)``, or ``(B, T, *)`` if ``batch_first``.
        lengths: the length of each.
        batch_first: see ``padded_sequences``.

    Raises:
        ValueError: the lengths do not fit.

    Source: ``torch.nn.utils.rnn.unpad_sequence``.
    """
    rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    sizes = _lengths("unpad_sequence", lengths, rows.shape[0])
    return [rows[i, : int(size)] for i, size in enumerate(sizes)]


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """Undoes :func:`pack_sequence`: the list of its sequences.

    Source: ``torch.nn.utils.rnn.unpack_sequence``.
    """
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)


def _check_sequences(op: str, sequences: Sequence[Tensor]) -> tuple[int, ...]:
    if len(sequences) == 0:
        raise ValueError(f"[{op}] expected at least one sequence but got none")
    rest = tuple(sequences[0].shape[1:])
    for s in sequences:
        if s.ndim == 0 or tuple(s.shape[1:]) != rest:
            raise ValueError(
                f"[{op}] expected sequences of shape (length, {str(rest)[1:]} but got "
                f"{tuple(s.shape)}"
            )
    return rest
