"""DataLoader: batches of a dataset, in order or shuffled, in this thread or in others."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from annx.utils.data._collate import convert, default_collate
from annx.utils.data._dataset import length_of
from annx.utils.data._generator import Generator, as_generator
from annx.utils.data._sampler import (
    BatchSampler,
    RandomSampler,
    SequentialSampler,
    check_batch_size,
    count_batches,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_T = TypeVar("_T")


class DataLoader(Generic[_T]):
    """Iterates over a dataset in batches, anew at each ``iter()``.

    A dataset that can gather rows, such as ``TensorDataset``, gives a whole batch by one op per
    tensor as long as ``collate_fn`` is the default one.

    Args:
        dataset: anything with ``__getitem__`` and ``__len__``.
        batch_size: samples per batch; None gives single samples.
        shuffle: visit the samples in an order drawn anew for each pass.
        sampler: an iterable of indices, in place of ``shuffle``.
        batch_sampler: an iterable of lists of indices, in place of ``batch_size``, ``shuffle``,
            ``sampler`` and ``drop_last``.
        num_workers: threads that read ahead; 0 reads in the calling thread. Batches come in the
            same order for any number.
        collate_fn: makes a batch of a list of samples; :func:`default_collate` by default.
        pin_memory: taken for compatibility.
        drop_last: leave out a last batch that is smaller.
        generator: the random stream of ``shuffle``: a Generator or a seed; the global one, which
            ``annx.manual_seed`` restarts, by default.
        prefetch_factor: batches read ahead per worker, 2 by default.
        persistent_workers: taken for compatibility; threads live for one pass.

    Raises:
        TypeError: ``dataset`` has no length or no ``__getitem__``.
        ValueError: an argument is out of range, or two exclude each other.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[list[int]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], _T] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        *,
        generator: Generator | int | None = None,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
    ) -> None:
        length_of(dataset)
        if not hasattr(dataset, "__getitem__"):
            raise TypeError(
                f"[DataLoader] expected a dataset with __getitem__ but {type(dataset).__name__} "
                "has none"
            )
        if num_workers < 0:
            raise ValueError(f"[DataLoader] expected num_workers >= 0 but got {num_workers}")
        if prefetch_factor is not None and (num_workers == 0 or prefetch_factor < 1):
            raise ValueError(
                "[DataLoader] expected prefetch_factor >= 1 together with num_workers >= 1 but got "
                f"prefetch_factor={prefetch_factor}, num_workers={num_workers}"
            )
        if sampler is not None and shuffle:
            raise ValueError("[DataLoader] expected either sampler or shuffle=True but got both")
        if batch_sampler is not None and (
            batch_size != 1 or shuffle or sampler is not None or drop_last
        ):
            raise ValueError(
                "[DataLoader] expected batch_sampler without batch_size, shuffle, sampler and "
                "drop_last but got both"
            )
        if batch_size is None and drop_last:
            raise ValueError("[DataLoader] expected drop_last=False with batch_size=None")
        if batch_size is not None:
            check_batch_size("DataLoader", batch_size)
        self.dataset = dataset
        self.num_workers = num_workers
        self.prefetch_factor = prefetch_factor or 2
        self.pin_memory = pin_memory
        self.persistent_workers = persistent_workers
        self.drop_last = drop_last
        self.generator = as_generator("DataLoader", generator)
        if sampler is None:
            sampler = (
                RandomSampler(dataset, generator=self.generator)
                if shuffle
                else SequentialSampler(dataset)
            )
        self.sampler: Iterable[Any] = sampler
        self.batch_size = None if batch_sampler is not None else batch_size
        if batch_sampler is None and batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_sampler = batch_sampler
        self._default = collate_fn is None
        self.collate_fn: Callable[[list[Any]], Any] = (
            default_collate if collate_fn is None else collate_fn
        )

    def __len__(self) -> int:
        """Batches (or samples, with ``batch_size=None``) of one pass."""
        return length_of(self.sampler if self.batch_sampler is None else self.batch_sampler)

    def __iter__(self) -> Iterator[_T]:
        rows = self._rows()
        if rows is not None:
            return rows
        if self.batch_sampler is None:
            tasks: Iterator[Any] = iter(self.sampler)
            read: Callable[[Any], Any] = self._read_sample
        else:
            tasks = iter(self.batch_sampler)
            read = self._read_batch
        return self._in_threads(tasks, read) if self.num_workers else map(read, tasks)

    def _read_batch(self, indices: list[int]) -> Any:
        dataset = self.dataset
        return self.collate_fn([dataset[index] for index in indices])

    def _read_sample(self, index: Any) -> Any:
        sample = self.dataset[index]
        return convert(sample) if self._default else self.collate_fn(sample)

    def _rows(self) -> Iterator[Any] | None:
        """Batches gathered by the dataset itself; None where it cannot or may not."""
        batches = self.batch_sampler
        if not self._default or type(batches) is not BatchSampler or self.num_workers:
            return None
        take = getattr(self.dataset, "take", None)
        sampler = batches.sampler
        if take is None or type(sampler) not in (SequentialSampler, RandomSampler):
            return None
        return _gather(take, sampler, batches.batch_size, batches.drop_last)

    def _in_threads(self, tasks: Iterator[Any], read: Callable[[Any], Any]) -> Iterator[Any]:
        from concurrent.futures import Future, ThreadPoolExecutor

        pool = ThreadPoolExecutor(self.num_workers, thread_name_prefix="annx-loader")
        pending: deque[Future[Any]] = deque()
        try:
            for task in tasks:
                pending.append(pool.submit(read, task))
                if len(pending) > self.num_workers * self.prefetch_factor:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _gather(
    take: Callable[[Any], Any], sampler: Any, batch_size: int, drop_last: bool
) -> Iterator[Any]:
    samples = len(sampler)
    order = sampler.order() if samples and type(sampler) is RandomSampler else None
    for number in range(count_batches(samples, batch_size, drop_last)):
        start = number * batch_size
        index = slice(start, min(start + batch_size, samples))
        yield take(index if order is None else order[index])
