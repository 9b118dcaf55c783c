"""The file that a content is written to before it takes its place, and the removal of those that killed processes left.

A process locks the scratch file that it writes, so that it is not taken for one that was left. On a disk without locks
one is taken for left when it has not changed for `ABANDONED_SECONDS`.
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

SCRATCH = "lowerbound-scratch"  # how the names end: .model.safetensors.0.lowerbound-scratch
WRITERS = 8  # processes that may write to one place at the same time
ROUNDS, PAUSE = 50, 0.02  # how often all names are tried, and the seconds between
ABANDONED_SECONDS = 3600.0  # a write takes less


class ScratchFile:
    """A new scratch file beside a place, locked until it is closed. Those that killed processes left are removed.

    Used in a `with` statement, which closes it and removes it unless it was renamed. Raises OSError if none can be
    made.
    """

    def __init__(self, place: Path):
        paths = [place.with_name(f".{place.name}.{number}.{SCRATCH}") for number in range(WRITERS)]
        for path in paths:
            _remove_abandoned(path)
        self.path, self.file = _open_first(paths, place)
        self.is_renamed = False

    def rename(self, place: Path) -> None:
        """Give the file its name."""
        if fcntl is None:
            self.file.close()  # Windows does not rename an open file
        os.replace(self.path, place)
        self.is_renamed = True  # from now on its name may be that of another process's scratch file

    def __enter__(self) -> ScratchFile:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with suppress(OSError):  # what could not be written has raised an error before, or is not needed
            if not self.is_renamed and fcntl is not None and _has_name(self.file.fileno(), self.path):
                self.path.unlink()  # still locked: afterwards the name may be another's
        with suppress(OSError):
            self.file.close()
        if not self.is_renamed and fcntl is None:  # Windows does not remove an open file
            self.path.unlink(missing_ok=True)


def _open_first(paths: list[Path], place: Path) -> tuple[Path, BinaryIO]:
    """The first of these files that can be made, locked where the disk has locks."""
    for path in paths * ROUNDS:
        with suppress(FileExistsError):  # another process writes to the same place
            file = path.open("xb")
            # before it was locked, another process may have taken it for abandoned, and is about to remove it or has
            if _lock(file.fileno()) is not False and _has_name(file.fileno(), path):
                return path, file
            file.close()
        if path == paths[-1]:  # a name is free again as soon as its writer is done
            time.sleep(PAUSE)
    raise OSError(
        f"cannot write {place}: its {WRITERS} scratch files, {paths[0].name} to {paths[-1].name}, exist: other "
        f"processes are writing it, or were killed less than {ABANDONED_SECONDS / 60:.0f} minutes ago: wait, or delete "
        "these files"
    )


def _remove_abandoned(path: Path) -> None:
    """Remove a scratch file, unless a process that still runs has locked it, or may be writing it without a lock."""
    if fcntl is None:
        with suppress(OSError):
            if _is_old(path.lstat()):
                path.unlink()
        return
    try:
        opened = _open(path)
    except OSError:  # none was left, as a rule
        return
    try:
        about = os.fstat(opened)
        if not stat.S_ISREG(about.st_mode):
            return
        locked = _lock(opened)
        # the name: meanwhile another process may have removed or renamed this file, and a third have made a new one
        if (locked or (locked is None and _is_old(about))) and _has_name(opened, path):
            path.unlink(missing_ok=True)
    finally:
        os.close(opened)


def _open(path: Path) -> int:
    """Open a file without following links or waiting for a pipe; for writing if possible, as locks of NFS need it."""
    try:
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except PermissionError:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)


def _lock(opened: int) -> bool | None:
    """Lock an open file for this process, until it is closed. False if another has it, None on a disk without locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _has_name(opened: int, path: Path) -> bool:
    """Whether a path is that of this open file."""
    try:
        return os.path.samestat(os.fstat(opened), path.lstat())
    except FileNotFoundError:
        return False


def _is_old(about: os.stat_result) -> bool:
    """Whether a file has not changed for so long that no process is writing it."""
    return time.time() - about.st_mtime > ABANDONED_SECONDS
