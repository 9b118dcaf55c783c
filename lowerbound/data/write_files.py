"""Write files completely or not at all. Everything that this package writes goes through `write_files`.

A content is first written to a scratch file beside its place, brought to the disk, and then renamed. A killed process
leaves its scratch file; the next write to the same place removes it.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from .scratch_file import ScratchFile


def write_files(files: Mapping[Path, bytes], durable: bool = True) -> None:
    """Write these contents to these paths. If one cannot be written, the old files stand and no scratch file is left.

    The files take their names in the order given, after all contents are on the disk. A link is followed, and a file
    that is replaced keeps its permissions. Raises OSError, "cannot write PATH: reason".

    durable: False leaves it to the system when the contents go to the disk. Other processes see whole files
    nevertheless, but a machine that loses its power may leave a file cut short.
    """
    path = Path()
    with ExitStack() as stack:
        try:
            renames = []
            for path, content in files.items():
                place = writable_place(path)
                scratch = stack.enter_context(ScratchFile(place))
                scratch.file.write(content)
                scratch.file.flush()
                if durable:
                    os.fsync(scratch.file.fileno())
                else:
                    os.close(os.dup(scratch.file.fileno()))  # a disk in a network says only now that it is full
                if place.exists():
                    shutil.copymode(place, scratch.path)
                renames.append((path, scratch, place))
            for path, scratch, place in renames:  # noqa: B007 (the error names the path)
                scratch.rename(place)
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
