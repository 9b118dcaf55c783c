"""Forty tables as people have them: what each column is taken for, and the clusters, without any preparation."""

import pytest
from forty_tables import drawn, specifications
from sklearn.metrics import adjusted_rand_score

from lowerbound.inference import EM, fit
from lowerbound.models import column_kinds, mixed

TABLES = specifications()


def test_there_are_forty():
    assert len(TABLES) == 40


@pytest.mark.drawn(8)
@pytest.mark.parametrize("name", TABLES)
def test_kinds_and_clusters(name):
    components, columns = TABLES[name]
    x, z = drawn(components, columns, sum(map(ord, name)))
    kinds = column_kinds(x, components)
    assert [each for each in kinds if each.kind not in columns[each.name][0]] == []
    fitted = fit(mixed(x, components, kinds=kinds), x, EM(), restarts=8)
    assert adjusted_rand_score(z, fitted.model.predict(x)) >= 0.9
