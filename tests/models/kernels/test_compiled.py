"""The compiled passes against slow ones in numpy, and numbers against those of twice as many digits."""

import math
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numba import njit
from pyro.nn import PyroParam
from reference import linear_pass, nearest_centres
from scipy.special import logsumexp

from lowerbound.inference import EM, fit
from lowerbound.inference.fitting.one_restart import RestartRunner
from lowerbound.models import (
    CategoricalMixture,
    ExponentialFamily,
    Gaussian,
    GaussianMixture,
    KMeans,
    Mixture,
    Poisson,
    check_family,
    seed,
)
from lowerbound.models.kernels import parallel_rows
from lowerbound.models.kernels.compiled import compile_kernel, floating_point
from lowerbound.models.kernels.compiled.block_sizes import ROWS
from lowerbound.models.kernels.compiled.kmeans_step import FEW
from lowerbound.models.kernels.compiled.linear_e_step import linear_e_step
from lowerbound.models.kernels.compiled.responsibilities import to_responsibilities
from lowerbound.models.kernels.linear_pass import ColumnPairs, CompiledLinearPass
from lowerbound.models.mixtures.nearest_centre import NearestCentre

SIZES = (1, 2, ROWS - 1, ROWS, ROWS + 1, 1000)


@njit
def _each(function, x, out):
    for i in range(len(x)):
        out[i] = function(x[i])


@njit
def _exp2(x):
    return floating_point.exp2(x)


def exp2(x):
    found = np.empty_like(x)
    _each(_exp2, x, found)
    return found


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_powers_of_two(dtype):
    x = np.concatenate([np.linspace(-89, 0, 100_001), -np.geomspace(1e-30, 89, 1001), np.arange(-89.0, 1)]).astype(
        dtype
    )
    exact = np.exp2(x.astype(np.longdouble))
    assert np.abs(exp2(x) / exact - 1).max() < 2 * np.finfo(dtype).eps
    assert exp2(np.zeros(1, dtype)) == 1
    assert (exp2(np.array([-np.inf, -1e30, -1e4], dtype)) == 0).all()
    assert np.isnan(exp2(np.array([np.nan], dtype))).all()


def test_logarithms():
    x = np.concatenate([np.geomspace(1, 1e9, 100_001), 1 + np.geomspace(1e-15, 1, 1001), np.arange(1.0, 100)])
    found = np.empty_like(x)
    _each(floating_point.log2, x, found)
    exact = np.log2(x.astype(np.longdouble))
    assert (np.abs(found - exact) <= 3 * np.finfo(float).eps * exact).all()
    assert np.isnan(floating_point.log2(np.nan))


def drawn(seed, n, d, k, copies=1, p=None, q=0, weighted=False, labelled=False):
    """A linear pass of any statistics, and rows, with all that `linear_pass` asks for."""
    rng = np.random.default_rng(seed)
    p = p or 1 + d
    own, shared = ([np.r_[0, rng.integers(0, d + 1, p - 1)] for _ in range(2)], rng.integers(0, d + 1, (2, q)))
    own, shared = (tuple(tuple(side.tolist()) for side in pair) for pair in (own, shared))
    coefficients, common = rng.standard_normal((copies * k, p)), rng.standard_normal((copies, q))
    log_weights = np.log(rng.dirichlet(np.ones(k), copies))
    x = rng.standard_normal((n, d))
    weights = rng.uniform(0.1, 3, n) if weighted else None
    labels = rng.integers(-1, k, n) if labelled else None
    return x, weights, labels, rng.standard_normal(d), own, shared, coefficients, common, log_weights


def both(x, weights, labels, centre, own, shared, coefficients, common, log_weights, dtype=torch.float64):
    """By the compiled pass and by the slow one: weight, total, shared sums, bound, of all copies."""
    told = {}

    def collect(total, sums):
        told["shared"] = sums.numpy().copy()
        return total

    pairs, common = ColumnPairs.of(own, shared), torch.as_tensor(common)
    made = CompiledLinearPass(torch.as_tensor(centre), pairs, torch.as_tensor(coefficients).to(dtype), collect, common)
    tensors = (None if part is None else torch.as_tensor(part) for part in (weights, labels))
    weight, total, bound = made.sum(torch.as_tensor(x), torch.as_tensor(log_weights), *tensors)
    found = weight.numpy(), total.numpy(), told["shared"], bound.numpy()
    k = log_weights.shape[1]
    slow = [
        linear_pass(x, weights, labels, centre, own, shared, coefficients[c * k : (c + 1) * k], common[c].numpy(), each)
        for c, each in enumerate(log_weights)
    ]
    weight, total, sums, bound = zip(*slow, strict=True)
    return found, (np.concatenate(weight), np.concatenate(total), sums[0], np.array(bound))


@given(
    st.integers(0, 99), st.sampled_from(SIZES), st.integers(1, 6), st.integers(1, 9), st.integers(1, 3),
    st.integers(1, 12), st.integers(0, 7), st.booleans(), st.booleans(),
)  # fmt: skip
def test_the_linear_pass_is_the_slow_one(seed, n, d, k, copies, p, q, weighted, labelled):
    found, slow = both(*drawn(seed, n, d, k, copies, p, q, weighted, labelled))
    for own, other in zip(found, slow, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-11, atol=1e-11 * n)


@pytest.mark.parametrize("d", [5, 120])  # in many columns a log density is a sum of thousands of products
def test_single_precision_is_within_1e_5_nats_of_a_row(d):
    rng = np.random.default_rng(0)
    x, family = rng.standard_normal((2000, d)), Gaussian(3, d)
    family.loc = torch.as_tensor(rng.standard_normal((3, d)))
    family.scale_tril = torch.linalg.cholesky(torch.as_tensor(np.stack([np.cov(rng.normal(size=(d, 3 * d)))] * 3)))
    even, rows = torch.zeros(3).double(), torch.as_tensor(x)
    single, double = (family.visit_in(dtype).compiled() for dtype in (torch.float32, torch.float64))
    assert single.coefficients.dtype == torch.float32
    one, other = (each.sum(rows, even, None, None) for each in (single, double))
    assert abs(one[2] - other[2]) / 2000 < 1e-5
    torch.testing.assert_close(one[0], other[0], rtol=0, atol=1e-5 * 2000)


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of one block each, and several threads, however few rows there are."""
    monkeypatch.setattr(parallel_rows, "MIN_ROWS", ROWS)
    monkeypatch.setattr(parallel_rows, "MIN_PRODUCTS", 1)
    monkeypatch.setattr(parallel_rows, "MIN_PRODUCTS_PER_SUM", 0)
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(1)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("labelled", [False, True])
def test_parts_are_put_together(small_parts, weighted, labelled):
    case = drawn(0, 3500, 4, 3, 2, 9, 3, weighted, labelled)
    for own, other in zip(*both(*case), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-11, atol=1e-8)
    x, weights, labels = case[:3]
    centres = np.random.default_rng(1).standard_normal((5, 4))
    check_kmeans_step(x, weights, labels, centres)
    codes = np.random.default_rng(2).integers(0, 3, (3500, 4)).astype(float)
    model = seed(CategoricalMixture(3, [3] * 4), codes)
    found = model.expect(codes, weights, labels)
    joint = (model.family.log_prob(torch.as_tensor(codes)) + model.weights.log()).detach().numpy()
    if labels is not None:
        joint[(labels >= 0)[:, None] & (labels[:, None] != np.arange(3))] = -np.inf
    w = np.ones(3500) if weights is None else weights
    np.testing.assert_allclose(found.bound, logsumexp(joint, axis=1) @ w, rtol=1e-12)
    np.testing.assert_allclose(found.total.sum(), 4 * w.sum(), rtol=1e-12)


def test_numbers_are_made_piece_by_piece(monkeypatch):
    monkeypatch.setattr("lowerbound.models.kernels.linear_pass.CHUNK_ROWS", 700)
    x = np.random.default_rng(0).poisson(3.0, (2000, 2)).astype(float)
    weights = np.random.default_rng(1).uniform(0.1, 3, 2000)
    model = seed(Mixture(Poisson(3, 2)), x)
    found, rows = model.expect(x, weights), torch.as_tensor(x)
    joint = model.family.log_prob(rows) + model.weights.log()
    r = joint.softmax(1) * torch.as_tensor(weights)[:, None]
    torch.testing.assert_close(found.bound, joint.logsumexp(1).detach() @ torch.as_tensor(weights))
    torch.testing.assert_close(found.total, (r.T @ rows).detach())


def test_sums_do_not_depend_on_the_number_of_threads():
    x, *case = drawn(0, 40_000, 8, 8, p=45, q=9)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        try:
            results.append(both(x, *case)[0])
        finally:
            torch.set_num_threads(1)
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_threads_of_the_caller_do_not_meet(small_parts):
    x = np.random.default_rng(0).standard_normal((5000, 3))
    model = seed(GaussianMixture(3, 3), x)
    wanted = model.expect(x)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: model.expect(x), range(20)):
            assert torch.equal(found.total, wanted.total) and torch.equal(found.bound, wanted.bound)


def test_what_goes_wrong_in_a_part_is_raised_once_all_have_ended(small_parts):
    ended = []

    def visit(start):
        if start == 3:
            raise ZeroDivisionError("part 3")
        ended.append(start)
        return start, []

    with pytest.raises(ZeroDivisionError, match="part 3"):
        parallel_rows.run_on_threads(lambda: visit, range(8))
    assert [i for i, _ in parallel_rows.run_on_threads(lambda: lambda at: (at, []), range(8))] == list(range(8))


def test_parts_may_be_shared_out_from_within_a_part(small_parts):
    def inner(at):
        return parallel_rows.run_on_threads(lambda: lambda own: (own, []), range(at, at + 4))[0]

    assert [i for i, _ in parallel_rows.run_on_threads(lambda: inner, range(9))] == list(
        range(9)
    )  # none waits for ever


def run(program, **environment):
    """What a program of its own prints."""
    own = {**os.environ, **environment}
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=own).stdout


BEGIN = """
import os, threading, numpy as np, torch
from lowerbound.models import GaussianMixture, seed
torch.set_num_threads(2)
x = np.random.default_rng(0).standard_normal((100_000, 4))
model = seed(GaussianMixture(4, 4), x)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks on Windows")
def test_a_process_that_forks_has_threads_of_its_own_and_a_thread_may_outlive_the_main_one():
    program = BEGIN + (
        "before = float(model.expect(x).bound)\n"
        "child = os.fork()\n"
        "if child == 0: os._exit(0 if float(model.expect(x).bound) == before else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "threading.Thread(target=lambda: print(float(model.expect(x).bound) < 0)).start()\n"
    )
    assert run(program) == "0\nTrue\n"


def test_code_that_is_not_to_be_compiled_runs_as_torch(faithful):
    program = (
        "from lowerbound.datasets import load\n"
        "from lowerbound.inference import EM, fit\n"
        "from lowerbound.models import GaussianMixture, KMeans\n"
        "for model in (GaussianMixture(2, 2), KMeans(2, 2)):\n"
        "    print(float(fit(model, load('faithful'), EM()).bounds[-1]))\n"
    )
    plain = [float(line) for line in run(program, NUMBA_DISABLE_JIT="1").split()]
    own = [float(fit(model, faithful, EM()).bounds[-1]) for model in (GaussianMixture(2, 2), KMeans(2, 2))]
    np.testing.assert_allclose(plain, own, rtol=1e-9)


def test_what_is_impossible_and_what_is_no_number():
    x, _, _, centre, own, shared, coefficients, common, log_weights = drawn(0, 700, 2, 3)
    log_weights[0, 1] = -np.inf  # a component without weight gets none, and harms none
    found, slow = both(x, None, None, centre, own, shared, coefficients, common, log_weights)
    np.testing.assert_allclose(found[0], slow[0], rtol=1e-12)
    np.testing.assert_allclose(found[3], slow[3], rtol=1e-12)
    assert found[0][1] == 0 and (found[1][1] == 0).all()
    for broken in (np.nan, np.inf):
        x[600, 1] = broken
        with np.errstate(invalid="ignore"):
            found, _ = both(x, None, None, centre, own, shared, coefficients, common, log_weights)
        assert not np.isfinite(found[3]).any()


def test_a_row_that_no_member_can_give():
    family = Poisson(2, 1)
    family.rate = torch.zeros(2, 1).double()
    x, even = torch.tensor([[0.0], [3.0]]).double(), torch.zeros(2).double() - np.log(2)
    linear = family.visit().compiled()
    assert linear.sum(x[:1], even, None, None)[2] == 0
    assert linear.sum(x, even, None, None)[2] == -np.inf


@given(
    st.integers(0, 99), st.sampled_from(SIZES), st.integers(1, 5),
    st.sampled_from([1, 2, FEW, FEW + 1, 40]), st.booleans(), st.booleans(),
    st.sampled_from([0.0, 1e3]),
)  # fmt: skip
def test_the_kmeans_step_is_the_slow_one(seed, n, d, k, weighted, labelled, offset):
    rng = np.random.default_rng(seed)
    x, centres = offset + rng.standard_normal((n, d)), offset + rng.standard_normal((k, d))
    check_kmeans_step(
        x, rng.uniform(0.1, 3, n) if weighted else None, rng.integers(-1, k, n) if labelled else None, centres
    )


def check_kmeans_step(x, weights, labels, centres):
    """The compiled assignment against the slow one."""
    n, k = len(x), len(centres)
    tensors = (None if part is None else torch.as_tensor(part) for part in (weights, labels))
    found = [part.numpy() for part in NearestCentre(torch.as_tensor(centres)).hard_sums(torch.as_tensor(x), *tensors)]
    weight, total, distortion, total_weight, furthest, rows, row_weight, clusters = found
    cluster, squared, slow_weight, slow_total = nearest_centres(x, weights, labels, centres)
    w = np.ones(n) if weights is None else weights
    np.testing.assert_allclose(weight, slow_weight, rtol=1e-12)
    np.testing.assert_allclose(total, slow_total, rtol=1e-8, atol=1e-9 * n)
    np.testing.assert_allclose(distortion, w @ squared, rtol=1e-9)
    np.testing.assert_allclose(total_weight, w.sum(), rtol=1e-12)
    free = np.arange(n) if labels is None else np.flatnonzero(labels < 0)
    order = free[np.argsort(-squared[free])][:k]
    np.testing.assert_allclose(furthest, squared[order], rtol=1e-8, atol=1e-12)
    np.testing.assert_array_equal(rows, x[order])
    np.testing.assert_array_equal(row_weight, w[order])
    np.testing.assert_array_equal(clusters, cluster[order])


def test_rows_at_their_centres_are_at_distance_0():
    """Lengths are subtracted only where they keep their digits."""
    x = 1e3 + np.random.default_rng(0).standard_normal((5, 3))
    model = KMeans(5, 3)
    model.loc, model.family.scale = x, 1.0
    assert model.distortion(np.repeat(x, 100, 0)) == 0


def test_of_equally_near_centres_the_first():
    model = KMeans(3, 1)
    model.loc = [[-1.0], [1.0], [1.0]]
    model.family.scale = 1.0
    assert model.expect(np.array([[0.0], [2.0]])).weight.tolist() == [1, 1, 0]


def test_it_compiles_where_nothing_can_be_kept():
    """A read-only installation, and no home: then each process compiles for itself."""
    program = (
        "from numba.core import caching\n"
        "kinds = [kind for kind in vars(caching).values() if hasattr(kind, '_locator_classes')]\n"
        "assert kinds\n"
        "for kind in kinds: kind._locator_classes = []\n"
        "from lowerbound.models.kernels.compiled import floating_point\n"
        "print(floating_point.log2(8.0))\n"
    )
    assert run(program) == "3.0\n"


def test_compiled_code_on_disk_depends_on_all_files(tmp_path):
    """numba compares only the file of a function, but keeps with it the code that it calls from other files."""
    folder = Path(compile_kernel.__file__).parent
    for kernel in (linear_e_step, to_responsibilities, floating_point.log2):
        assert kernel._cache._cache_file._source_stamp[1] == compile_kernel.SOURCES
    shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns("__pycache__"))
    assert compile_kernel.sources(tmp_path / "copy") == compile_kernel.SOURCES
    with (tmp_path / "copy" / "tiles.py").open("a") as file:
        file.write("# changed\n")
    assert compile_kernel.sources(tmp_path / "copy") != compile_kernel.SOURCES


# what reaches them from outside


def test_labels_and_rows_need_not_be_contiguous():
    x = np.random.default_rng(0).standard_normal((400, 4))
    z = torch.tensor([[0, 5], [-1, 5]] * 200)[:, 0]
    for model in (GaussianMixture(2, 2), KMeans(2, 2)):
        model = seed(model, x[:, ::2].copy())
        wanted = model.expect(x[:, ::2].copy(), labels=z.clone())
        found = model.expect(torch.as_tensor(x)[:, ::2], labels=z)
        assert torch.equal(found.total, wanted.total)
        assert torch.equal(model.expect(np.asfortranarray(x[:, ::2]), labels=z).total, wanted.total)
        assert model.expect(torch.as_tensor(x)[:, ::2], labels=torch.tensor([-1]).expand(400)).bound.isfinite()


def test_infinities_of_both_signs_are_no_missing_cells():
    x = np.random.default_rng(0).standard_normal((400, 2))
    model = seed(GaussianMixture(2, 2), x)
    x[3, 0], x[4, 1] = np.inf, -np.inf
    with pytest.raises(ValueError, match="row 3, column 0 holds an infinite value"):
        model.expect(x)


class Doubled(Poisson):
    """With more statistics than natural parameters."""

    def statistics(self, x):
        return torch.cat([x, x], 1)


def test_parts_of_a_pass_that_do_not_fit_are_refused():
    x = np.random.default_rng(0).poisson(3.0, (50, 2)).astype(float)
    model = Mixture(Doubled(2, 2))
    model.family.rate, model.weights = np.ones((2, 2)), np.full(2, 0.5)
    with pytest.raises(ValueError, match=r"got statistics of shape \(50, 4\)"):
        model.expect(x)


def test_a_constant_carrier_counts_for_each_row():
    class Constant(ExponentialFamily):
        """N(loc, 1) in one column: h(x) left out but for its constant."""

        def __init__(self, k):
            super().__init__()
            self.loc = PyroParam(torch.zeros(k, 1).double())

        def component(self, z=...):
            return dist.Normal(self.loc[z], 1.0).to_event(1)

        def statistics(self, x):
            return torch.cat([x, x * x], 1)

        def natural(self):
            return torch.cat([self.loc, torch.full_like(self.loc, -0.5)], 1), -0.5 * self.loc.squeeze(1) ** 2

        def carrier(self, x):
            return -0.5 * math.log(2 * math.pi)

        def match(self, mean):
            self.loc = mean[:, :1]

    x = np.random.default_rng(0).standard_normal((400, 1))
    check_family(Constant(2), x)
    model = seed(Mixture(Constant(2)), x)
    weights = np.random.default_rng(1).uniform(0.1, 3, 400)
    np.testing.assert_allclose(model.expect(x, weights).bound, model.bound(x) @ torch.as_tensor(weights), rtol=1e-12)


def test_a_fit_prepares_before_its_clock(monkeypatch):
    class Clock:
        """Begins when the first run does."""

        prepared = 0

    monkeypatch.setattr(Mixture, "prepare", lambda self: setattr(Clock, "prepared", Clock.prepared + 1))
    began = RestartRunner.begin
    monkeypatch.setattr(
        RestartRunner, "begin", lambda *given: (setattr(Clock, "first", Clock.prepared), began(*given))[1]
    )
    fit(GaussianMixture(1, 1), np.random.default_rng(0).standard_normal((50, 1)), EM())
    assert Clock.first == Clock.prepared == 1
