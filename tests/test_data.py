"""Datasets, samplers and the loader."""

from __future__ import annotations

import collections
import threading

import annx
import numpy as np
import pytest
from annx.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    Generator,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    default_collate,
    random_split,
)


class Squares(Dataset):
    def __len__(self):
        return 10

    def __getitem__(self, index):
        if not 0 <= index < 10:
            raise IndexError(index)
        return annx.tensor([float(index)]), index * index


@pytest.fixture
def rows():
    return TensorDataset(annx.arange(20).reshape(10, 2), annx.arange(10))


def test_both_import_paths_are_one():
    import annx.data

    assert annx.data.DataLoader is DataLoader


def test_tensor_dataset(rows):
    x, y = rows[3]
    assert x.tolist() == [6, 7]
    assert y.item() == 3
    assert len(rows) == 10
    with pytest.raises(IndexError):
        rows[10]
    with pytest.raises(ValueError, match="equal lengths"):
        TensorDataset(annx.zeros(3), annx.zeros(4))
    with pytest.raises(ValueError, match="at least one dimension"):
        TensorDataset()


def test_subset_and_concat(rows):
    both = Squares() + Squares()
    assert isinstance(both, ConcatDataset)
    assert len(both) == 20
    assert [both[i][1] for i in (0, 9, 10, -1)] == [0, 81, 0, 81]
    with pytest.raises(IndexError):
        both[20]
    with pytest.raises(ValueError, match="at least one dataset"):
        ConcatDataset([])
    subset = Subset(rows, [7, 2])
    assert [subset[i][1].item() for i in range(2)] == [7, 2]


@pytest.mark.parametrize("lengths", [[7, 3], [0.7, 0.3]])
def test_random_split_is_a_partition(lengths):
    parts = random_split(Squares(), lengths, generator=3)
    assert [len(part) for part in parts] == [7, 3]
    assert sorted([*parts[0].indices, *parts[1].indices]) == list(range(10))
    again = random_split(Squares(), lengths, generator=Generator().manual_seed(3))
    assert again[0].indices == parts[0].indices
    assert random_split(Squares(), lengths, generator=4)[0].indices != parts[0].indices


def test_random_split_shares_leave_nothing_out():
    assert [len(part) for part in random_split(Squares(), [0.33, 0.33, 0.34])] == [4, 3, 3]
    with pytest.raises(ValueError, match="add up to 10"):
        random_split(Squares(), [5, 4])
    with pytest.raises(ValueError, match="at least 0"):
        random_split(Squares(), [11, -1])


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("dataset", ["rows", "squares"])
def test_batches_in_order(workers, dataset, rows):
    loader = DataLoader(rows if dataset == "rows" else Squares(), 4, num_workers=workers)
    assert len(loader) == 3
    batches = list(loader)
    assert [batch[0].shape[0] for batch in batches] == [4, 4, 2]
    targets = [value for batch in batches for value in batch[1].tolist()]
    expected = range(10) if dataset == "rows" else [i * i for i in range(10)]
    assert targets == list(expected)
    dropped = DataLoader(rows, 4, drop_last=True)
    assert len(dropped) == len(list(dropped)) == 2


def test_shuffle_follows_the_seed(rows):
    def order(**options):
        loader = DataLoader(rows, 3, shuffle=True, **options)
        return [[v for _, y in loader for v in y.tolist()] for _ in range(2)]

    annx.manual_seed(5)
    first = order()
    annx.manual_seed(5)
    assert order() == first
    assert first[0] != first[1]
    assert all(sorted(epoch) == list(range(10)) for epoch in first)
    assert order(generator=9) == order(generator=9)
    # A stream of its own leaves the global one alone.
    annx.manual_seed(5)
    order(generator=9)
    assert order() == first


def test_gathered_batches_equal_collated_ones(rows):
    annx.manual_seed(1)
    gathered = [y.tolist() for _, y in DataLoader(rows, 3, shuffle=True)]
    annx.manual_seed(1)
    plain = DataLoader(rows, 3, shuffle=True, collate_fn=lambda batch: default_collate(batch))
    assert [y.tolist() for _, y in plain] == gathered
    annx.manual_seed(1)
    threads = DataLoader(rows, 3, shuffle=True, num_workers=2)
    assert [y.tolist() for _, y in threads] == gathered


def test_a_subset_gathers_too(rows, monkeypatch):
    subset = Subset(rows, [9, 4, 6])
    monkeypatch.setattr(Subset, "__getitem__", lambda *args: pytest.fail("read one by one"))
    (batch,) = DataLoader(subset, 3)
    assert batch[1].tolist() == [9, 4, 6]
    assert batch[0].tolist() == [[18, 19], [8, 9], [12, 13]]


def test_samplers(rows):
    assert list(SequentialSampler(rows)) == list(range(10))
    assert sorted(RandomSampler(rows)) == list(range(10))
    many = list(RandomSampler(rows, num_samples=25, generator=1))
    assert len(many) == 25
    assert sorted(many[:10]) == sorted(many[10:20]) == list(range(10))
    drawn = list(RandomSampler(rows, replacement=True, num_samples=1000, generator=1))
    assert set(drawn) == set(range(10))
    assert sorted(SubsetRandomSampler([3, 5, 8])) == [3, 5, 8]
    assert list(BatchSampler(range(5), 2, False)) == [[0, 1], [2, 3], [4]]
    assert list(BatchSampler(range(5), 2, True)) == [[0, 1], [2, 3]]
    loader = DataLoader(rows, batch_sampler=[[1, 2], [5]])
    assert [y.tolist() for _, y in loader] == [[1, 2], [5]]
    assert [y.tolist() for _, y in DataLoader(rows, 2, sampler=[4, 0, 1])] == [[4, 0], [1]]


def test_single_samples(rows):
    samples = list(DataLoader(rows, batch_size=None))
    assert len(samples) == 10
    assert samples[2][0].tolist() == [4, 5]


def test_threads_read_ahead_and_hand_on_errors():
    seen = set()

    class Slow(Squares):
        def __getitem__(self, index):
            seen.add(threading.current_thread().name)
            if index == 7:
                raise KeyError("sample 7")
            return super().__getitem__(index)

    loader = DataLoader(Slow(), 2, num_workers=2)
    batches = iter(loader)
    assert next(batches)[1].tolist() == [0, 1]
    with pytest.raises(KeyError, match="sample 7"):
        list(batches)
    assert all(name.startswith("annx-loader") for name in seen)
    stopped = iter(loader)
    next(stopped)
    stopped.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("annx-loader")]


def test_collate():
    Point = collections.namedtuple("Point", "x y")
    batch = default_collate(
        [
            {"a": np.float32(1), "p": Point(1, 2.5), "s": "u", "v": [np.ones(2), True]},
            {"a": np.float32(3), "p": Point(3, 4.5), "s": "w", "v": [np.zeros(2), False]},
        ]
    )
    assert batch["a"].tolist() == [1.0, 3.0]
    assert batch["a"].dtype == annx.float32
    assert isinstance(batch["p"], Point)
    assert batch["p"].x.dtype == annx.int64
    assert batch["p"].y.dtype == annx.float32
    assert batch["s"] == ["u", "w"]
    assert batch["v"][0].tolist() == [[1.0, 1.0], [0.0, 0.0]]
    assert batch["v"][1].tolist() == [True, False]
    with pytest.raises(ValueError, match=r"one shape but got \(2,\) and \(3,\)"):
        default_collate([annx.zeros(2), annx.zeros(3)])
    with pytest.raises(ValueError, match="equal length"):
        default_collate([[1, 2], [1]])
    with pytest.raises(TypeError, match="got object"):
        default_collate([object()])
    with pytest.raises(ValueError, match="at least one sample"):
        default_collate([])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size as an int >= 1"),
        ({"batch_size": 2.0}, ValueError, "batch_size as an int"),
        ({"num_workers": -1}, ValueError, "num_workers >= 0"),
        ({"prefetch_factor": 2}, ValueError, "prefetch_factor >= 1 together with"),
        ({"sampler": [1], "shuffle": True}, ValueError, "either sampler or shuffle"),
        ({"batch_sampler": [[1]], "batch_size": 2}, ValueError, "batch_sampler without"),
        ({"batch_size": None, "drop_last": True}, ValueError, "drop_last=False"),
        ({"generator": "x"}, TypeError, "generator as"),
    ],
)
def test_loader_errors(options, error, message, rows):
    with pytest.raises(error, match=message):
        DataLoader(rows, **options)


def test_loader_needs_a_dataset():
    with pytest.raises(TypeError, match="with a length"):
        DataLoader(iter([1]))
    with pytest.raises(TypeError, match="with __getitem__"):
        DataLoader({1, 2})


def test_an_empty_dataset_gives_no_batches():
    empty = TensorDataset(annx.zeros(0, 2))
    assert list(DataLoader(empty, 4)) == []
    assert list(DataLoader(empty, 4, shuffle=True)) == []
