"""Metrics against their definitions, whole and in batches."""

from __future__ import annotations

import annx
import numpy as np
import pytest
from annx import metrics


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    return rng.normal(size=(101, 4)), rng.integers(0, 4, 101)


def counted(p, t, classes):
    matrix = np.zeros((classes, classes), int)
    for predicted, true in zip(p, t, strict=True):
        matrix[true, predicted] += 1
    return matrix


def test_accuracy_of_every_shape(scores):
    p, t = scores
    expected = np.mean(p.argmax(1) == t)
    one_hot = np.eye(4)[t]
    for target in (t, t[:, None], one_hot, annx.tensor(t)):
        assert metrics.accuracy(annx.tensor(p), target) == pytest.approx(expected)
    assert metrics.accuracy(p.argmax(1), t) == pytest.approx(expected)
    binary = np.array([0.2, 0.7, 0.5, 0.9])
    assert metrics.accuracy(binary, [0, 1, 1, 0]) == 0.5
    assert metrics.accuracy(binary[:, None], [0, 1, 1, 0]) == 0.5
    assert metrics.accuracy(binary - 0.6, [0, 1, 1, 0], threshold=0.0) == 0.5
    many = np.array([[1.0, -1.0], [2.0, 3.0]])
    assert metrics.accuracy(many, [[1, 1], [1, 1]], threshold=0.0) == 0.75


def test_classes_in_another_dimension():
    p = np.zeros((2, 3, 5))
    t = np.arange(10).reshape(2, 5) % 3
    for i, j in np.ndindex(2, 5):
        p[i, t[i, j], j] = 1.0
    assert metrics.accuracy(p, t, axis=1) == 1.0
    assert metrics.accuracy(p, (t + 1) % 3, axis=1) == 0.0


def test_errors_of_regression(scores):
    rng = np.random.default_rng(1)
    p, t = rng.normal(size=(50, 1)), rng.normal(size=50)
    difference = p[:, 0] - t
    assert metrics.mae(p, t) == pytest.approx(np.abs(difference).mean())
    assert metrics.mse(p, t) == pytest.approx((difference**2).mean())
    assert metrics.rmse(p, t) == pytest.approx(np.sqrt((difference**2).mean()))
    with pytest.raises(ValueError, match=r"\[mae\] expected prediction and target of one shape"):
        metrics.mae(np.zeros((3, 2)), np.zeros(3))


def test_confusion_matrix(scores):
    p, t = scores
    np.testing.assert_array_equal(metrics.confusion_matrix(p, t), counted(p.argmax(1), t, 4))
    assert metrics.confusion_matrix([0, 1], [1, 1], num_classes=3).tolist() == [
        [0, 0, 0],
        [1, 1, 0],
        [0, 0, 0],
    ]
    with pytest.raises(ValueError, match="labels >= 0 and < 2 but got 5"):
        metrics.confusion_matrix([0, 5], [1, 1], num_classes=2)
    with pytest.raises(ValueError, match="got -1"):
        metrics.confusion_matrix([0, -1], [1, 1])


def test_precision_recall_f1():
    p, t = np.array([1, 1, 1, 0, 0, 1]), np.array([1, 0, 1, 1, 0, 1])
    assert metrics.precision(p, t) == pytest.approx(3 / 4)
    assert metrics.recall(p, t) == pytest.approx(3 / 4)
    assert metrics.precision([1, 1, 0], [1, 0, 0]) == 0.5
    assert metrics.recall([1, 1, 0], [1, 0, 0]) == 1.0
    assert metrics.f1_score([1, 1, 0], [1, 0, 0]) == pytest.approx(2 / 3)
    assert metrics.precision([0, 0], [1, 0]) == 0.0
    p, t = np.array([0, 1, 2, 2, 1]), np.array([0, 2, 2, 2, 1])
    assert metrics.precision(p, t) == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert metrics.recall(p, t) == pytest.approx((1 + 1 + 2 / 3) / 3)
    assert metrics.f1_score(p, t, average="micro") == pytest.approx(4 / 5)
    with pytest.raises(ValueError, match="two classes"):
        metrics.precision(p, t, average="binary")
    with pytest.raises(ValueError, match="expected average"):
        metrics.precision(p, t, average="mean")


def test_auto_average_goes_by_the_scores_not_the_labels_seen():
    # Three outputs, of which only classes 0 and 1 occur: macro, not binary.
    p = np.eye(3)[[0, 1, 1]]
    assert metrics.precision(p, [0, 0, 1]) == pytest.approx((1 + 1 / 2) / 2)


@pytest.mark.parametrize(
    ("metric", "function"),
    [
        (metrics.Accuracy(), metrics.accuracy),
        (metrics.Precision(), metrics.precision),
        (metrics.Recall(), metrics.recall),
        (metrics.F1Score(), metrics.f1_score),
    ],
)
def test_streams_of_classes_equal_the_whole(metric, function, scores):
    p, t = scores
    assert np.isnan(metric.compute())
    for start in range(0, len(t), 7):
        metric.update(annx.tensor(p[start : start + 7]), annx.tensor(t[start : start + 7]))
    assert metric.compute() == pytest.approx(function(p, t), rel=1e-12)
    metric.reset()
    assert np.isnan(metric.compute())


@pytest.mark.parametrize(
    ("metric", "function"),
    [
        (metrics.MeanAbsoluteError(), metrics.mae),
        (metrics.MeanSquaredError(), metrics.mse),
        (metrics.RootMeanSquaredError(), metrics.rmse),
    ],
)
def test_streams_of_errors_equal_the_whole(metric, function, scores):
    p, t = scores
    for start in range(0, len(t), 7):
        metric.update(p[start : start + 7, :1], t[start : start + 7])
    assert metric.compute() == pytest.approx(function(p[:, 0], t), rel=1e-12)


def test_streams_grow_with_the_labels():
    metric = metrics.Recall(average="macro")
    metric.update(np.array([0, 1]), np.array([0, 1]))
    metric.update(np.array([2, 0]), np.array([2, 2]))
    assert metric.compute() == pytest.approx((1 + 1 + 1 / 2) / 3)


def test_empty_and_unfit():
    with pytest.raises(ValueError, match="at least one sample"):
        metrics.accuracy([], [])
    with pytest.raises(ValueError, match=r"prediction \(3, 2\) and target \(4,\)"):
        metrics.accuracy(np.zeros((3, 2)), np.zeros(4))
