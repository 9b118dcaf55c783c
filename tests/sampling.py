"""Which cases of parametrized tests run: a sample that has every value of every argument, drawn by a seed."""

import random
from collections import defaultdict


def covering_samples(items, seed):
    """Return the tests to run, as a set: of each test function, cases that together have every value of every argument.

    A test with one parametrized argument keeps all its cases. A test with several has the product of them as cases, of
    which about as many are kept as the longest list of values has. Values of an argument `seed` repeat a case: they
    need not all occur. Of the cases that are marked `drawn(n)`, because each costs much, n are kept. The seed of the
    run and the name of the test decide which cases these are.

    Args:
        items: the collected tests.
        seed: any string; the same one gives the same cases, in every process.
    """
    groups = defaultdict(list)
    for item in items:
        groups[item.nodeid.partition("[")[0]].append(item)
    return {item for name, cases in groups.items() for item in _cover(cases, random.Random(f"{seed} {name}"))}


def _cover(cases, rng):
    """Greedy: in random order, the case that has most values which no case before it has."""
    left = rng.sample(cases, len(cases))
    marks = {case: case.get_closest_marker("drawn") for case in left}
    marked = [case for case, mark in marks.items() if mark]
    surplus = {case for i, case in enumerate(marked) if i >= marks[case].args[0]}
    left = [case for case in left if case not in surplus]
    values = {case: _values(case) for case in left}
    missing, kept = set().union(*values.values()), []
    while missing:
        best = max(left, key=lambda case: len(values[case] & missing))
        kept.append(best)
        missing -= values[best]
    return kept or left[:1]


def _values(case):
    """The values of one test, each as (names of arguments, identities): those that one mark lists together are one."""
    if not hasattr(case, "callspec"):
        return set()
    params = dict(case.callspec.params)
    marks = [mark.args[0] for mark in case.iter_markers("parametrize")]
    lists = [[name.strip() for name in mark.split(",")] if isinstance(mark, str) else list(mark) for mark in marks]
    together = {name for names in lists for name in names}
    lists += [[name] for name in params if name not in together]  # of fixtures
    return {(*names, *(id(params[name]) for name in names)) for names in lists if names != ["seed"]}
