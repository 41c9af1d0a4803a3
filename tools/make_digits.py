"""Makes python/annx/datasets/digits.npz from scikit-learn's copy of the UCI digits test set.

Needs scikit-learn. The archive holds `images` (1797, 64) uint8 in 0..16 and `labels` (1797,)
uint8 in 0..9; the same input gives the same bytes. Run from the repository root:

    python tools/make_digits.py
"""

from __future__ import annotations

import io
import pathlib
import zipfile

import numpy as np
from sklearn.datasets import load_digits

TARGET = pathlib.Path(__file__).parents[1] / "python" / "annx" / "datasets" / "digits.npz"


def main() -> None:
    """Writes the archive with fixed timestamps, so that it can be made again to the byte."""
    images, labels = load_digits(return_X_y=True)
    packed = {"images": images.astype(np.uint8), "labels": labels.astype(np.uint8)}
    if not np.array_equal(packed["images"], images) or not np.array_equal(packed["labels"], labels):
        raise ValueError("[make_digits] expected whole numbers below 256 but got others")
    with zipfile.ZipFile(TARGET, "w") as archive:
        for name, array in packed.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1998, 7, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, buffer.getvalue(), compresslevel=9)
    print(f"{TARGET.name}: {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
