"""`fit`: restarts and what they found, collapses, labels, every kind of table, seeds."""

import numpy as np
import pandas as pd
import pytest
import torch
from reference import COVARIANCES, bits, data, new_mixture, parameters_of, random_mixture, repeated, weighted_moments
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lowerbound.inference import EM, SVI, Fit, fit, load
from lowerbound.models import Collapse, Gaussian, GaussianMixture, Mixture, Rows, seed

SET = slice(None)


# restarts


def test_optima_count_every_restart_best_first(faithful):
    result = fit(GaussianMixture(3, 2, "tied"), faithful, EM(), restarts=8)
    assert isinstance(result, Fit)
    ends = [o.bound for o in result.optima]
    assert sum(o.count for o in result.optima) == 8
    assert len(ends) > 1  # more than one optimum is a fact of these data
    assert ends == sorted(ends, reverse=True)
    assert np.diff(ends).max() <= -1e-4  # distinct ones differ by more than the tolerance that merges them
    assert result.bounds[-1] == ends[0]
    assert not any(o.collapsed for o in result.optima)


def test_more_restarts_never_lose(faithful):
    """The first restarts are those of a shorter run: the best of more is at least as good."""
    best = [fit(GaussianMixture(4, 2), faithful, EM(), restarts=n, max_passes=30).bounds[-1] for n in (1, 3, 6)]
    assert (torch.stack(best).diff() >= -1e-12).all()  # side by side with others, a run rounds in another way


def test_the_first_restart_begins_at_the_parameters_that_are_set(faithful):
    x = faithful.to_numpy()
    model = random_mixture("full", x, k=2)
    result = fit(model, x, EM(), max_passes=1)
    assert result.bounds[0].item() == pytest.approx(model.bound(x).mean().item(), rel=1e-12)
    # a bad start that stays where it is (one pass) loses to restarts that are drawn
    assert fit(model, x, EM(), max_passes=1, restarts=3).bounds[0] > result.bounds[0]


@pytest.mark.parametrize("covariance", ["full", "diag", "spherical"])
def test_a_collapse_is_counted_and_never_wins(covariance):
    result = fit(GaussianMixture(4, 2, covariance), repeated(), EM(), restarts=12)
    collapsed = [o for o in result.optima if o.collapsed]
    assert len(collapsed) == 1
    assert collapsed[0].bound is None
    assert 0 < collapsed[0].count < 12
    assert result.optima[-1] is collapsed[0]  # last
    assert sum(o.count for o in result.optima) == 12
    _, _, covariances = parameters_of(result.model)
    assert np.linalg.eigvalsh(covariances).min() > 1e-10 * np.linalg.eigvalsh(np.cov(repeated().T)).max()


@pytest.mark.parametrize("covariance", ["full", "diag", "spherical"])
def test_only_collapses_are_an_error_with_its_cure(covariance):
    """A fifth of the rows are one point, far from the rest: every start ends on it."""
    x = np.concatenate([np.random.default_rng(0).standard_normal((40, 2)), np.full((10, 2), 8.0)])
    model = GaussianMixture(2, 2, covariance)
    with pytest.raises(Collapse, match=r'singularity.*component \d.*prior="weak"') as caught:
        fit(model, x, EM(), restarts=3)
    assert isinstance(caught.value, ArithmeticError)
    assert caught.value.component in (0, 1)
    assert "each of 3 runs" in str(caught.value)

    cured = fit(GaussianMixture(2, 2, covariance, prior="weak"), x, EM(), restarts=3)
    assert not any(o.collapsed for o in cured.optima)
    weights, means, _ = parameters_of(cured.model)
    np.testing.assert_allclose(weights, [0.8, 0.2], atol=1e-3)
    np.testing.assert_allclose(means[1], [8, 8], atol=0.05)


@pytest.mark.parametrize("covariance", ["tied", "tied-diag", "tied-spherical"])
def test_a_tied_covariance_survives_repeated_rows(covariance):
    x = np.concatenate([np.random.default_rng(0).standard_normal((40, 2)), np.full((10, 2), 8.0)])
    result = fit(GaussianMixture(2, 2, covariance), x, EM(), restarts=3)
    np.testing.assert_allclose(parameters_of(result.model)[0], [0.8, 0.2], atol=1e-3)


def test_a_component_on_few_rows_is_no_collapse():
    """Never a row count: three distinct rows are enough in one column."""
    x = np.concatenate([np.random.default_rng(0).standard_normal(50), [100.0, 101.0, 103.0]])[:, None]
    result = fit(GaussianMixture(2, 1), x, EM(), restarts=3)
    weights, means, covariances = parameters_of(result.model)
    np.testing.assert_allclose(weights[1], 3 / 53, rtol=1e-9)
    np.testing.assert_allclose(means[1], 304 / 3, rtol=1e-12)
    np.testing.assert_allclose(covariances[1], np.var([0, 1, 3]), rtol=1e-9)


# labels


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_all_labels_known_is_the_closed_form(covariance):
    x = data(n=90, d=3)
    z = np.arange(90) % 3
    result = fit(new_mixture(covariance), x, EM(), labels=z)
    assert result.converged
    for ours, theirs in zip(
        parameters_of(result.model, SET), weighted_moments(x, np.eye(3)[z], covariance), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10)


def test_no_label_known_is_no_labels(faithful):
    a = fit(GaussianMixture(2, 2), faithful, EM())
    b = fit(GaussianMixture(2, 2), faithful, EM(), labels=np.full(len(faithful), -1))
    assert torch.equal(a.bounds, b.bounds)
    assert bits(a.model) == bits(b.model)


def test_labels_name_the_components(faithful):
    """Two labelled rows are enough to say which eruptions are component 0 at the best of a few optima."""
    labels = np.full(len(faithful), -1)
    short, long = faithful["eruptions"].argmin(), faithful["eruptions"].argmax()
    for names in ([0, 1], [1, 0]):
        labels[[short, long]] = names
        for s in range(3):
            result = fit(GaussianMixture(2, 2), faithful, EM(), labels=labels, seed=s, restarts=10)
            means = result.model.family.loc[:, 0].detach()
            assert means[names[0]] < 2.1 < 4.2 < means[names[1]]


# every kind of table


class Table(Dataset):
    """A map-style dataset that somebody wrote: rows as (row, target)."""

    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], 0


def memory_mapped(x, folder):
    np.save(folder / "x.npy", x)
    return np.load(folder / "x.npy", mmap_mode="r")


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


KINDS = {
    "list": lambda x, _: x.tolist(),
    "tensor": lambda x, _: torch.tensor(x),
    "tensor that wants gradients": lambda x, _: torch.tensor(x, requires_grad=True),
    "strided tensor": lambda x, _: torch.tensor(x.T.copy()).T,
    "read-only": lambda x, _: read_only(x),
    "memory-mapped": memory_mapped,
    "Fortran order": lambda x, _: np.asfortranarray(x),
    "negative strides": lambda x, _: x[::-1].copy()[::-1],
    "big-endian": lambda x, _: x.astype(">f8"),
    "float32": lambda x, _: x.astype(np.float32),
    "DataFrame": lambda x, _: pd.DataFrame(x, columns=["a", "b"]),
    "DataFrame with a strange index": lambda x, _: pd.DataFrame(x, index=np.arange(len(x))[::-1] * 7),
    "nullable DataFrame": lambda x, _: pd.DataFrame(x).convert_dtypes(),
    "TensorDataset": lambda x, _: TensorDataset(torch.tensor(x), torch.zeros(len(x))),
    "Dataset": lambda x, _: Table(x),
    "DataLoader": lambda x, _: DataLoader(Table(torch.tensor(x)), batch_size=len(x)),
    "Rows": lambda x, _: Rows(x),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_every_kind_of_table_gives_the_same_fit(faithful, kind, tmp_path):
    x = faithful.to_numpy().astype(np.float32).astype(float)  # numbers that float32 holds, too
    before = x.copy()
    expected = fit(GaussianMixture(2, 2), x, EM(), max_passes=8)
    result = fit(GaussianMixture(2, 2), kind(x, tmp_path), EM(), max_passes=8)
    # not the same bits: sums of rows laid out otherwise in memory are taken in another order
    torch.testing.assert_close(result.bounds, expected.bounds, rtol=1e-13, atol=0)
    for a, b in zip(parameters_of(result.model, SET), parameters_of(expected.model, SET), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint8, bool])
def test_whole_numbers_are_numbers(dtype):
    x = np.random.default_rng(0).integers(0, 2 if dtype is bool else 100, (60, 2)).astype(dtype)
    a, b = (fit(GaussianMixture(1, 2), v, EM()) for v in (x, x.astype(float)))
    assert torch.equal(a.bounds, b.bounds)


@pytest.mark.parametrize("batch", [2, 7, 50, 119, 300])
def test_a_dataloader_may_shuffle(batch):
    """From the same start, sums in another order."""
    x = data(n=120, d=2, seed=4)
    model = seed(GaussianMixture(2, 2), x)
    loader = DataLoader(
        TensorDataset(torch.tensor(x)), batch_size=batch, shuffle=True, generator=torch.Generator().manual_seed(batch)
    )
    a, b = (fit(model, v, EM(tol=0), max_passes=6) for v in (x, loader))
    torch.testing.assert_close(a.bounds, b.bounds, rtol=1e-11, atol=0)


# seeds


@pytest.mark.parametrize(
    "engine",
    [EM(), SVI(), SVI("enumerated"), SVI("exact", batch_size=50), SVI(batch_size=50, particles=2)],
    ids=["em", "sampled", "enumerated", "minibatch", "particles"],
)
def test_the_same_seed_gives_the_same_bits(faithful, engine):
    def run(s):
        return fit(GaussianMixture(3, 2, prior="weak"), faithful, engine, restarts=2, max_passes=3, seed=s)

    a = run(3)
    torch.rand(7)  # whatever happened in between
    b, other = run(3), run(4)
    assert torch.equal(a.bounds, b.bounds)
    assert bits(a.model) == bits(b.model)
    assert a.optima == b.optima
    assert a.seed == 3
    assert bits(a.model) != bits(other.model)


@pytest.mark.parametrize("engine", [EM(), SVI("exact"), SVI("exact", batch_size=5000)], ids=["em", "svi", "minibatch"])
def test_the_number_of_threads_changes_no_sum(engine):
    """More cells than are left to one thread: the sums are shared out, and EM puts them together in the same order."""
    x = data(n=40_000, d=3)
    model = random_mixture("full", x)
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            results.append(fit(model, x, engine, max_passes=3))
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(1)
    if isinstance(engine, EM):
        assert torch.equal(results[0].bounds, results[1].bounds)
        assert bits(results[0].model) == bits(results[1].model)
    else:  # gradients are matrix products of torch's, whose library may sum in another order on more threads
        torch.testing.assert_close(results[0].bounds, results[1].bounds, rtol=1e-12, atol=1e-12)


def test_samples_and_starts_have_seeds_too(faithful):
    model = seed(GaussianMixture(2, 2), faithful)
    assert torch.equal(model.sample(5, seed=1), model.sample(5, seed=1))
    assert not torch.equal(model.sample(5, seed=1), model.sample(5, seed=2))
    starts = [bits(seed(GaussianMixture(3, 2), faithful, s)) for s in (0, 0, 1)]
    assert starts[0] == starts[1] != starts[2]


def test_what_a_fit_says_of_itself(faithful):
    result = fit(GaussianMixture(2, 2), faithful, EM(), seed=7)
    assert result.engine == EM()
    assert result.seed == 7
    assert result.converged
    assert result.reason == f"converged: less than {EM().tol:g} nats per row left to gain"
    assert (result.times.diff() >= 0).all()
    assert result.seconds >= result.times[-1]
    assert f"{result.bounds[-1]:.6f}" in repr(result)
    assert len(repr(result)) < 200


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("flip", [False, True])
def test_a_few_labels_decide_which_component_is_which(faithful, seed, flip):
    """Five of 272: the start must hear them, or EM ends 71 nats lower with the components the other way round."""
    labels = np.full(len(faithful), -1)
    labels[:5] = [1, 0, 1, 0, 1]  # long eruptions and short ones in turn
    if flip:
        labels[:5] = 1 - labels[:5]
    result = fit(GaussianMixture(2, 2), faithful, EM(), labels=labels, seed=seed)
    assert result.model.bound(faithful).sum().item() == pytest.approx(-1130.264, abs=0.05)
    eruptions = result.model.family.loc.detach()[:, 0]
    assert (eruptions[1] > eruptions[0]) != flip


def test_a_fit_of_another_family_is_not_read_into_a_model(faithful, tmp_path):
    fit(GaussianMixture(2, 2, "tied"), faithful, EM()).save(tmp_path / "fit")

    class Other(Gaussian):
        """Same parameters, another density."""

    with pytest.raises(ValueError, match="is a fit of Mixture of Gaussian, expected one of Mixture of Other"):
        load(tmp_path / "fit", into=Mixture(Other(2, 2, "tied")))


@pytest.mark.parametrize("unit", [1.0, 1e6])
def test_parameters_that_were_set_stand_and_the_others_are_drawn(faithful, unit):
    """Centres alone, as from k-means: the scales come from the data, not from the constructor."""
    x = faithful.to_numpy() * unit
    model = GaussianMixture(2, 2)
    model.family.loc = np.array([[2.0, 54.0], [4.3, 80.0]]) * unit
    first = fit(model, x, EM(), max_passes=1)
    np.testing.assert_allclose(first.model.family.loc.detach(), model.family.loc.detach(), rtol=1e-12)
    assert first.bounds[0] + 2 * np.log(unit) > -6  # the constructor's unit scales would give less than -50
    best = fit(model, x, EM()).bounds[-1] + 2 * np.log(unit)
    assert best.item() * len(x) == pytest.approx(-1130.264, abs=1e-3)
    with pytest.raises(ValueError, match="not set"):
        model.bound(x)


def test_a_row_of_no_weight_does_not_matter_even_if_it_is_impossible(faithful):
    x = np.vstack([faithful.to_numpy(), [[1e6, -1e6]]])
    weights = np.append(np.ones(len(faithful)), 0.0)
    a, b = fit(GaussianMixture(2, 2), x, EM(), weights=weights, seed=1), fit(GaussianMixture(2, 2), faithful, EM())
    assert a.bounds[-1].item() == pytest.approx(b.bounds[-1].item(), rel=1e-9)


def test_few_rows_of_weight_among_many_are_found():
    """More rows than a start looks at (65536), of which twelve count."""
    x = np.random.default_rng(0).normal(size=(70_000, 1))
    weights = np.zeros(len(x))
    weights[::6000] = 1
    for number in range(3):
        assert fit(GaussianMixture(2, 1, prior="weak"), x, EM(), weights=weights, max_passes=2, seed=number)


def test_the_slope_at_a_weight_of_zero_is_that_beside_it(faithful):
    """A component without weight cannot move; what the other parameters feel must not vanish with it."""
    x = faithful.to_numpy()
    model = seed(GaussianMixture(3, 2), x)
    slopes = []
    for tiny in (0.0, 1e-14):
        model.weights = torch.tensor([0.9 - tiny, 0.1, tiny], dtype=torch.float64)
        slopes.append(fit(model, x, EM(), max_passes=1).gradient_norm)
    assert slopes[0] == pytest.approx(slopes[1], rel=1e-6)
    assert slopes[0] > 0.1


def test_a_state_dict_sets_a_model(faithful):
    fitted = fit(GaussianMixture(2, 2), faithful, EM()).model
    fresh = GaussianMixture(2, 2)
    fresh.load_state_dict(fitted.state_dict())
    assert torch.equal(fresh.bound(faithful), fitted.bound(faithful))
