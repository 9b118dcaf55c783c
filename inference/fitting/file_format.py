"""The file format of saved fits and checkpoints: safetensors with a JSON header and a format version, no pickle.

The metadata hold the header and a digest of the header and all tensors, which is compared before anything else is
believed. Files of format 1 may lack it: damage among their numbers goes unnoticed. A file that was damaged, or made to
do harm, is refused in one sentence: what is read from it stays within `damage`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ...data.file_names import utf8_name
from ...data.write_files import write_files
from ...models.module import Recorded

FORMAT = 2  # from which on every file has a digest
KEY, DIGEST = "lowerbound", "digest"  # the metadata entries that hold the JSON, and its digest with the tensors
FIT, CHECKPOINT = "fit", "checkpoint"  # kinds of file
NAMES = {FIT: "a saved fit", CHECKPOINT: "a checkpoint"}
WRITERS = {FIT: "Fit.save", CHECKPOINT: "fit(..., checkpoint=path)"}
CURES = {FIT: "fit the model again, or take a copy of the file", CHECKPOINT: "choose another file, or delete it"}
DEPTH = 100  # levels of brackets in a header
BRACKETS = 1_000_000  # pairs of brackets in a header, which take 64 bytes and more each in memory


class UnreadableFile(ValueError):
    """What is wrong with a file, in one sentence that names it."""


def write(path: Path, kind: str, tensors: dict[str, Tensor], header: dict[str, Any], durable: bool = True) -> None:
    """Write a file of this kind to `path`, completely or not at all. Raises OSError if it cannot be written.

    durable: as `write_files` takes it.
    """
    # copies, since safetensors refuses tensors that share memory or are not contiguous
    tensors = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()
    }
    text = json.dumps({"format": FORMAT, "kind": kind, **header})
    write_files({path: save(tensors, {KEY: text, DIGEST: _digest(text, tensors)})}, durable)


def read(path: Path, kind: str) -> tuple[Any, dict[str, Tensor]]:
    """The header and the tensors of a file of this kind.

    Raises ValueError if the file was cut short or changed, has a newer format, or is of another kind.
    """
    try:
        with utf8_name(path) as name, safe_open(name, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no dict)
        has_digest = DIGEST in metadata
        if has_digest and (metadata.keys() != {KEY, DIGEST} or metadata[DIGEST] != _digest(metadata[KEY], tensors)):
            raise _changed(path, kind)
        header = _parsed(metadata[KEY])
        version, found = int(header["format"]), header.get("kind", FIT)  # the first files do not say their kind
        if not has_digest and (version >= 2 or found not in NAMES or metadata.keys() != {KEY}):
            raise _changed(path, kind)
    except (OSError, UnreadableFile):
        raise
    except Exception as error:  # of any kind: the bytes are not what the reader expects
        raise UnreadableFile(
            f"{path} is not {NAMES[kind]}, or was cut short ({_reason(error)}): expected a file written by "
            f"{WRITERS[kind]}"
        ) from error
    if version > FORMAT:
        raise UnreadableFile(
            f"{path} has format {version}, this version of lowerbound reads up to {FORMAT}: upgrade lowerbound"
        )
    if found != kind:
        raise UnreadableFile(
            f"{path} is a checkpoint, not a saved fit: resume its run by fit(..., checkpoint={str(path)!r})"
            if found == CHECKPOINT
            else f"{path} is a saved {found}, not a checkpoint: choose another file for the checkpoint"
        )
    return header, tensors


def _changed(path: Path, kind: str) -> UnreadableFile:
    """What is said of a file without the digest of its content."""
    return UnreadableFile(
        f"{path} is damaged: its digest is not that of its content, which has changed since it was written: "
        f"{CURES[kind]}"
    )


def kind_of(path: Path) -> str | None:
    """Which kind of file this is; None for a file that this package did not write."""
    try:
        with utf8_name(path) as name, safe_open(name, framework="pt") as file:
            return _parsed((file.metadata() or {})[KEY]).get("kind", FIT)
    except Exception:  # of any kind, as in `read`
        return None


@contextmanager
def damage(path: Path, kind: str) -> Iterator[None]:
    """In the body, which uses what a file holds, any error becomes a ValueError that says the file is damaged."""
    try:
        yield
    except UnreadableFile:
        raise
    except Exception as error:  # of any kind: the file may hold anything
        raise UnreadableFile(
            f"{path} is damaged ({_reason(error)}), expected a file written by {WRITERS[kind]}: {CURES[kind]}"
        ) from error


def load_parameters(model: Any, state: dict[str, Tensor], path: Path, kind: str, assign: bool = False) -> None:
    """Load tensors into a model, with the checks of parameters that are set by hand.

    assign: take the tensors' precision and device. Raises ValueError for other names or shapes than the model has, NaN,
    or values outside the constraints.
    """
    own = model.state_dict()
    parameters = dict(model.named_parameters())
    # parameters first: buffers have names that users do not know
    for name in sorted(own.keys() | state.keys(), key=lambda name: (name not in parameters, name)):
        saved, wanted = (tuple(s[name].shape) if name in s else None for s in (state, own))
        if saved != wanted and (name in parameters or name.endswith("_unconstrained")):
            public = name.removesuffix("_unconstrained")
            raise UnreadableFile(
                f"{path} holds {public} of shape {saved}, expected {wanted}: it is a {kind} of another model"
            )
        if saved != wanted:
            raise UnreadableFile(
                f"{path} is a {kind} of a model with other settings, expected those of the model it is to be read "
                "into: pass one that is made as the model of the fit was"
            )
        if state[name].is_floating_point() != own[name].is_floating_point():
            raise UnreadableFile(f"{path} holds {name} as {state[name].dtype}, expected {own[name].dtype}")
    for name, _ in model.named_parameters():
        if name in state and torch.isnan(state[name]).any():
            raise UnreadableFile(f"{path} is damaged: its {name} holds NaN, expected numbers: {CURES[kind]}")
    model.load_state_dict(state, assign=assign)
    for path_of, part in model.named_modules():
        for name in part._pyro_params if isinstance(part, Recorded) else ():
            try:
                part.require_allowed(name, part.value(name).detach())
            except ValueError as error:
                where = f"{path_of}.{name}".lstrip(".")
                raise UnreadableFile(f"{path} is damaged ({where}: {_reason(error)}): {CURES[kind]}") from error


def _parsed(text: str) -> Any:
    """A header. Raises ValueError if it would take much memory, or is nested deeper than any that was written."""
    if max(text.count("["), text.count("{")) > BRACKETS:
        raise ValueError("its header has more parts than any that was written")
    header = json.loads(text)
    level, depth = [header], 0
    while level:
        level = [part for whole in level for part in (whole.values() if isinstance(whole, dict) else whole)]
        level = [part for part in level if isinstance(part, dict | list)]
        depth += 1
        if depth > DEPTH:
            raise ValueError("its header is nested deeper than any that was written")
    return header


def _digest(text: str, tensors: dict[str, Tensor]) -> str:
    """A hash of a header and of the names, types, shapes and bits of tensors."""
    digest = hashlib.sha256(text.encode())  # the fastest of those in hashlib, by instructions of the processor
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    """An error in few words, on one line."""
    words = " ".join(str(error).split()) or type(error).__name__
    words = words if isinstance(error, ValueError | SafetensorError) else f"{type(error).__name__}: {words}"
    return words if len(words) <= 200 else f"{words[:200]} ..."
