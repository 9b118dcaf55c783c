"""Several columns of categories read as one code: against one indicator for each level."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp

from lowerbound.models import Bernoulli, Categorical
from lowerbound.models.families.count_checks import invalid_counts
from lowerbound.models.kernels.joint_codes import MAX_CODES, JointCodes


@given(levels=st.lists(st.integers(1, 12), min_size=1, max_size=9), seed=st.integers(0, 2**16))
def test_codes_are_looked_up_and_summed_as_single_levels_would_be(levels, seed):
    rng = np.random.default_rng(seed)
    n, k = 50, 3
    x = torch.as_tensor(np.stack([rng.integers(size, size=n) for size in levels], 1).astype(float))
    tables = [torch.as_tensor(rng.normal(size=(k, size))) for size in levels]
    r = torch.as_tensor(rng.random((n, k)))
    joint = JointCodes(levels)
    log_prob, summarize = joint.visit(tables).block(x)
    wanted = sum(table[:, x[:, j].long()].T for j, table in enumerate(tables))
    torch.testing.assert_close(log_prob, wanted, rtol=1e-12, atol=1e-12)
    counts = [
        [(r[:, j] * (x[:, c] == level)).sum() for c, s in enumerate(levels) for level in range(s)] for j in range(k)
    ]
    torch.testing.assert_close(
        joint.by_column(summarize(r)), torch.tensor(counts, dtype=torch.float64), rtol=1e-12, atol=1e-12
    )
    assert sorted(column for group in joint.groups for column in group) == list(range(len(levels)))
    assert all(
        np.prod([levels[c] for c in g]) == s <= max(MAX_CODES, max(levels))
        for g, s in zip(joint.groups, joint.sizes, strict=True)
    )


@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=9), st.integers(0, 99), st.sampled_from([1, 50, 320, 700]),
    st.integers(1, 5), st.integers(1, 3), st.booleans(), st.booleans(),
)  # fmt: skip
def test_the_compiled_pass_is_the_sum_over_indicators(levels, seed, n, k, copies, weighted, labelled):
    rng = np.random.default_rng(seed)
    x = np.stack([rng.integers(size, size=n) for size in levels], 1)
    tables = [np.log(rng.dirichlet(np.ones(size), copies * k)) for size in levels]
    log_weights = np.log(rng.dirichlet(np.ones(k), copies))
    weights, labels = (rng.uniform(0.1, 3, n) if weighted else None), (rng.integers(-1, k, n) if labelled else None)
    w = np.ones(n) if weights is None else weights
    visit = JointCodes(levels).visit([torch.as_tensor(table) for table in tables])
    tensors = (None if part is None else torch.as_tensor(part) for part in (weights, labels))
    weight, total, bound = visit.compiled().sum(torch.as_tensor(x).double(), torch.as_tensor(log_weights), *tensors)
    joint = sum(table[:, x[:, j]] for j, table in enumerate(tables)).reshape(copies, k, n) + log_weights[:, :, None]
    if labels is not None:
        joint = np.where((labels < 0) | (labels == np.arange(k)[:, None]), joint, -np.inf)
    evidence = logsumexp(joint, axis=1)
    r = (np.exp(joint - evidence[:, None]) * w).reshape(copies * k, n)
    hot = np.concatenate([x[:, [j]] == np.arange(size) for j, size in enumerate(levels)], 1)
    near = dict(rtol=1e-11, atol=1e-11 * n)
    np.testing.assert_allclose(weight, r.sum(1), **near)
    np.testing.assert_allclose(total, r @ hot, **near)
    np.testing.assert_allclose(bound, evidence @ w, **near)


@pytest.mark.parametrize("bad", [-1.0, 0.5, np.nan, np.inf, 1e300, 3.0])
def test_what_is_no_code_has_no_bound(bad):
    visit = JointCodes([3, 3]).visit([torch.zeros(1, 3).double()] * 2)
    x = torch.zeros(400, 2).double()
    assert visit.compiled().sum(x, torch.zeros(1).double(), None, None)[2] == 0
    x[330, 1] = bad
    assert visit.compiled().sum(x, torch.zeros(1).double(), None, None)[2].isnan()


@pytest.mark.parametrize("family", [Bernoulli(2, 40), Categorical(2, [2] * 40)])
def test_more_columns_than_one_table_holds(family):
    x = torch.randint(2, (200, 40), generator=torch.Generator().manual_seed(0)).double()
    r = torch.rand(200, 2, generator=torch.Generator().manual_seed(1)).double()
    family.start(x, r)
    visit = family.visit()
    log_prob, summarize = visit.block(x)
    torch.testing.assert_close(log_prob, family.log_prob(x).detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(visit.collect(summarize(r)), family.summarize(x, r), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bad", [-1.0, 0.5, -0.5, np.nan, np.inf, 1e300, 3.0])
def test_the_quick_look_finds_what_the_slow_one_does(bad):
    x = np.arange(12.0).reshape(3, 4).T % 3
    below = torch.tensor([3.0, 3.0, 3.0], dtype=torch.float64)
    assert invalid_counts(torch.as_tensor(x), below) is None
    for row, column in ((0, 0), (2, 1), (3, 2)):
        y = x.copy()
        y[row, column] = bad
        wanted = ~((y >= 0) & (y == np.floor(y)) & (y < 3))
        np.testing.assert_array_equal(invalid_counts(torch.as_tensor(y), below), wanted)
    uneven = torch.tensor([2.0, 3.0, 4.0], dtype=torch.float64)
    np.testing.assert_array_equal(
        invalid_counts(torch.as_tensor(x), torch.tensor([3.0, 2.0, 3.0]).double()), x >= [3, 2, 3]
    )
    assert invalid_counts(torch.tensor([[1.0, 2.0, 3.0]]).double(), uneven) is None
