"""Arguments that are fits, models or comparisons: anything else is named in one sentence."""

import pytest

from lowerbound.inference import (
    EM,
    align,
    bootstrap,
    compare,
    elbo_gap,
    evidence,
    fit,
    gap_report,
    select,
    standard_errors,
    to_arviz,
)
from lowerbound.inference.plots import figures, latent_map, samples
from lowerbound.models import GaussianMixture, Mixture, Poisson

X = [[0.0], [0.4], [1.0], [4.0], [5.0], [5.5]]
FITTED = fit(GaussianMixture(1, 1), X, EM(), max_passes=3)
BY_MODEL = {
    "elbo_gap": elbo_gap,
    "evidence": evidence,
    "gap_report": gap_report,
    "align": lambda model, x: align(FITTED.model, model, x),
    "select": lambda model, x: select(x, {"K=1": model}, folds=None),
    "latent_map": latent_map,
    "samples": lambda model, x: samples(model),
    "fit": lambda model, x: fit(model, x, EM()),
}


@pytest.mark.parametrize("given", [FITTED.model, None, "em"], ids=["model", "none", "text"])
def test_functions_of_a_fit_say_what_came(given, as_users_run_it):
    kind = "None" if given is None else f"a {type(given).__name__}"
    with pytest.raises(TypeError, match=f"em is {kind}, expected what fit"):
        compare(X, em=given)
    for function in (standard_errors, bootstrap):
        with pytest.raises(TypeError, match=f"fit is {kind}, expected what fit"):
            function(given, X)
    with pytest.raises(TypeError, match=f"comparison is {kind}, expected what compare"):
        figures(given)
    with pytest.raises(TypeError, match="resamples is a Mixture, expected what bootstrap"):
        to_arviz(FITTED, X, resamples=FITTED.model)


@pytest.mark.parametrize("name", BY_MODEL)
def test_functions_of_a_model_say_what_came(name, as_users_run_it):
    for given, words in (
        (FITTED, "got a fit as the model, expected a model: pass its .model"),
        (GaussianMixture, r"got the function GaussianMixture as the model, .* call it, GaussianMixture\(\.\.\.\)$"),
        (Mixture, r"got the class Mixture as the model, expected a model: call it, Mixture\(\.\.\.\)$"),
        (None, r"got NoneType as the model, expected one such as GaussianMixture\(2, 2\)$"),
        (Poisson(1, 1), r"got Poisson as the model, .*: it lacks bound, "),
    ):
        with pytest.raises(TypeError, match=words):
            BY_MODEL[name](given, X)


def test_candidates_are_several_models(as_users_run_it):
    with pytest.raises(TypeError, match="models is a Mixture, expected models by name"):
        select(X, FITTED.model)
    assert len(select(X, (GaussianMixture(k, 1, "tied") for k in (1,)), restarts=1, folds=None).fits) == 1


def test_an_engine_is_called(as_users_run_it):
    with pytest.raises(TypeError, match=r"got EM itself as the engine, .*: call it, EM\(\)"):
        fit(GaussianMixture(1, 1), X, EM)
    with pytest.raises(TypeError, match=r"got EM itself as the engine, .*: call it, EM\(\)"):
        select(X, [GaussianMixture(1, 1)], EM)
