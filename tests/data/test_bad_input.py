"""What cannot be fitted gets one sentence that says what came and what is expected, and changes nothing."""

import numpy as np
import pandas as pd
import pytest
import torch
from pyro.distributions import Exponential
from pyro.nn import PyroParam
from reference import bits, data, random_mixture
from scipy.sparse import csr_array
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from lowerbound.inference import EM, SVI, align, compare, elbo_gap, fit
from lowerbound.inference.plots import latent_map, samples
from lowerbound.models import (
    PPCA,
    BayesianMixture,
    ExponentialFamily,
    Gaussian,
    GaussianMixture,
    KMeans,
    Mixture,
    Poisson,
    Product,
    Rows,
    seed,
)

pytestmark = pytest.mark.usefixtures("as_users_run_it")

X = data(n=20, d=2)


def spoiled(row, column, value):
    x = X.copy()
    x[row, column] = value
    return x


class Stream(IterableDataset):
    def __iter__(self):
        return iter(torch.tensor(X))


LOADER = DataLoader(TensorDataset(torch.tensor(X)), batch_size=5)
WORDS = pd.DataFrame({"a": X[:, 0], "b": ["x"] * len(X)})

TABLES = {
    "infinity": (spoiled(3, 0, np.inf), ValueError, "row 3, column 0 holds an infinite value, expected finite"),
    "minus infinity": (spoiled(3, 0, -np.inf), ValueError, "row 3, column 0 holds an infinite value"),
    "infinity in a tensor": (
        torch.tensor(spoiled(0, 0, np.inf)),
        ValueError,
        "row 0, column 0 holds an infinite value",
    ),
    "infinity in a DataFrame": (
        pd.DataFrame(spoiled(7, 1, np.inf), columns=["eruptions", "waiting"]),
        ValueError,
        r"row 7, column 1 \('waiting'\) holds an infinite value",
    ),
    "infinity in a batch": (
        DataLoader(TensorDataset(torch.tensor(spoiled(13, 1, np.inf))), batch_size=5),
        ValueError,
        "row 13, column 1 holds an infinite value",
    ),
    "a column without values": (X * [1, np.nan], ValueError, "column 1 has no value in any row, expected some: drop"),
    "one column too many": (np.ones((20, 3)), ValueError, "got 3 columns, expected 2: the model was made for 2"),
    "one column too few": (X[:, :1], ValueError, "got 1 column, expected 2"),
    "no rows": (np.ones((0, 2)), ValueError, "got an empty table .*expected at least one row and one column"),
    "no columns": (np.ones((20, 0)), ValueError, r"got an empty table of shape \(20, 0\), expected at least one row"),
    "an empty DataFrame": (pd.DataFrame({"a": [], "b": []}), ValueError, "got an empty table"),
    "an empty list": ([], ValueError, r"got an empty table of shape \(0,\), expected at least one row"),
    "one row": (X[0], ValueError, r"shape \(2,\), expected \(rows, columns\): .*x\.reshape\(1, -1\) for a single row"),
    "one dimension": (X[:, 0], ValueError, r"shape \(20,\), expected \(rows, columns\): use x\.reshape\(-1, 1\)"),
    "a Series": (pd.Series(X[:, 0]), ValueError, r"\(20,\), expected \(rows, columns\): use x\.to_frame\(\) for a"),
    "a dict": ({"a": X}, TypeError, "got a dict, expected real numbers: pass a tensor, an array or a DataFrame"),
    "a sparse matrix": (csr_array(X), TypeError, "got a csr_array, expected real numbers: pass a tensor, an array"),
    "three dimensions": (np.ones((4, 5, 2)), ValueError, r"shape \(4, 5, 2\), expected \(rows, columns\)"),
    "a number": (3.0, ValueError, r"shape \(\), expected \(rows, columns\)"),
    "objects": (X.astype(object), TypeError, r"got an array of object, expected real numbers: .*astype\(float\)"),
    "strings": (X.astype(str), TypeError, "got an array with words, expected real numbers"),
    "None": (None, TypeError, "got a NoneType, expected real numbers: pass a tensor, an array or a DataFrame"),
    "words in a DataFrame": (WORDS, TypeError, "column 'b' holds .* values, expected real numbers: drop the column or"),
    "dates": (pd.DataFrame({"a": X[:, 0], "t": pd.Timestamp(0)}), TypeError, "column 't' holds datetime"),
    "complex": (X.astype(complex), TypeError, "got complex numbers, expected real ones"),
    "a complex tensor": (torch.tensor(X).to(torch.complex64), TypeError, "got complex numbers, expected real ones"),
    "complex in a DataFrame": (pd.DataFrame(X.astype(complex)), TypeError, "complex128 values, expected real numbers"),
    "fewer rows than components": (X[:1], ValueError, "got 1 row, expected at least one for each of 2 components"),
    "fewer distinct rows": (np.ones((20, 2)) * [3, 4], ValueError, "expected"),
    "a stream": (Stream(), TypeError, "iterable-style dataset, expected one with a length"),
    "a stream in a loader": (DataLoader(Stream()), TypeError, "iterable-style dataset, expected one with a length"),
    "a loader that drops rows": (
        DataLoader(TensorDataset(torch.tensor(X)), batch_size=7, drop_last=True),
        ValueError,
        "drops its last batch, expected .*use drop_last=False",
    ),
    "squares below all numbers": (X * 1e-160, ValueError, "column 0 is too small: its square leaves the range"),
    "distances below all numbers": (X * 1e-300, ValueError, "squared distances times weights underflow to 0"),
    "ragged lists": ([[1, 2], [3]], ValueError, "."),
}


@pytest.mark.parametrize("engine", [EM(), SVI("exact")], ids=["em", "svi"])
@pytest.mark.parametrize(("x", "kind", "words"), TABLES.values(), ids=TABLES.keys())
def test_tables_that_cannot_be_fitted(x, kind, words, engine):
    model = GaussianMixture(2, 2)
    before = bits(model)
    with pytest.raises(kind, match=words):
        fit(model, x, engine, restarts=2)
    assert bits(model) == before
    assert not model.family.is_set


METHODS = {
    "bound": lambda model, x: model.bound(x),
    "objective": lambda model, x: model.objective(x),
    "posterior": lambda model, x: model.posterior(x),
    "expect": lambda model, x: model.expect(x),
    "model": lambda model, x: model.model(x),
    "guide": lambda model, x: model.guide(x),
    "gap": elbo_gap,
    "align": lambda model, x: align(model, model, x),
    "compare": lambda model, x: compare(x, a=fit(model, X, EM(), max_passes=1)),
    "seed": seed,
}


@pytest.mark.parametrize(
    "name", ["infinity", "infinity in a DataFrame", "one column too many", "one dimension", "objects"]
)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
def test_every_method_that_takes_x_says_the_same(method, name):
    x, kind, words = TABLES[name]
    model = random_mixture("full", X, k=2)
    before = bits(model)
    with pytest.raises(kind, match=words):
        method(model, x)
    assert bits(model) == before


ONES = np.ones(len(X))
WEIGHTS = {
    "negative": (np.where(np.arange(20) == 4, -1.0, 1.0), "weight 4 is -1.0, expected weights that are finite and not"),
    "NaN": (np.where(np.arange(20) == 4, np.nan, 1.0), "weight 4 is nan, expected weights that are finite"),
    "infinite": (np.where(np.arange(20) == 4, np.inf, 1.0), "weight 4 is inf, expected weights that are finite"),
    "all zero": (np.zeros(20), "all weights are zero, expected at least one positive weight"),
    "too few": (np.ones(19), r"weights of shape \(19,\), expected one weight for each of 20 rows"),
    "a column": (np.ones((20, 1)), r"weights of shape \(20, 1\), expected one weight for each of 20 rows"),
    "words": (["heavy"] * 20, "got weights of type <U5, expected numbers"),
}


@pytest.mark.parametrize(("weights", "words"), WEIGHTS.values(), ids=WEIGHTS.keys())
def test_weights_that_are_none(weights, words):
    model = random_mixture("full", X, k=2)
    before = bits(model)
    with pytest.raises((TypeError, ValueError), match=words):
        fit(model, X, EM(), weights=weights)
    for call in (model.model, model.guide):
        with pytest.raises((TypeError, ValueError), match=words):
            call(X, weights)
    assert bits(model) == before


@pytest.mark.parametrize("each", [1e-300, 1e300])
def test_weights_that_count_no_rows(each):
    with pytest.raises(ValueError, match=r"the weights sum to 2e.*, expected some number of rows .*: divide them by"):
        fit(GaussianMixture(2, 2), X, EM(), weights=np.full(20, each))


def test_fewer_rows_of_positive_weight_than_components():
    with pytest.raises(ValueError, match=r"1 distinct row .*of positive weight.*expected at least one for each of 2"):
        fit(GaussianMixture(2, 2), X, EM(), weights=np.eye(20)[3])


LABELS = {
    "too large": (np.full(20, 2), r"label of row 0 is 2, expected 0 \.\. 1 for a component or -1 for unknown"),
    "too small": (np.where(np.arange(20) == 5, -2, 0), r"label of row 5 is -2, expected 0 \.\. 1"),
    "too few": (np.zeros(19, int), r"labels of shape \(19,\).*expected one integer for each of 20 rows"),
    "fractions": (np.full(20, 0.5), r"labels of shape .* and type .*float64, expected one integer"),
    "booleans": (np.ones(20, bool), r"type .*bool, expected one integer"),
}


@pytest.mark.parametrize(("labels", "words"), LABELS.values(), ids=LABELS.keys())
def test_labels_that_are_none(labels, words):
    model = random_mixture("full", X, k=2)
    for engine in (EM(), SVI("exact")):
        with pytest.raises((TypeError, ValueError), match=words):
            fit(model, X, engine, labels=labels)
    for method in (model.bound, model.posterior, lambda x, z: model.expect(x, None, z)):
        with pytest.raises((TypeError, ValueError), match=words):
            method(X, labels)


@pytest.mark.parametrize("given", [{"weights": ONES}, {"labels": np.zeros(20, int)}])
def test_a_loaders_rows_have_no_order_to_match(given):
    with pytest.raises(ValueError, match=r"cannot be matched to the rows of a DataLoader.*pass its dataset instead"):
        fit(GaussianMixture(2, 2), LOADER, EM(), **given)
    with pytest.raises(ValueError, match=r"expected them inside: Rows\(x, weights, labels\)"):
        fit(GaussianMixture(2, 2), Rows(X), EM(), **given)


def test_a_loader_and_full_batches_contradict_each_other():
    with pytest.raises(ValueError, match=r"got a DataLoader.*expected the same: pass SVI\(batch_size=5\)"):
        fit(GaussianMixture(2, 2), LOADER, SVI("exact"))
    assert len(fit(GaussianMixture(2, 2), LOADER, SVI("exact", batch_size=5), max_passes=3).bounds) == 3


@pytest.mark.parametrize("covariance", ["fulll", "FULL", "", "spherical-tied", None, 3])
def test_an_unknown_covariance_is_told_the_known_ones(covariance):
    words = "expected one of 'full', 'tied', 'diag', 'spherical', 'tied-diag', 'tied-spherical'"
    with pytest.raises((ValueError, TypeError), match=words):
        GaussianMixture(2, 2, covariance)


@pytest.mark.parametrize("number", [0, -1, 2.0, "2", None, True])
def test_sizes_are_whole_numbers(number):
    for make in (lambda: GaussianMixture(number, 2), lambda: Gaussian(2, number)):
        if number is True:
            continue  # Python's True is 1
        with pytest.raises(ValueError, match=r"is .*, expected a whole number of at least 1"):
            make()


@pytest.mark.parametrize("name", ["restarts", "max_passes"])
@pytest.mark.parametrize("number", [0, -3, 1.5, "many", None])
def test_restarts_and_passes_are_whole_numbers(name, number):
    with pytest.raises(ValueError, match=f"{name} is {number!r}, expected a whole number of at least 1"):
        fit(GaussianMixture(2, 2), X, EM(), **{name: number})


@pytest.mark.parametrize("engine", ["em", None, 3, object()])
def test_an_engine_is_one_of_ours(engine):
    with pytest.raises(TypeError, match=r"as the engine, expected one such as EM\(\) or SVI\(\)"):
        fit(GaussianMixture(2, 2), X, engine)


@pytest.mark.parametrize("model", ["gmm", None, Gaussian(2, 2), torch.nn.Linear(2, 2)])
def test_a_model_is_one_of_ours(model):
    with pytest.raises(TypeError, match=r"got \w+ as the model, expected one such as GaussianMixture\(2, 2\)"):
        fit(model, X, EM())


@pytest.mark.parametrize("tol", [-1e-9, float("nan"), float("-inf")])
def test_em_needs_a_tolerance_of_at_least_zero(tol):
    with pytest.raises(ValueError, match=r"tol is .*, expected nats per row of at least 0"):
        EM(tol=tol)


UNSET = {
    "model": lambda model: model.model(X),
    "guide": lambda model: model.guide(X),
    "bound": lambda model: model.bound(X),
    "posterior": lambda model: model.posterior(X),
    "expect": lambda model: model.expect(X),
    "sample": lambda model: model.sample(3),
    "summary": lambda model: model.summary(),
}


@pytest.mark.parametrize("use", UNSET.values(), ids=UNSET.keys())
def test_a_model_without_parameters_says_how_to_set_them(use):
    with pytest.raises(ValueError, match=r"not set: fit it, seed\(model, x\) it, or assign"):
        use(GaussianMixture(2, 2))


def test_tables_and_pictures_of_models_without_parameters_are_refused():
    """Of every kind: placeholders look like results."""
    for model in (KMeans(2, 2), Mixture(Product(Gaussian(2, 1), Poisson(2, 1)))):
        with pytest.raises(ValueError, match=r"the parameters of this mixture are not set: fit it, seed"):
            model.summary()
        with pytest.raises(ValueError, match=r"the parameters of this mixture are not set: fit it, seed"):
            samples(model, shape=(1, 2))
    for ask in (lambda model: model.summary(), lambda model: model.centre()):
        with pytest.raises(ValueError, match="this mixture has no posterior yet: fit it"):
            ask(BayesianMixture(Poisson(2, 2)))
    with pytest.raises(ValueError, match="the parameters of this PPCA are not set: fit it"):
        latent_map(PPCA(2, 1), X)


class Fixed:
    """The least a latent model can be, without an M-step: one standard normal, z always 0."""

    def model(self, x, weights=None, labels=None, rows=None): ...

    guide = model

    def posterior(self, x):
        return torch.distributions.Categorical(logits=torch.zeros(len(x), 1))

    def bound(self, x, labels=None):
        return torch.distributions.Normal(0.0, 1.0).log_prob(torch.as_tensor(x)).sum(-1)

    objective = bound

    def global_term(self):
        return torch.zeros((), dtype=torch.float64)

    def sample(self, n, seed=None):
        return torch.zeros(n, 2)

    def initialize(self, x, weights, generator, redraw=True): ...

    def parameters(self, recurse=True):
        return iter(())

    def free_parameters(self):
        return 0

    def check(self): ...

    def evidence(self, x):
        return None


def test_em_names_what_a_model_lacks():
    with pytest.raises(TypeError, match=r"EM needs expect\(\) and maximize\(\), which Fixed does not have: fit it"):
        fit(Fixed(), X, EM())


@pytest.mark.parametrize("n", [0, -1, 2.5, "3", None])
def test_samples_are_counted(n):
    with pytest.raises(ValueError, match=r"n is .*, expected a whole number of rows of at least 1"):
        random_mixture("full", X).sample(n)


def test_a_family_is_expected_inside_a_mixture():
    with pytest.raises(TypeError, match=r"got Mixture, expected a Family such as Gaussian\(components, features\)"):
        Mixture(GaussianMixture(2, 2))


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "tied-diag"])
def test_a_constant_column_is_named(covariance):
    x = np.column_stack([X[:, 0], np.full(20, 3.7)])
    with pytest.raises(ValueError, match="column 1 has the same value in every row, up to rounding, expected"):
        fit(GaussianMixture(2, 2, covariance), x, EM())


def test_weights_of_a_batch_may_be_next_to_nothing():
    """Where those of the whole table are not: such as kernel weights, which span hundreds of decades."""
    weights = np.where(np.arange(len(X)) < 10, 1.0, 1e-200)
    fit(GaussianMixture(2, 2), X, SVI(batch_size=5), weights=weights, max_passes=2)


def test_more_digits_than_torch_has_are_dropped():
    long = fit(GaussianMixture(2, 2), X.astype(np.longdouble), EM(), weights=np.ones(len(X), np.longdouble))
    assert bits(long.model) == bits(fit(GaussianMixture(2, 2), X, EM(), weights=np.ones(len(X))).model)


def test_a_family_of_single_numbers_is_told_how_columns_become_one():
    class Waits(ExponentialFamily):
        def __init__(self):
            super().__init__()
            self.rate = PyroParam(torch.ones(2, 2, dtype=torch.float64))

        def component(self, z=...):
            return Exponential(self.rate[z])

    with pytest.raises(ValueError, match=r"batch shape \(2, 2\) and event shape \(\), expected .*\.to_event\(1\)"):
        fit(Mixture(Waits()), np.abs(X), EM())


def test_a_bad_cell_far_down_is_found_where_it_is():
    """Past the first chunk of 65536 rows."""
    x = np.zeros((70_000, 2)) + np.arange(70_000)[:, None]
    x[69_999, 1] = np.inf
    with pytest.raises(ValueError, match="row 69999, column 1 holds an infinite value"):
        fit(GaussianMixture(2, 2), x, EM())


@pytest.mark.parametrize("size", [1e160, 1e308])
def test_squares_that_overflow_are_said_to(size):
    """The cells are finite, their variance is not: neither NaN nor "the same value in every row" came."""
    with pytest.raises((ArithmeticError, ValueError), match=r"(range|overflow|large).*(scale|unit)"):
        fit(GaussianMixture(1, 1), np.array([[1.0], [1.1], [1.5]]) * size, EM())
