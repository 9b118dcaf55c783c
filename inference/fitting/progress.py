"""Progress bars on the standard error stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

OnPass = Callable[[int, int, float, float | None], None]  # called with restart, pass, bound, held-out bound


@contextmanager
def progress_bar(show: bool, name: str, restarts: int, max_passes: int) -> Iterator[OnPass]:
    """A function to call after each pass, which moves a bar; without `show` it does nothing."""
    if not show:
        yield lambda restart, passes, bound, held_out: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("pass {task.completed:>4.0f}  {task.fields[bound]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=max_passes, bound="")

        def on_pass(restart: int, passes: int, bound: float, held_out: float | None) -> None:
            of = f" {restart + 1}/{restarts}" if restarts > 1 else ""
            beside = "" if held_out is None else f", {held_out:.6f} held out"
            text = f"{bound:>12.6f} nats per row{beside}"
            bar.update(task, description=name + of, completed=passes, bound=text)

        yield on_pass
        bar.update(task, total=bar.tasks[task].completed)  # a run that converged early is complete


@contextmanager
def counter(show: bool, total: int) -> Iterator[Callable[[str, int], None]]:
    """A function to call with a name and a number of fits that are done, out of `total`."""
    if not show:
        yield lambda name, more: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} fits"),
    )
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)
        yield lambda name, more: bar.update(task, description=name, advance=more)
