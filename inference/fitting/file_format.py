"""The file format of saved fits and checkpoints: safetensors with a JSON header and a format version, no pickle."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

FORMAT = 1
KEY = "lowerbound"  # the metadata entry that holds the JSON
FIT, CHECKPOINT = "fit", "checkpoint"  # kinds of file
WRITERS = {FIT: "Fit.save", CHECKPOINT: "fit(..., checkpoint=path)"}


def write(path: Path, kind: str, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write a file of this kind to `path`, completely or not at all. Raises OSError if it cannot be written."""
    require_folder(path)
    # copies, since safetensors refuses tensors that share memory or are not contiguous
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    header = {"format": FORMAT, "kind": kind, **header}
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        save_file(tensors, scratch, metadata={KEY: json.dumps(header)})
        os.chmod(scratch, 0o666 & ~_umask())
        os.replace(scratch, path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise


def require_folder(path: Path) -> None:
    """Raise FileNotFoundError if there is no folder to write `path` to."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {path.parent}")


def read(path: Path, kind: str) -> tuple[Any, dict[str, Tensor]]:
    """The header and the tensors of a file of this kind.

    Raises ValueError if the file is of another kind, was cut short, or has a newer format.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[KEY])
            newer = header["format"] > FORMAT
            found = header.get("kind", FIT)  # the first files do not say it
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        name = {FIT: "a saved fit", CHECKPOINT: "a checkpoint"}[kind]
        raise ValueError(
            f"{path} is not {name}, or was cut short ({error}): expected a file written by {WRITERS[kind]}"
        ) from error
    if newer:
        raise ValueError(
            f"{path} has format {header['format']}, this version of lowerbound reads up to {FORMAT}: upgrade lowerbound"
        )
    if found != kind:
        raise ValueError(
            f"{path} is a checkpoint, not a saved fit: resume its run by fit(..., checkpoint={str(path)!r})"
            if found == CHECKPOINT
            else f"{path} is a saved {found}, not a checkpoint: choose another file for the checkpoint"
        )
    return header, tensors


def _umask() -> int:
    """The permissions that new files of this process do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
