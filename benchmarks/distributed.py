"""A pass of EM by two processes, each with its half of the rows, against one process with all of them.

Run as `python -m benchmarks.distributed`. README.md beside this file says what is measured and how.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine

REQUIRED = 1.7  # times as fast, of at most 2
SAME = 1e-10  # nats per row: how closely both must agree on the bounds before anything is timed
ROWS, COLUMNS, COMPONENTS = 400_000, 16, 16
CALLS = 3  # passes between two readings of the clock
RESULTS = Path(__file__).parent / "results" / "distributed.json"


def table(rows: int, columns: int, components: int) -> np.ndarray:
    """Rows of so many Gaussians that overlap."""
    random = np.random.default_rng(0)
    return (
        random.normal(size=(rows, columns))
        + 2 * random.normal(size=(components, columns))[np.arange(rows) % components]
    )


def worker(rows: int, columns: int, components: int, pairs: int, out: str) -> None:
    """One of the two processes: they time the passes that they make together, and in turn with those the first one
    times the passes that it makes alone, while the second one sleeps."""
    import torch.distributed as dist

    from lowerbound.inference import EM
    from lowerbound.inference.engines.collectives import gather, synchronize
    from lowerbound.inference.engines.processes import is_first, job
    from lowerbound.inference.fitting.distributed_rows import rows_for_fit
    from lowerbound.models import GaussianMixture, Rows, seed

    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(os.environ["RANK"]) % len(cores)]})
    torch.set_num_threads(1)
    with job():
        x = table(rows, columns, components)
        whole, part = Rows(x), rows_for_fit(x)
        model = seed(GaussianMixture(components, columns), x[:20_000])
        synchronize(model.state_dict().values())
        for read in (whole, part):
            _ = read.moments  # as a fit reads all rows first, and looks whether they are numbers
        start = {name: value.clone() for name, value in model.state_dict().items()}
        seconds: dict[str, list[float]] = {"one": [], "two": []}
        work: dict[str, list[float]] = {"one": [], "two": []}  # seconds of the processor, whatever else it does
        bounds: dict[str, list[float]] = {}
        for turn in range(pairs + 1):  # the first is not counted
            for name, read in {"one": whole, "two": part}.items():
                dist.barrier()
                if name == "one" and not is_first():
                    continue
                model.load_state_dict(start)
                steps = EM().passes(model, read, CALLS + 1, torch.Generator())
                own = [float(next(steps))]
                began, busy = time.perf_counter(), time.process_time()
                own += [float(next(steps)) for _ in range(CALLS)]
                if turn:
                    seconds[name].append((time.perf_counter() - began) / CALLS)
                    work[name].append((time.process_time() - busy) / CALLS)
                bounds[name] = own
        slowest = [max(each) for each in zip(*gather(lambda: work["two"]), strict=True)]
        if is_first():
            assert steps.last is not None
            numbers = sum(value.numel() for value in vars(steps.last[0]).values())
            apart = max(abs(a - b) for a, b in zip(bounds["one"], bounds["two"], strict=True))
            found = {"seconds": seconds, "work": work | {"two": slowest}, "apart": apart, "bytes": 8 * numbers}
            Path(out).write_text(json.dumps(found))


def results(
    rows: int = ROWS, columns: int = COLUMNS, components: int = COMPONENTS, pairs: int = 9
) -> list[dict[str, object]]:
    """Seconds of a pass of each side, and how many times two processes are as fast (median, least, most); the same for
    the processor's time of the busier one, which is what it would be if no other job were on its core (work_ratio)."""
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
        free.close()
        out = str(Path(folder) / "found.json")
        command = [sys.executable, "-m", "benchmarks.distributed", "--worker", out]
        command += [f"--{name}={value}" for name, value in locals_of(rows, columns, components, pairs).items()]
        job = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
        processes = [
            subprocess.Popen(command, env={**os.environ, **job, "RANK": str(i), "LOCAL_RANK": str(i)}) for i in range(2)
        ]
        if any([process.wait() for process in processes]):
            raise SystemExit("a process of the benchmark failed")
        found = json.loads(Path(out).read_text())
    if not found["apart"] <= SAME:
        raise SystemExit(f"the bounds are {found['apart']:.2g} nats per row apart")
    one, two = found["seconds"]["one"], found["seconds"]["two"]
    ratios = [a / b for a, b in zip(one, two, strict=True)]
    work = [a / b for a, b in zip(found["work"]["one"], found["work"]["two"], strict=True)]
    return [
        {
            "name": "EM pass, two processes", "rows": rows, "columns": columns, "components": components,
            "one_s": median(one), "two_s": median(two), "bytes": found["bytes"], "apart": found["apart"],
            "ratio": median(ratios), "least": min(ratios), "most": max(ratios), "required": REQUIRED,
            "work_ratio": median(work),
        }
    ]  # fmt: skip


def locals_of(rows: int, columns: int, components: int, pairs: int) -> dict[str, int]:
    """The settings of a worker, by the names of its options."""
    return {"rows": rows, "columns": columns, "components": components, "pairs": pairs}


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write JSON; 1 if two processes are not `REQUIRED` times as fast, else 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.distributed", description=__doc__)
    parser.add_argument("--pairs", type=int, default=9, help="timings of each side (default 9)")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--columns", type=int, default=COLUMNS)
    parser.add_argument("--components", type=int, default=COMPONENTS)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    settings = locals_of(options.rows, options.columns, options.components, options.pairs)
    if options.worker:
        worker(**settings, out=options.worker)
        return 0
    console = Console(width=max(110, Console().width))
    about = machine(1)
    console.print(about["text"])
    (result,) = results(**settings)
    shown = Table(title=f"a pass of EM, {options.rows} x {options.columns}, {options.components} components, full")
    for name in ("", "ms", "times one process", "least - most"):
        shown.add_column(name, justify="left" if not name else "right")
    shown.add_row("one process, one core", f"{1e3 * result['one_s']:.1f}", "1", "")
    spread = f"{result['least']:.2f} - {result['most']:.2f}"
    shown.add_row("two processes, two cores", f"{1e3 * result['two_s']:.1f}", f"{result['ratio']:.2f}", spread)
    console.print(shown)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": about, "passes": [result]}, indent=1) + "\n")
    verdict = "" if result["ratio"] >= REQUIRED else f": TOO SLOW, expected at least {REQUIRED:g}"
    console.print(
        f"{result['ratio']:.2f} times as fast by two processes (in processor time {result['work_ratio']:.2f}), "
        f"{result['bytes']} bytes a pass{verdict}"
    )
    return int(result["ratio"] < REQUIRED)


if __name__ == "__main__":
    sys.exit(main())
