"""What `--out` must not replace: the input, and files that lowerbound did not write."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from ...data.write_files import require_writable, writable_place


def require_output_file(out: Path, data: str, is_own: Callable[[Path], bool], own: str) -> None:
    """Raise OSError, in one sentence, if a file cannot be written, is the input, or is none that lowerbound wrote.

    is_own: whether a file that exists may be replaced. own: what such a file is called.
    """
    place = writable_place(out)
    require_not_input([out], data)
    if place.exists() and place.stat().st_size and not is_own(place):
        raise FileExistsError(
            f"cannot write {out}: the file that is there is not {own}: choose another name for --out, or delete it"
        )
    require_writable(place.parent, f"cannot write {out}")


def require_not_input(paths: Iterable[Path], data: str) -> None:
    """Raise FileExistsError if one of these paths is the file DATA, by whatever name or link, or one in its folder."""
    source = Path(data)
    for path in paths if source.exists() else ():
        inside = source.is_dir() and path.suffix.lower() == ".parquet" and is_same(path.parent, source)
        if inside or is_same(path, source):
            raise FileExistsError(f"cannot write {path}: it holds the data, choose another name for --out")


def is_same(one: Path, other: Path) -> bool:
    """Whether two paths are of one file, which need not exist yet."""
    if one.exists() and other.exists():
        return one.samefile(other)
    return os.path.realpath(one) == os.path.realpath(other)


def starts_with(path: Path, mark: bytes) -> bool:
    """Whether a file begins with these bytes."""
    with path.open("rb") as file:
        return file.read(len(mark)) == mark
