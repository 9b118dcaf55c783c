"""The examples in the docstrings run, and print what they say.

Not by `pytest --doctest-modules`: pytest takes a clone named `lowerbound`, which has an `__init__.py`, for the package.
"""

import doctest
import importlib
import inspect
import pkgutil
import re

import pytest

import lowerbound
from lowerbound import data, inference, models

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


PUBLIC = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in (models, inference, data)
    for name in module.__all__
}


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_has_an_example_and_names_its_parameters(name):
    """The parameters of a function, or of a class's own constructor."""
    public = PUBLIC[name]
    text = inspect.getdoc(public) or ""
    assert ">>>" in text
    function = inspect.unwrap(vars(public).get("__init__", lambda: None) if inspect.isclass(public) else public)
    names = [p for p in inspect.signature(function).parameters if p not in ("self", "cls", "args", "kwargs")]
    names = [p for p in names if not p.startswith("_")]
    assert [p for p in names if not re.search(rf"\b{p}\b", text)] == []
