"""Progress bars, for those who ask for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Report = Callable[[int, int, float], None]  # (restart, pass, bound in nats per row)


@contextmanager
def reporter(show: bool, name: str, restarts: int, max_passes: int) -> Iterator[Report]:
    """A function to tell about each pass: a rich bar on the standard error stream, or nothing at all."""
    if not show:
        yield lambda restart, passes, bound: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("pass {task.completed:>4.0f}  {task.fields[bound]:>12.6f} nats per row"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=max_passes, bound=float("nan"))

        def report(restart: int, passes: int, bound: float) -> None:
            of = f" {restart + 1}/{restarts}" if restarts > 1 else ""
            bar.update(task, description=name + of, completed=passes, bound=bound)

        yield report
        bar.update(task, total=bar.tasks[task].completed)  # a run that converged early is done, not cut off
