"""The folder of a report: check that it can be written, and replace its files all at once."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path


def require_writable(folder: Path, complaint: str) -> None:
    """Raise OSError, "complaint: reason", if nothing can be written to a folder that exists."""
    trial = folder / f".lowerbound.{uuid.uuid4().hex[:8]}"
    try:
        trial.mkdir()  # a trial, because permission bits say nothing to root or on a read-only disk
        trial.rmdir()
    except OSError as error:
        raise type(error)(f"{complaint}: {error.strerror or error}") from error


def replace_files(out: Path, files: Mapping[str, bytes], names: Sequence[str]) -> None:
    """Write these files to a folder, and delete those of an earlier report's `names` that are not in `files`.

    All files are first written to a scratch folder and then moved, in the order of `names`. A failure while writing
    leaves the earlier files as they were.
    """
    # the scratch folder is inside `out` if that exists, because `out` may be on another file system
    scratch = (out if out.is_dir() else out.parent) / f".{out.name}.{uuid.uuid4().hex[:8]}"
    scratch.mkdir(parents=True)
    try:
        for name, content in files.items():
            (scratch / name).write_bytes(content)
        if out.is_dir():
            for name in names:
                if name in files:
                    (scratch / name).replace(out / name)
                else:
                    (out / name).unlink(missing_ok=True)
        else:
            scratch.rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
