"""The examples in the docstrings run, and print what they say.

Not by `pytest --doctest-modules`: pytest takes a clone named `lowerbound`, which has an `__init__.py`, for the package.
"""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import lowerbound

MODULES = [module.name for module in pkgutil.walk_packages(lowerbound.__path__, "lowerbound.")]


class Finder(doctest.DocTestFinder):
    """Finds functions that are wrapped, too, such as all of them while annotations are checked."""

    def _from_module(self, module, object):
        return super()._from_module(module, inspect.unwrap(object))


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name != "lowerbound.__main__"))
def test_examples(name):
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    for example in Finder().find(importlib.import_module(name)):
        runner.run(example)
    assert runner.summarize(verbose=False).failed == 0
