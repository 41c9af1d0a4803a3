"""`annx demo`: trains a small network on the digits and shows what it learnt."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import time
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

import annx
from annx import nn
from annx.callbacks import Callback
from annx.datasets import load_digits

Array = npt.NDArray[Any]

MIN_ACCURACY = 0.97
_WIDTH = 28  # characters of the progress bar


class _Style:
    """Colours and symbols, as far as the output can show them."""

    def __init__(self, stream: TextIO) -> None:
        terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
        self.live = terminal
        self.color = terminal and "NO_COLOR" not in os.environ
        try:
            "·█░✓✗▒".encode(stream.encoding or "ascii")
            self.dot, self.full, self.empty, self.good, self.bad = "·█░✓✗"
        except (UnicodeEncodeError, LookupError):
            self.dot, self.full, self.empty, self.good, self.bad = ".#-+!"

    def paint(self, text: str, code: int) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.color else text


class _Progress(Callback):
    """One line, redrawn after each epoch; a few plain lines where the output is not a terminal."""

    def __init__(self, epochs: int, style: _Style) -> None:
        super().__init__()
        self.epochs = epochs
        self.style = style

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        done = epoch + 1
        filled = _WIDTH * done // self.epochs
        bar = self.style.full * filled + self.style.empty * (_WIDTH - filled)
        line = (
            f"  epoch {done:>{len(str(self.epochs))}}/{self.epochs} {self.style.paint(bar, 36)} "
            f"loss {logs['loss']:.4f}  accuracy {logs['accuracy']:7.2%}"
        )
        if self.style.live:
            end = "\n" if done == self.epochs else ""
            print(f"\r{line}\x1b[K", end=end, flush=True)
        elif done == self.epochs or done % max(1, self.epochs // 4) == 0:
            print(line, flush=True)


def confusion_matrix(actual: Array, predicted: Array, classes: int) -> Array:
    """Counts (classes, classes): row = actual class, column = predicted class."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (actual, predicted), 1)
    return counts


def format_confusion(counts: Array, style: _Style) -> str:
    """The matrix as text: hits on the diagonal, misses standing out, recall at the right."""
    classes = len(counts)
    width = max(4, len(str(counts.max())) + 2)
    head = "".join(f"{label:>{width}}" for label in range(classes))
    lines = [
        f"  {'actual':>8} | predicted",
        f"  {'':>8} |{style.paint(head, 1)}   found",
        f"  {'-' * 8}-+{'-' * (width * classes)}{'-' * 8}",
    ]
    for label, row in enumerate(counts):
        cells = []
        for column, count in enumerate(row):
            if count == 0:
                cells.append(style.paint(f"{style.dot:>{width}}", 2))
            else:
                cells.append(style.paint(f"{count:>{width}}", 32 if column == label else 31))
        recall = row[label] / max(1, row.sum())
        lines.append(f"  {style.paint(f'{label:>8}', 1)} |{''.join(cells)} {recall:7.1%}")
    return "\n".join(lines)


def _format_images(images: Array, captions: list[str], style: _Style) -> str:
    """Images of 0..1 side by side, each pixel two characters of shade."""
    shades = " ░▒▓█" if style.full == "█" else " .:*#"
    lines = []
    for row in range(images.shape[1]):
        parts = []
        for image in images:
            levels = np.minimum((image[row] * len(shades)).astype(int), len(shades) - 1)
            parts.append("".join(shades[level] * 2 for level in levels))
        lines.append("  " + "  ".join(parts).rstrip())
    under = [f"{caption:^{2 * images.shape[2]}}" for caption in captions]
    lines.append("  " + "  ".join(under).rstrip())
    return "\n".join(lines)


def _draw(counts: Array, path: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5.4), layout="constrained")
    axes = FigureCanvasAgg(figure).figure.add_subplot()
    # Square-rooted shades keep single misses visible beside the full diagonal.
    axes.imshow(np.sqrt(counts), cmap="Blues")
    limit = np.sqrt(counts.max()) / 2
    for (row, column), count in np.ndenumerate(counts):
        if count:
            shade = "white" if np.sqrt(count) > limit else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=shade)
    labels = range(len(counts))
    axes.set(xlabel="predicted", ylabel="actual", xticks=labels, yticks=labels)
    accuracy = np.trace(counts) / counts.sum()
    axes.set_title(f"Digits held out: {accuracy:.1%} right")
    figure.savefig(path, dpi=120)


def _model() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(64, 256),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(256, 128),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(128, 10),
    )


def _survives_saving(model: nn.Module, inputs: Array, path: str) -> bool:
    """Saves the model, loads it into a new one and compares the predictions bit for bit."""
    annx.io.save_state(model, path)
    copy = _model()
    annx.io.load_state(copy, path)
    before, after = (np.asarray(each.predict(inputs, verbose=0)) for each in (model, copy))
    return before.tobytes() == after.tobytes()


def run(seed: int = 0, epochs: int = 20, png: str | None = None, keep: str | None = None) -> int:
    """Runs the demo and returns its exit code: 0 when the test accuracy is at least 97 %.

    Args:
        seed: seed of the split, the initial weights, the shuffling and the dropout.
        epochs: passes over the training data.
        png: file for a picture of the confusion matrix; needs matplotlib.
        keep: file for the trained model; without it the model goes to a temporary file.
    """
    if epochs < 1:
        raise ValueError(f"[demo] expected epochs >= 1 but got {epochs}")
    style = _Style(sys.stdout)
    annx.manual_seed(seed)
    images, labels = load_digits(return_X_y=True)
    images /= 16
    order = annx.randperm(len(labels)).numpy()
    held_out = len(labels) // 5
    test, train = order[:held_out], order[held_out:]

    model = _model()
    weights = sum(p.numel() for p in model.parameters())
    print(
        f"annx {annx.__version__}: {len(train)} handwritten digits of 8x8 pixels to learn "
        f"from, {len(test)} held out,\na network of {weights:,} weights, "
        f"{annx.get_num_threads()} thread(s)\n"
    )
    model.compile(
        optimizer=lambda parameters: annx.optim.AdamW(parameters, lr=2e-3),
        loss="cross_entropy",
        metrics=["accuracy"],
    )
    start = time.perf_counter()
    model.fit(
        images[train],
        labels[train],
        epochs=epochs,
        batch_size=32,
        verbose=0,
        callbacks=[_Progress(epochs, style)],
    )
    seconds = time.perf_counter() - start

    outputs = np.asarray(model.predict(images[test], verbose=0))
    predicted = outputs.argmax(axis=1)
    actual = labels[test]
    accuracy = float((predicted == actual).mean())
    counts = confusion_matrix(actual, predicted, 10)
    print(f"\n{format_confusion(counts, style)}\n")

    missed = np.flatnonzero(predicted != actual)[:4]
    if missed.size:
        captions = [f"{actual[i]}, read as {predicted[i]}" for i in missed]
        print(f"  Misread{f' (first {len(missed)})' if len(missed) == 4 else ''}:")
        print(f"{_format_images(images[test][missed].reshape(-1, 8, 8), captions, style)}\n")

    passed = accuracy >= MIN_ACCURACY
    mark = style.paint(style.good, 32) if passed else style.paint(style.bad, 31)
    print(
        f"{mark} test accuracy {accuracy:.2%} ({int((predicted == actual).sum())} of {len(test)})"
    )
    print(f"{style.paint(style.good, 32)} trained in {seconds:.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        path = keep or os.path.join(folder, "digits.safetensors")
        same = _survives_saving(model, images[test], path)
        size = os.path.getsize(path)
    mark = style.paint(style.good, 32) if same else style.paint(style.bad, 31)
    where = f" as {os.path.abspath(keep)}" if keep else ""
    print(
        f"{mark} saved{where} ({size:,} bytes) and loaded back: predictions "
        f"{'identical' if same else 'DIFFER'}"
    )
    if png is not None:
        if importlib.util.find_spec("matplotlib") is None:
            print("  no picture: matplotlib is not installed (pip install 'annx[plot]')")
        else:
            _draw(counts, png)
            print(f"{style.paint(style.good, 32)} picture in {os.path.abspath(png)}")
    if not passed:
        print(f"annx: expected test accuracy >= {MIN_ACCURACY:.0%} but got {accuracy:.2%}")
    return 0 if passed and same else 1
