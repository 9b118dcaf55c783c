"""Where and when a figure was measured: a figure without this says little."""

from __future__ import annotations

import datetime
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from threadpoolctl import threadpool_info

PACKAGES = ("torch", "pyro-ppl", "numba", "numpy", "scikit-learn", "stepmix", "faiss-cpu", "pomegranate")


def machine(threads: int) -> dict:
    """Processor, cores, caches, threads of each side, versions and date; `text` says it in a few lines."""
    pools = sorted({(pool["internal_api"], pool["num_threads"]) for pool in threadpool_info()})
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    cores = os.cpu_count() or 1
    about = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "cores": cores,
        "caches": _caches(),
        "threads": {"requested": threads, "torch": torch.get_num_threads(), "pools": [list(pool) for pool in pools]},
        "load": load,
        "busy": load is not None and load + threads > cores + 0.5,
        "python": platform.python_version(),
        "versions": {name: number for name in PACKAGES if (number := _version(name))},
    }
    caches = "".join(f", {name} {size}" for name, size in about["caches"].items())
    named = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    busy = "" if load is None else f"; load {load:.1f} before it began"
    about["text"] = (
        f"{about['date']}: {about['processor']}, {cores} cores{caches}{busy}\n"
        f"{threads} threads on each side; Python {about['python']}, {named}"
    )
    return about


def _version(name: str) -> str | None:
    """The version of a package, or None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """The processor's own name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _caches() -> dict[str, str]:
    """The sizes of the data caches of the first core, by level, where the system tells them."""
    found = {}
    for place in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = ((place / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        if kind != "Instruction":
            found[f"L{level}"] = size
    return found
