"""Progress bars, for those who ask for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

OnPass = Callable[[int, int, float, float | None], None]  # (restart, pass, bound, held-out bound), nats per row


@contextmanager
def progress_bar(show: bool, name: str, restarts: int, max_passes: int) -> Iterator[OnPass]:
    """A function to tell about each pass: a rich bar on the standard error stream, or nothing at all."""
    if not show:
        yield lambda restart, passes, bound, held_out: None
        return
    columns = (
        TextColumn("{runner.description}"),
        BarColumn(),
        TextColumn("pass {runner.completed:>4.0f}  {runner.fields[bound]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        runner = bar.add_task(name, total=max_passes, bound="")

        def on_pass(restart: int, passes: int, bound: float, held_out: float | None) -> None:
            of = f" {restart + 1}/{restarts}" if restarts > 1 else ""
            beside = "" if held_out is None else f", {held_out:.6f} held out"
            text = f"{bound:>12.6f} nats per row{beside}"
            bar.update(runner, description=name + of, completed=passes, bound=text)

        yield on_pass
        bar.update(runner, total=bar.tasks[runner].completed)  # a run that converged early is done, not cut off


@contextmanager
def counter(show: bool, total: int) -> Iterator[Callable[[str, int], None]]:
    """A function to tell of fits that are done, of so many: (of what, how many more)."""
    if not show:
        yield lambda name, more: None
        return
    columns = (
        TextColumn("{runner.description}"),
        BarColumn(),
        TextColumn("{runner.completed:.0f} of {runner.total:.0f} fits"),
    )
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        runner = bar.add_task("", total=total)
        yield lambda name, more: bar.update(runner, description=name, advance=more)
