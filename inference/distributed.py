"""Fits by several processes under their public name, `lowerbound.inference.distributed`; see `engines/processes.py`."""

from .engines.processes import is_first, job, processes, rank

__all__ = ["is_first", "job", "processes", "rank"]
