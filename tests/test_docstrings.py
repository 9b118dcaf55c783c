"""The examples in the docstrings run, and print what they say.

Not by `pytest --doctest-modules`: pytest takes a clone named `lowerbound`, which has an `__init__.py`, for the package.
"""

import doctest
import importlib
import pkgutil

import pytest

import lowerbound

MODULES = [module.name for module in pkgutil.walk_packages(lowerbound.__path__, "lowerbound.")]


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name != "lowerbound.__main__"))
def test_examples(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0
