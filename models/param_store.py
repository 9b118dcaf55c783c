"""Pyro's global parameter store, kept empty while our models and guides run.

A `PyroModule` method normally writes its parameters into one global store under names such as "weights", so that two
mixtures, or a mixture and its copy, overwrite each other. `local_params` runs a method with an empty store and restores
the store afterwards, also after an error. The values are only in the module's own `torch.nn.Parameter`s.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar

import pyro
from pyro.nn.module import pyro_method
from pyro.ops.jit import CompiledFunction

Method = TypeVar("Method", bound=Callable[..., Any])

_TABLES = ("_params", "_constraints", "_param_to_name")


# Pyro keeps the handlers of running programs on one stack for all threads, as it has one parameter store
_one_at_a_time = threading.RLock()


@contextmanager
def one_pyro_program() -> Iterator[None]:
    """In the body no other thread runs a Pyro program of ours."""
    with _one_at_a_time:
        yield


@contextmanager
def empty_param_store() -> Iterator[None]:
    """In the body the global parameter store is empty; afterwards its content is restored. One thread at a time.

    The store's own tables are swapped because `ParamStoreDict.scope()` removes `.unconstrained` from unconstrained
    parameters at its end, and `pyro.infer.SVI.step` then fails.
    """
    with one_pyro_program():
        store = vars(pyro.get_param_store())
        outside = {table: store[table] for table in _TABLES}
        for table in _TABLES:
            store[table] = {}
        try:
            yield
        finally:
            store.update(outside)


def _refuse_jit() -> None:
    """Raise TypeError if one of Pyro's JIT compilers runs this program. It looks up parameters by name in the store."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code is CompiledFunction.__call__.__code__:
            raise TypeError(
                "a Jit*_ELBO of Pyro looks up parameters in Pyro's global store, where models of lowerbound keep none, "
                "expected an estimator without Jit, such as Trace_ELBO or TraceEnum_ELBO"
            )
        frame = frame.f_back


def local_params(method: Method) -> Method:
    """Decorator of a Pyro model or guide method: the global parameter store stays as it is."""
    inner = pyro_method(method)

    @wraps(method)
    def isolated(*args, **kwargs):
        _refuse_jit()
        with empty_param_store():
            return inner(*args, **kwargs)

    return isolated  # type: ignore[return-value]
