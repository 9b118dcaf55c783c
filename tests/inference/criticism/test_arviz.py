"""What ArviZ makes of a fit: run with the functions a reader would call, checked against torch and closed forms."""

from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from pyro.infer.autoguide import AutoDelta, AutoNormal

from lowerbound.inference import EM, SVI, bootstrap, compare, fit, to_arviz
from lowerbound.inference.criticism.to_arviz import import_arviz
from lowerbound.models import (
    PPCA,
    BayesianMixture,
    Bernoulli,
    BernoulliMixture,
    Categorical,
    Exponential,
    Gaussian,
    GaussianMixture,
    KMeans,
    Mixture,
    Multinomial,
    Poisson,
    PosteriorDraws,
    Product,
    StudentTMixture,
)

matplotlib.use("agg")
az = import_arviz()
pytestmark = [  # of ArviZ's own calls: a leave-one-out weight that varies much, and what pandas and matplotlib deplore
    pytest.mark.filterwarnings("ignore:.*Estimated shape parameter of Pareto distribution:UserWarning"),
    pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.sort_values:Warning"),
    pytest.mark.filterwarnings("ignore:Passing a dict or None as alias_mapping:Warning"),
]


@pytest.fixture(scope="module")
def x():
    from lowerbound import datasets

    return datasets.load("faithful")


@pytest.fixture(scope="module")
def fits(x):
    vb = fit(BayesianMixture(Gaussian(2, 2)), x, EM())
    svi = fit(BayesianMixture(Gaussian(2, 2), guide=AutoNormal), x, SVI(), max_passes=12)
    em = fit(GaussianMixture(2, 2), x, EM())
    held = fit(BayesianMixture(Gaussian(2, 2)), x, EM()).model
    held.set_draws(held.draw(120, 1), PosteriorDraws(3, 40), torch.tensor(-10.0).double())
    return {"vb": vb, "svi": svi, "em": em, "held": replace(vb, model=held)}


@pytest.fixture(scope="module")
def exported(fits, x):
    sizes = {"vb": {"draws": 50}, "svi": {"draws": 60, "chains": 2}, "em": {"draws": 30}, "held": {}}
    return {name: to_arviz(made, x, **sizes[name]) for name, made in fits.items()}


SHAPES = {"vb": (4, 50), "svi": (2, 60), "em": (1, 30), "held": (3, 40)}


@pytest.mark.parametrize("name", SHAPES)
def test_arviz_takes_it(name, exported, fits, x):
    data = exported[name]
    posterior, size = data["posterior"], SHAPES[name]
    assert (posterior.sizes["chain"], posterior.sizes["draw"]) == size
    assert data["log_likelihood"]["x"].shape == (*size, 272)
    assert data["posterior_predictive"]["x"].shape == (*size, 272, 2)
    np.testing.assert_array_equal(data["observed_data"]["x"], x.to_numpy())
    summary = az.summary(data)
    named = {"weights[0]", "loc[1, waiting]", "covariance[0, waiting, eruptions]", "mixture_sd[eruptions]"}
    assert named <= set(summary.index)
    assert float(posterior["mixture_mean"].sel(feature="waiting").mean()) == pytest.approx(70.9, abs=2)
    assert float(posterior["mixture_sd"].sel(feature="waiting").mean()) == pytest.approx(13.6, abs=1)
    loo = az.loo(data)
    value = loo.elpd_loo if hasattr(loo, "elpd_loo") else loo.elpd
    assert -1300 < value < -1130  # the log-likelihood of the best fit is -1130
    assert not any(np.isnan(values).any() for values in posterior.data_vars.values())


def test_arviz_compares_them(exported):
    table = az.compare({name: exported[name] for name in ("vb", "em", "held")})
    assert set(table.index) == {"vb", "em", "held"}


def test_arviz_draws_them(exported):
    import matplotlib.pyplot as plt

    plot = az.plot_trace if "InferenceData" in vars(az) else az.plot_trace_dist
    for data in exported.values():
        plot(data, var_names=["sorted_weights", "mixture_mean"])
        plt.close("all")


def test_draws_are_those_of_q_and_their_densities_are_right(exported, fits, x):
    model, posterior = fits["vb"].model, exported["vb"]["posterior"]
    theta = model.draw(200, 0)
    for name, value in theta.items():
        np.testing.assert_array_equal(posterior[name].to_numpy().reshape(value.shape), value.numpy())
    whole = model.log_likelihood(theta, x).numpy().reshape(4, 50, 272)
    np.testing.assert_allclose(exported["vb"]["log_likelihood"]["x"], whole, rtol=1e-12)
    w, mean = theta["weights"].numpy(), theta["loc"].numpy()
    square = mean**2 + np.diagonal(theta["covariance"].numpy(), axis1=-2, axis2=-1)
    first = np.einsum("sk,skd->sd", w, mean)
    second = np.einsum("sk,skd->sd", w, square)
    np.testing.assert_allclose(posterior["mixture_mean"].to_numpy().reshape(200, 2), first, rtol=1e-12)
    np.testing.assert_allclose(posterior["mixture_sd"].to_numpy().reshape(200, 2) ** 2, second - first**2, rtol=1e-8)


def test_draws_of_a_sampler_keep_their_chains(exported, fits):
    theta, posterior = fits["held"].model.q.theta, exported["held"]["posterior"]
    for name, value in theta.items():
        for chain in range(3):
            np.testing.assert_array_equal(posterior[name][chain], value[40 * chain : 40 * (chain + 1)])


def test_of_a_mixture_they_are_the_bootstrap(exported, fits, x):
    found = bootstrap(fits["em"], x, 30, bayesian=True)
    for name, value in (("weights", "weights"), ("loc", "family.loc")):
        np.testing.assert_array_equal(exported["em"]["posterior"][name][0], found.draws[value])
    factors = found.draws["family.scale_tril"].numpy()
    np.testing.assert_allclose(exported["em"]["posterior"]["covariance"][0], factors @ factors.transpose(0, 1, 3, 2))
    again = to_arviz(fits["em"], x, resamples=found, posterior_predictive=False)
    assert again["posterior"].equals(exported["em"]["posterior"])
    model = Mixture(Gaussian(2, 2))
    model.weights, model.family.loc = found.draws["weights"][7], found.draws["family.loc"][7]
    model.family.scale_tril = found.draws["family.scale_tril"][7]
    np.testing.assert_allclose(again["log_likelihood"]["x"][0, 7], model.evidence(x), rtol=1e-9)


def test_labels_that_switch_leave_the_summaries_alone(fits, x):
    before = to_arviz(fits["vb"], x, draws=5)["posterior"]
    held = fit(BayesianMixture(Gaussian(2, 2)), x, EM(), max_passes=1).model
    theta = {name: value.clone() for name, value in fits["vb"].model.draw(20, 0).items()}
    for value in theta.values():
        value[::2] = value[::2].flip(1)
    held.set_draws(theta, PosteriorDraws(4, 5), torch.tensor(0.0).double())
    after = to_arviz(held, x)["posterior"]
    assert not np.allclose(before["weights"], after["weights"])
    for name in ("sorted_weights", "mixture_mean", "mixture_sd"):
        np.testing.assert_allclose(before[name], after[name], rtol=1e-9)


def test_replicated_rows_are_like_the_rows(exported, x):
    replicas = exported["vb"]["posterior_predictive"]["x"].to_numpy().reshape(-1, 272, 2)
    # the mean of a replica varies by its own error and that of the posterior, sqrt(2) times the error of the data
    error = np.sqrt(2 / 200) * x.std().to_numpy() / np.sqrt(272)
    assert (abs(replicas.mean((0, 1)) - x.mean().to_numpy()) < 4 * error).all()
    assert len(np.unique(replicas[:, 0, 0])) == 200


def test_row_weights_multiply(fits, x):
    weights = np.arange(272) % 3
    made = fit(BayesianMixture(Gaussian(2, 2)), x, EM(), weights=weights)
    plain, weighted = (to_arviz(made, x, weights=w, draws=3, chains=1) for w in (None, weights))
    kept = weights > 0
    assert (weighted["log_likelihood"].coords["row"] == np.flatnonzero(kept)).all()
    wanted = (plain["log_likelihood"]["x"].to_numpy() * weights)[..., kept]
    np.testing.assert_allclose(weighted["log_likelihood"]["x"], wanted, rtol=1e-12)
    np.testing.assert_array_equal(weighted["observed_data"]["x"], x.to_numpy()[kept])


def test_columns_of_all_kinds_have_their_names_and_words():
    random = np.random.default_rng(3)
    kind = random.integers(0, 2, 60)
    table = pd.DataFrame(
        {
            "length": random.normal(5.0 * kind, 1),
            "visits": random.poisson(2 + 8 * kind),
            "colour": pd.Categorical(np.where(kind, "red", random.choice(["blue", "green"], 60))),
            "shape": pd.Categorical(np.where(random.random(60) < 0.2 + 0.6 * kind, "round", "square")),
        }
    )
    families = Product(Gaussian(2, 1), Poisson(2, 1), Categorical(2, [3]), Categorical(2, [2]))
    posterior = to_arviz(fit(BayesianMixture(families), table, EM()), table, draws=5)["posterior"]
    assert posterior["probs_2"].dims == ("chain", "draw", "component", "feature_2", "level_2")
    assert posterior["probs_2"].coords["level_2"].values.tolist() == ["blue", "green", "red"]
    assert posterior["probs_3"].coords["level_3"].values.tolist() == ["round", "square"]
    assert posterior["rate_1"].coords["feature_1"].values.tolist() == ["visits"]
    assert posterior["mixture_mean"].coords[posterior["mixture_mean"].dims[-1]].values.tolist() == ["length", "visits"]
    em = to_arviz(fit(Mixture(families), table, EM()), table, draws=5)["posterior"]
    assert em["probs_2"].dims == posterior["probs_2"].dims and em["loc_0"].dims == posterior["loc_0"].dims
    wide = Product(Gaussian(2, 1), Poisson(2, 1), Categorical(2, [3, 2]))
    probs = to_arviz(fit(Mixture(wide), table, EM()), table, draws=5)["posterior"]["probs_2"]
    assert probs.coords["feature_2"].values.tolist() == ["colour", "shape"] and probs.sizes["level_2"] == 3
    inner = to_arviz(fit(BayesianMixture(wide), table, EM()), table, draws=5)["posterior"][
        "probs_1_2"
    ]  # group in group
    assert inner.coords["feature_1_2"].values.tolist() == ["shape"]
    assert inner.coords["level_1_2"].values.tolist() == ["round", "square"]


@pytest.mark.parametrize(
    ("model", "dims"),
    [
        (BayesianMixture(Gaussian(2, 2, "tied")), ("feature", "feature_other")),
        (BayesianMixture(Gaussian(2, 2, "spherical")), ("component",)),
        (BayesianMixture(Gaussian(2, 2, "diag"), stick_breaking=True), ("component", "feature")),
    ],
    ids=["tied", "spherical", "sticks"],
)
def test_dims_are_those_of_the_shape(model, dims, x):
    posterior = to_arviz(fit(model, x, EM(), max_passes=5), x, draws=5)["posterior"]
    spread = "covariance" if "tied" in repr(model) else "variance"
    assert posterior[spread].dims == ("chain", "draw", *dims)
    assert posterior["weights"].dims == ("chain", "draw", "component")


def test_missing_cells_stay_missing(x):
    holed = x.astype(float)
    holed.iloc[3, 1] = np.nan
    data = to_arviz(fit(BayesianMixture(Gaussian(2, 2)), holed, EM(), max_passes=5), holed, draws=5)
    assert np.isnan(data["observed_data"]["x"][3, 1]) and np.isfinite(data["log_likelihood"]["x"]).all()
    assert np.isfinite(data["posterior_predictive"]["x"]).all()


def test_moments_that_are_not_finite_are_left_out(x):
    made = fit(StudentTMixture(2, 2), x, EM(), max_passes=5)
    found = bootstrap(made, x, 3, max_passes=2)
    (name,) = (name for name in found.draws if name.endswith("dof"))
    found.draws[name][1, 0] = 1.5  # no variance
    posterior = to_arviz(made, x, resamples=found)["posterior"]
    assert "mixture_mean" in posterior and "mixture_sd" not in posterior


def test_bernoulli_and_arrays_without_names(x):
    bits = (x > x.median()).to_numpy().astype(float)
    posterior = to_arviz(fit(BernoulliMixture(2, 2), bits, EM()), bits, draws=5)["posterior"]
    assert posterior["probs"].dims == ("chain", "draw", "component", "feature")
    assert posterior.coords["feature"].values.tolist() == ["column 0", "column 1"]


@pytest.mark.usefixtures("as_users_run_it")
def test_what_has_no_draws_is_refused_in_one_sentence(fits, x):
    for model, engine in ((PPCA(2, 1), EM()), (KMeans(2, 2), EM())):
        with pytest.raises(TypeError, match=f"got a fit of {type(model).__name__}, expected a fit of a BayesianMix"):
            to_arviz(fit(model, x, engine, max_passes=2), x)
    point = fit(BayesianMixture(Gaussian(2, 2), guide=AutoDelta), x, EM(), max_passes=2)
    with pytest.raises(
        TypeError, match=r"^q is the point of an AutoDelta, which has no draws, expected a distribution"
    ):
        to_arviz(point, x)
    with pytest.raises(TypeError, match="got Mixture, expected a fit of"):
        to_arviz(fits["em"].model, x)
    with pytest.raises(ValueError, match="draws is 0, expected a whole number"):
        to_arviz(fits["vb"], x, draws=0)
    with pytest.raises(ValueError, match="a sampler has drawn 40 in each of 3 chains"):
        to_arviz(fits["held"], x, draws=10)
    with pytest.raises(ValueError, match="expected 1: bootstrap estimates are one chain"):
        to_arviz(fits["em"], x, chains=4)
    with pytest.raises(ValueError, match="expected none: it has a posterior"):
        to_arviz(fits["vb"], x, resamples=bootstrap(fits["em"], x, 2))


def test_the_same_draws_for_the_same_seed(fits, x):
    state = torch.get_rng_state()
    a, b, c = (to_arviz(fits["vb"], x, draws=3, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    for group in ("posterior", "posterior_predictive"):
        assert a[group].equals(b[group]) and not a[group].equals(c[group])


# the report


def test_a_report_holds_the_posterior(fits, x, tmp_path, monkeypatch):
    monkeypatch.setattr("lowerbound.inference.report.write_report.figures", lambda comparison: {})
    chosen = {"sampled": fits["held"], "<vb>": fits["vb"], "em": fits["em"]}
    for names, wanted in ((("<vb>", "em"), "<vb>"), (("sampled", "<vb>"), "sampled")):
        page = compare(x, **{name: chosen[name] for name in names}).report(tmp_path / "report")
        data = az.from_netcdf(page.parent / "posterior.nc")
        kept = to_arviz(chosen[wanted], x)
        for group in ("posterior", "log_likelihood", "observed_data"):
            assert data[group].equals(kept[group])
        said = f"Draws of the parameters of {wanted}".replace("<", "&lt;").replace(">", "&gt;")
        assert said in page.read_text(encoding="utf-8")
    compare(x, em=fits["em"]).report(tmp_path / "report")
    assert not (tmp_path / "report" / "posterior.nc").exists()


FAMILIES = {
    "categorical": (Categorical(2, [2, 2]), lambda z, g: g.random((60, 2)) < 0.2 + 0.6 * z),
    "bernoulli": (Bernoulli(2, 2), lambda z, g: g.random((60, 2)) < 0.2 + 0.6 * z),
    "poisson": (Poisson(2, 1), lambda z, g: g.poisson(2 + 9 * z)),
    "exponential": (Exponential(2, 1), lambda z, g: g.exponential(1 + 20 * z)),
    "multinomial": (Multinomial(2, 2), lambda z, g: g.multinomial(5, np.c_[0.2 + 0.6 * z, 0.8 - 0.6 * z])),
    "tied": (Gaussian(2, 1, "tied"), lambda z, g: g.normal(5 * z)),
    "product": (
        Product(Poisson(2, 1), Categorical(2, [2])),
        lambda z, g: np.c_[g.poisson(2 + 9 * z), g.random((60, 1)) < 0.2 + 0.6 * z],
    ),
}


@pytest.mark.parametrize("stick_breaking", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_conjugate_posterior_of_each_family_is_exported(name, stick_breaking):
    family, draw = FAMILIES[name]
    g = np.random.default_rng(0)
    rows = np.asarray(draw(g.integers(0, 2, (60, 1)), g), float)
    rows = rows.reshape(60, -1)
    model = fit(BayesianMixture(family, stick_breaking=stick_breaking), rows, EM()).model
    data = to_arviz(model, rows, draws=25)
    assert not az.summary(data)["mean"].isna().any()
    loo = az.loo(data)
    value = loo.elpd_loo if hasattr(loo, "elpd_loo") else loo.elpd
    assert value == pytest.approx(float(model.evidence(rows).sum()), abs=6)  # elpd is lower by about its parameters


def test_leave_one_out_of_latent_classes_fitted_by_em():
    from lowerbound import datasets

    rows = datasets.load("carcinoma")
    made = fit(Mixture(Categorical(2, [2] * 7)), rows, EM())
    with pytest.warns(UserWarning, match=r"log-likelihoods are -inf, because some draws give a row the density 0"):
        to_arviz(made, rows, resamples=bootstrap(made, rows, 20))  # the multinomial bootstrap
    loo = az.loo(to_arviz(made, rows, draws=20))
    value = loo.elpd_loo if hasattr(loo, "elpd_loo") else loo.elpd
    # 15 parameters; its bound is the log-likelihood of all rows, its own penalty of about as many nats as parameters
    assert made.bounds[-1] * len(rows) - 25 < value < made.bounds[-1] * len(rows)


def test_the_bayesian_bootstrap_has_the_standard_error_of_a_mean(x):
    rows = x[["waiting"]][:50]
    for each in (1.0, 4.0):  # a weight of 4: four rows
        weights = np.full(50, each)
        made = fit(GaussianMixture(1, 1), rows, EM(), weights=weights)
        found = bootstrap(made, rows, 100, weights, bayesian=True)
        np.testing.assert_allclose(found["family.loc"][0], rows.std(ddof=0) / np.sqrt(50 * each), rtol=0.25)
