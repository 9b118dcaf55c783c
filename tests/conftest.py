"""What all tests share: one thread, reproducible hypothesis draws, and no trace left in anything global."""

import os
import random
import subprocess
import sys
from collections import Counter
from functools import partial, wraps
from inspect import isfunction

import beartype
import jaxtyping
import pyro
import pytest
import torch
from hypothesis import HealthCheck, settings
from pyro.poutine.runtime import _PYRO_STACK
from sampling import covering_samples

# The hook that checks annotations looks up `beartype.beartype`: here an int is a float, as PEP 484 and pyright have it.
beartype.beartype = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))

# A check of a call's annotations takes longer than most calls. So only the first call of each function is checked, in
# each file of tests. For all calls: CHECKED=1000000 make test
CHECKED = int(os.environ.get("CHECKED", 1))
calls: Counter[int] = Counter()  # by the code of the function, which is the same for closures that are made anew
current = ""  # the file of tests whose calls are counted
jaxtyped = jaxtyping.jaxtyped

# Tests with several parametrized arguments run a sample of their cases, unless this is set.
EVERY_CASE = bool(os.environ.get("ALL_CASES"))


def jaxtyped_at_first(function=None, *, typechecker):
    """`jaxtyping.jaxtyped`, which the hook puts on everything, for the first calls (one, by default)."""
    if function is None:
        return partial(jaxtyped_at_first, typechecker=typechecker)
    if not isfunction(function):
        return jaxtyped(function, typechecker=typechecker)
    code, checked = id(function.__code__), None

    @wraps(function)
    def either(*args, **kwargs):
        __tracebackhide__ = True
        nonlocal checked
        if calls[code] >= CHECKED:
            return function(*args, **kwargs)
        calls[code] += 1
        checked = checked or jaxtyped(function, typechecker=typechecker)
        return checked(*args, **kwargs)

    return either


jaxtyping.jaxtyped = jaxtyped_at_first

torch.set_num_threads(1)  # small tables: on a busy machine, threads that meet after every operation wait for seconds
# derandomize: the same examples in every run, so that a failure is always a change in the code
settings.register_profile(
    "house",
    derandomize=True,
    deadline=None,
    max_examples=25 if EVERY_CASE else 12,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("house")


def pytest_configure(config):
    os.environ.setdefault("LOWERBOUND_TEST_SEED", str(random.SystemRandom().randrange(10**6)))  # workers inherit it
    config.addinivalue_line("markers", "drawn(n): of the cases of a test that are marked so, n run")
    # Pyro's distributions derive from typing.Callable, which beartype deplores wherever one is annotated
    config.addinivalue_line("filterwarnings", "ignore::beartype.roar.BeartypeDecorHintPep585DeprecationWarning")
    if not hasattr(config, "workerinput"):
        # once before the processes begin: ArviZ trips over another one that is also imported first on a day, and what
        # is compiled takes each of them seconds
        program = (
            "import arviz; from lowerbound.models import CategoricalMixture, GaussianMixture, KMeans\n"
            "for model in (GaussianMixture(1, 1), CategoricalMixture(1, [2]), KMeans(1, 1)): model.prepare()"
        )
        subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True)


def pytest_report_header():
    if EVERY_CASE:
        return "all cases of all tests"
    seed = os.environ["LOWERBOUND_TEST_SEED"]
    return f"cases drawn by LOWERBOUND_TEST_SEED={seed}; for all of them: ALL_CASES=1 make test"


def pytest_collection_modifyitems(config, items):
    """Run a covering sample of each product of parameters, and tutorials first.

    Tutorials take longest: started last, they would keep one process busy after the others have ended.
    """
    named = config.option.keyword or any("::" in argument for argument in config.args)
    if not (EVERY_CASE or named):
        kept = covering_samples(items, os.environ["LOWERBOUND_TEST_SEED"])
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = [item for item in items if item in kept]
    items.sort(key=lambda item: "test_tutorials" not in item.nodeid)


@pytest.fixture
def as_users_run_it():
    """Without the hook, as in production: what a function itself says of a wrong argument."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def annotations_are_checked_anew(request):
    """In every file of tests."""
    global current
    if current != (file := request.node.nodeid.partition("::")[0]):
        calls.clear()
        current = file


@pytest.fixture(autouse=True)
def no_trace_is_left():
    """Every test, whatever it calls, must leave Pyro's global store, its handlers and torch's defaults as they were."""
    yield
    left = list(pyro.get_param_store().keys())
    pyro.clear_param_store()
    assert left == []
    assert _PYRO_STACK == []
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()


@pytest.fixture
def faithful():
    """Old Faithful's 272 eruptions: minutes, and minutes of waiting."""
    from lowerbound import datasets  # not above: the hook sees only what is imported after this file

    return datasets.load("faithful")
