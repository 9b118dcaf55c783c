"""Errors as one line on the error stream, with the exit status of the command."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from .name_options import with_option_names

UsageError: Any = typer.BadParameter.__base__  # Typer has it under no other public name


class OneLineGroup(TyperGroup):
    """Commands that say in one line what is wrong with their arguments, as with anything else; exit status 2."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            command = "" if error.ctx is None else f": see {error.ctx.command_path} --help"
            typer.echo(f"error: {error.format_message().rstrip('.')}{command}", err=True)
            raise typer.Exit(2) from None


def modification_time(path: Path) -> int | None:
    """When a file was last written, in nanoseconds; None if there is no such file."""
    return path.stat().st_mtime_ns if path.is_file() else None


@contextmanager
def errors_as_one_line(single_process: bool = True, files: Sequence[Path | None] = ()) -> Iterator[None]:
    """Turn an error that the user can correct into one line and exit status 1; Ctrl-C into exit status 130.

    After Ctrl-C the line says which of `files` were written. A command with single_process refuses to run under
    torchrun.
    """
    before = {path: modification_time(path) for path in files if path}
    try:
        if single_process and int(os.environ.get("WORLD_SIZE", 1)) > 1:
            error = ValueError("only fit runs in several processes: start other commands without torchrun")
            vars(error)["told_elsewhere"] = os.environ.get("RANK", "0") != "0"
            raise error
        yield
    except BrokenPipeError:
        raise
    except (ValueError, TypeError, OSError, ArithmeticError, MemoryError) as error:
        if getattr(error, "told_elsewhere", False):  # the first process of the job prints it
            raise typer.Exit(1) from None
        message = with_option_names(" ".join(str(error).split()))
        message = re.sub(r'\b(prior|covariance)="(\w+)"', r"--\1 \2", message)  # as it is written in a shell
        if isinstance(error, OSError) and error.strerror:
            message = error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"
        typer.echo(f"error: {message}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        if os.environ.get("RANK", "0") == "0":
            written = [str(path) for path, time in before.items() if modification_time(path) != time]
            verb = "were" if len(written) > 1 else "was"
            typer.echo(f"interrupted: {' and '.join(written) or 'nothing'} {verb} written", err=True)
        raise typer.Exit(130) from None
