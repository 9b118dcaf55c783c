"""Where and when a figure was measured: a figure without this says little."""

from __future__ import annotations

import datetime
import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch
from threadpoolctl import threadpool_info


def machine(threads: int) -> dict:
    """Processor, cores, threads of each side, versions and date; `text` says it in two lines."""
    pools = sorted({(pool["internal_api"], pool["num_threads"]) for pool in threadpool_info()})
    versions = {name: version(name) for name in ("torch", "pyro-ppl", "scikit-learn", "numpy")}
    about = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": {"requested": threads, "torch": torch.get_num_threads(), "pools": [list(pool) for pool in pools]},
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "versions": versions,
    }
    about["busy"] = about["load"] is not None and about["load"] + threads > (os.cpu_count() or 1) + 0.5
    named = ", ".join(f"{name} {number}" for name, number in versions.items())
    load = "" if about["load"] is None else f", load {about['load']:.1f} before it began"
    about["text"] = (
        f"{about['date']}: {about['processor']}, {about['cores']} cores{load}\n"
        f"{threads} threads on each side, float64; Python {about['python']}, {named}"
    )
    return about


def _processor() -> str:
    """The processor's own name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
