"""Write files completely or not at all. Everything that this package writes goes through `write_files`.

A content is first written to a scratch file beside its place, brought to the disk, and then renamed. A killed process
leaves its scratch file; the next write to the same place removes it. A process locks the scratch file that it writes,
so that it is not taken for one that was left.
"""

from __future__ import annotations

import os
import shutil
import stat
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows, where nobody can remove a file that a process has open
    fcntl = None

SCRATCH = "lowerbound-scratch"  # how the names of scratch files end: .model.safetensors.0.lowerbound-scratch
WRITERS = 8  # processes that may write to one place at the same time


def write_files(files: Mapping[Path, bytes]) -> None:
    """Write these contents to these paths. If one cannot be written, the old files stand and no scratch file is left.

    The files take their names in the order given, after all contents are on the disk. A link is followed, and a file
    that is replaced keeps its permissions. Raises OSError, "cannot write PATH: reason".
    """
    path = Path()
    with ExitStack() as stack:
        try:
            renames = []
            for path, content in files.items():
                place = writable_place(path)
                scratch, file = _open_scratch(place)
                stack.callback(scratch.unlink, missing_ok=True)
                stack.callback(_close, file)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                if place.exists():
                    shutil.copymode(place, scratch)
                if fcntl is None:
                    file.close()  # Windows does not rename an open file
                renames.append((path, scratch, place))
            for path, scratch, place in renames:  # noqa: B007 (the error names the path)
                os.replace(scratch, place)
        except OSError as error:
            raise in_one_sentence(error, f"cannot write {path}") from error


def write_folder(folder: Path, files: Mapping[str, bytes], names: Sequence[str]) -> None:
    """Write files, given by their names, to a folder, which is made if it does not exist, and delete the other `names`.

    Raises OSError, as `write_files` does; a folder that was made is then removed.
    """
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_files({folder / name: files[name] for name in names if name in files})
    except OSError as error:
        for each in made:
            with suppress(OSError):
                each.rmdir()
        raise in_one_sentence(error, f"cannot write to {folder}") from error
    for name in names:
        if name not in files:
            (folder / name).unlink(missing_ok=True)


def writable_place(path: Path) -> Path:
    """Where a file of this path lies once links are followed. Raises OSError if no file can be there."""
    place = Path(os.path.realpath(path))
    if not place.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {path.parent}")
    if place.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder, expected a file")
    if place.exists() and not place.is_file():  # renaming would replace /dev/null itself
        raise OSError(f"cannot write {path}: it is a device or a pipe, expected a file")
    return place


def require_writable(folder: Path, complaint: str) -> None:
    """Raise OSError, "complaint: reason", if nothing can be written to a folder that exists."""
    trial = folder / f".lowerbound.{uuid.uuid4().hex[:8]}"
    try:
        trial.mkdir()  # a trial, because permission bits say nothing to root or on a read-only disk
        trial.rmdir()
    except OSError as error:
        raise in_one_sentence(error, complaint) from error


def in_one_sentence(error: OSError, complaint: str) -> OSError:
    """An error of the same type, "complaint: reason"; an error that is a sentence already as it is."""
    if error.strerror is None and str(error).startswith("cannot write"):
        return error
    sentence = type(error)(f"{complaint}: {error.strerror or error}")
    sentence.errno = error.errno
    return sentence


def _open_scratch(place: Path) -> tuple[Path, BinaryIO]:
    """A new scratch file beside a place, locked. Those that killed processes left there are removed."""
    scratches = [place.with_name(f".{place.name}.{number}.{SCRATCH}") for number in range(WRITERS)]
    for scratch in scratches:
        _remove_abandoned(scratch)
    for scratch in scratches:
        with suppress(FileExistsError):  # another process writes to the same place
            file = scratch.open("xb")
            _lock(file.fileno())
            if fcntl is None or os.fstat(file.fileno()).st_nlink:
                return scratch, file
            file.close()  # another process took it for abandoned before it was locked
    raise OSError(f"cannot write {place}: {WRITERS} other runs are writing it, expected one at a time")


def _close(file: BinaryIO) -> None:
    """Close a file. What could not be written to it has raised an error before, or is not needed."""
    with suppress(OSError):
        file.close()


def _remove_abandoned(scratch: Path) -> None:
    """Remove a scratch file, unless a process that still runs has locked it."""
    if fcntl is None:
        with suppress(OSError):
            scratch.unlink()
        return
    try:
        opened = os.open(scratch, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # none was left, as a rule
        return
    try:
        if stat.S_ISREG(os.fstat(opened).st_mode) and _lock(opened):
            scratch.unlink(missing_ok=True)
    finally:
        os.close(opened)


def _lock(opened: int) -> bool:
    """Lock an open file for this process, until it is closed. False if another has it, or the disk knows no locks."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
