import copy
from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from continuous import contract_only
from matplotlib.patches import Ellipse, Polygon

from lowerbound import datasets
from lowerbound.inference import EM, SVI, compare, fit
from lowerbound.inference.plots import figures
from lowerbound.models import (
    BernoulliMixture,
    Categorical,
    CategoricalMixture,
    Gaussian,
    GaussianMixture,
    KMeans,
    Mixture,
    NegativeBinomialMixture,
    Poisson,
    PoissonMixture,
    Product,
    StudentTMixture,
)

ENGINES = {"em": EM(), "svi": SVI(elbo="exact")}


def compared(name, components, engines=("em", "svi"), passes=5, **options):
    x = datasets.load(name)
    model = GaussianMixture(components, x.shape[1], **options)
    return compare(x, **{e: fit(model, x, ENGINES[e], max_passes=passes) for e in engines})


@pytest.fixture(scope="module")
def two():
    return compared("faithful", 2, passes=120)


def ellipses(axes):
    return [patch for patch in axes.patches if isinstance(patch, Ellipse)]


def drawn(figure):
    """Whatever is written outside the figure's edges is cut off."""
    figure.canvas.draw()
    renderer, (width, height) = figure.canvas.get_renderer(), figure.canvas.get_width_height()
    texts = [figure._suptitle, *(t for axes in figure.axes for t in (axes.title, axes.xaxis.label, axes.yaxis.label))]
    for text in texts:
        box = text.get_window_extent(renderer)
        assert text.get_text() == "" or (box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height), text
    return figure


def test_all_figures_have_a_title_and_a_reading_and_leave_matplotlib_as_it_was(two):
    before = dict(matplotlib.rcParams)
    made = figures(two)
    assert list(made) == ["data", "bounds", "responsibilities"]
    for figure in made.values():
        assert figure.get_suptitle() and str(figure.get_label()).endswith(".")
        drawn(figure)
    assert dict(matplotlib.rcParams) == before
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []


def test_data_has_every_row_and_two_ellipses_for_each_component_of_each_fit(two):
    figure = figures(two)["data"]
    (axes,) = figure.axes
    np.testing.assert_array_equal(axes.collections[0].get_offsets(), datasets.load("faithful"))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("eruptions", "waiting")
    assert len(ellipses(axes)) == 2 * 2 * 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["em", "svi"]
    assert "em and svi find the same components" in figure.get_suptitle()
    # the two fits differ in more than colour
    first, second = (line.get_linestyle() for line in figure.legends[0].get_lines())
    assert first == "-" and second != "-"


def test_ellipses_lie_one_and_two_standard_deviations_from_the_mean(two):
    axes = figures(two)["data"].axes[0]
    moments = two.fits["em"].model.family.moments()
    order = two.fits["em"].model.canonical_order()
    outlines = ellipses(axes)[:4]  # em: component 1 at 1 and 2 s.d., component 2
    for i, outline in enumerate(outlines):
        mean, covariance = moments.mean[order[i // 2]].numpy(), moments.covariance[order[i // 2]].numpy()
        points = outline.get_patch_transform().transform(outline.get_path().vertices) - mean
        distance = np.sqrt(np.einsum("ni,ij,nj->n", points, np.linalg.inv(covariance), points))
        # vertices on the ellipse; the others are control points of Bezier curves
        assert np.isclose(distance, 1 + i % 2, rtol=1e-6).sum() >= 9


def test_components_are_numbered_alike_in_all_fits(two):
    flipped = two.fits["svi"]
    flipped.model.permute([1, 0])
    try:
        again = compare(datasets.load("faithful"), em=two.fits["em"], svi=flipped)
        centres = np.array([outline.get_center() for outline in ellipses(figures(again)["data"].axes[0])])
    finally:
        flipped.model.permute([1, 0])
    np.testing.assert_allclose(centres[:4], centres[4:], rtol=0.05)


def test_one_column_shows_densities_that_add_up():
    comparison = compared("galaxies", 3, passes=20)
    figure = drawn(figures(comparison)["data"])
    (axes,) = figure.axes
    lines = [line for line in axes.lines if line.get_linestyle() != "None"]
    assert len(lines) == 2 * (1 + 3)
    total, *parts = [line.get_ydata() for line in lines[:4]]
    np.testing.assert_allclose(np.sum(parts, 0), total, rtol=1e-9)
    grid = lines[0].get_xdata()
    assert np.trapezoid(total, grid) == pytest.approx(1, abs=0.03)
    assert axes.get_xlabel() == "velocity" and "per unit of velocity" in axes.get_ylabel()


def test_four_columns_are_shown_pair_by_pair():
    comparison = compared("iris", 3, engines=("em",))
    figure = drawn(figures(comparison)["data"])
    assert len(figure.axes) == 6
    assert all(len(ellipses(axes)) == 2 * 3 for axes in figure.axes)


def test_more_columns_are_projected_and_many_rows_thinned_the_same_way_each_time():
    x = torch.randn(6000, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    comparison = compare(x, em=fit(GaussianMixture(2, 6), x, EM(), max_passes=3))
    first, again = (figures(comparison)["data"].axes[0] for _ in range(2))
    assert len(first.collections[0].get_offsets()) == 5000
    np.testing.assert_array_equal(first.collections[0].get_offsets(), again.collections[0].get_offsets())
    assert first.get_xlabel().startswith("principal component 1 (") and len(ellipses(first)) == 4


def test_bounds_are_distances_to_the_best_of_all_fits(two):
    figure = figures(two)["bounds"]
    passes, seconds = figure.axes
    best = max(float(f.bounds.max()) for f in two.fits.values())
    curves = [line for line in passes.lines if len(line.get_xdata()) > 2]
    for line, entry in zip(curves, two.fits.values(), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, len(entry.bounds) + 1))
        np.testing.assert_allclose(line.get_ydata(), entry.bounds.numpy() - best, rtol=1e-12)
    timed = [line for line in seconds.lines if len(line.get_xdata()) > 2]
    np.testing.assert_array_equal(timed[1].get_xdata(), two.fits["svi"].times)
    assert (passes.get_xlabel(), seconds.get_xlabel()) == ("passes over the rows", "seconds")
    assert "nats per row" in passes.get_ylabel() and f"{best:.6f}" in figure.get_suptitle()
    low, high = passes.get_ylim()
    assert low < min(line.get_ydata().min() for line in curves) and high > 0


def test_two_components_colour_the_rows(two):
    figure = figures(two)["responsibilities"]
    panels = figure.axes[:2]
    for axes, (name, entry) in zip(panels, two.fits.items(), strict=True):
        assert axes.get_title().startswith(name)
        shown = np.concatenate([c.get_array() for c in axes.collections])
        at = np.concatenate([c.get_offsets() for c in axes.collections])
        order = entry.model.canonical_order() if name == "em" else None
        if order is not None:
            wanted = entry.model.posterior(torch.as_tensor(at)).probs[:, order[0]]
            np.testing.assert_allclose(shown, wanted, atol=1e-12)
        assert len(shown) == 272
    assert figure.axes[2].get_ylabel() == "probability of component 1"


@pytest.mark.parametrize("components", [3, 8])
def test_more_components_are_stacked_to_one(components):
    comparison = compared("faithful", components, prior="weak")
    figure = drawn(figures(comparison)["responsibilities"])
    assert len(figure.axes) == 2
    for axes in figure.axes:
        assert len(axes.collections) == components
        top = axes.collections[-1].get_paths()[0].vertices[:, 1].max()
        assert top == pytest.approx(1)
    assert len(figure.legends[0].get_texts()) == components


def test_fits_with_different_numbers_of_components():
    x = datasets.load("faithful")
    comparison = compare(x, **{f"k{k}": fit(GaussianMixture(k, 2), x, EM(), max_passes=5) for k in (1, 2, 3)})
    made = figures(comparison)
    assert len(ellipses(made["data"].axes[0])) == 2 * (1 + 2 + 3)
    assert "each fit" in made["responsibilities"].axes[-1].get_xlabel()
    for figure in made.values():
        drawn(figure)


@pytest.mark.parametrize(
    ("columns", "names"), [(1, ["data", "bounds"]), (2, ["data", "bounds"]), (3, ["bounds"]), (5, ["bounds"])]
)
def test_a_model_without_components_has_the_figures_that_make_sense(columns, names):
    made = figures(contract_only(columns))
    assert list(made) == names
    if columns == 2:
        assert made["data"].legends[0].get_title().get_text() == "density"


# what the components are


def shown(x, passes=5, **models):
    """The figures of fits by EM, and the models with their components in the order of the tables."""
    fits = {name: fit(model, x, EM(), max_passes=passes) for name, model in models.items()}
    comparison = compare(x, **fits)
    made = figures(comparison)
    for figure in made.values():
        drawn(figure)
    for entry in fits.values():
        entry.model.permute(entry.model.canonical_order())
    return made, {name: entry.model for name, entry in fits.items()}


def dotted(axes):
    """{label: x of its dots} of the components."""
    return {line.get_label(): line.get_xdata() for line in axes.lines if not line.get_label().startswith("_")}


def test_categories_are_bars_divided_by_their_probabilities():
    x = datasets.load("titanic")
    made, models = shown(x, em=CategoricalMixture(3, [4, 2, 2, 2]))
    assert list(made) == ["profiles", "bounds", "responsibilities"]
    probs, shares = models["em"].family.probs.detach().numpy(), models["em"].posterior(x).probs.mean(0)
    panels = made["profiles"].axes
    assert [axes.get_title(loc="left") for axes in panels] == list(x.columns)
    for j, axes in enumerate(panels):
        words = list(x.iloc[:, j].cat.categories)
        assert [text.get_text() for text in axes.get_legend().get_texts()] == words
        widths = np.array([[bar.get_width() for bar in bars] for bars in axes.containers])
        np.testing.assert_allclose(widths.T, probs[:, j, : len(words)], atol=1e-12)
        labels = [tick.get_text() for tick in axes.get_yticklabels()]
        assert labels == [f"{i + 1} ({100 * share:.0f} %)" for i, share in enumerate(shares.tolist())]
    colours = {bar.get_facecolor() for bars in panels[0].containers for bar in bars}
    assert len(colours) == 4
    assert {text.get_text() for text in panels[0].texts} <= set(x["class"].cat.categories)


def test_yes_or_no_columns_are_dots_one_sign_for_each_component():
    x = datasets.load("carcinoma")
    made, models = shown(x, em=CategoricalMixture(3, [2] * 7), bernoulli=BernoulliMixture(3, 7), passes=500)
    (axes,) = made["profiles"].axes  # the same model twice: drawn once
    assert "em and bernoulli agree on 3 components" in made["profiles"].get_suptitle()
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(x.columns)
    assert axes.get_xlabel() == "probability of 1"
    np.testing.assert_allclose(list(dotted(axes).values()), models["em"].family.probs.detach()[:, :, 1], atol=1e-12)
    signs = [(line.get_marker(), line.get_color()) for line in axes.lines if line.get_label() in dotted(axes)]
    assert len({marker for marker, _ in signs}) == len({colour for _, colour in signs}) == 3
    (average,) = (line.get_xdata() for line in axes.lines if line.get_marker() == "|")
    np.testing.assert_allclose(average, x.mean(), atol=1e-5)  # at a maximum of the likelihood, that of the rows


def test_pixels_are_pictures_and_differing_fits_side_by_side():
    x = datasets.load("digits").iloc[:300]
    made, models = shown(x, poisson=PoissonMixture(3, 64), negative=NegativeBinomialMixture(2, 64), passes=3)
    left, right = made["profiles"].subfigs
    assert left._suptitle.get_text() == "poisson" and right._suptitle.get_text() == "negative"
    for part, values in ((left, models["poisson"].family.rate), (right, models["negative"].family.mean)):
        images = [axes.images[0] for axes in part.axes if axes.images]
        np.testing.assert_allclose([image.get_array().ravel() for image in images], values.detach(), rtol=1e-12)
        assert {image.get_array().shape for image in images} == {(8, 8)}
    assert made["profiles"].get_suptitle() == "Components of poisson and negative"  # of families that do not compare


def test_clusters_have_their_shares_of_the_rows():
    x = datasets.load("digits").iloc[:300]
    made, models = shown(x, kmeans=KMeans(3, 64))
    sizes = models["kmeans"].posterior(x).probs.mean(0).tolist()
    titles = [axes.get_title() for axes in made["profiles"].axes if axes.images]
    assert titles == [f"{j + 1} ({100 * share:.0f} %)" for j, share in enumerate(sizes)]
    np.testing.assert_allclose(
        [axes.images[0].get_array().ravel() for axes in made["profiles"].axes if axes.images],
        models["kmeans"].loc.detach(),
    )  # pixels keep their unit


def test_many_columns_of_counts_are_shades():
    x = pd.DataFrame(np.random.default_rng(0).poisson(3, (80, 30))).add_prefix("word ")
    made, models = shown(x, em=PoissonMixture(2, 30))
    axes = made["profiles"].axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), models["em"].family.rate.detach())
    assert [tick.get_text() for tick in axes.get_xticklabels()] == list(x.columns)


def test_more_than_four_measurements_are_dots_in_standard_deviations():
    x = pd.DataFrame(
        np.random.default_rng(0).standard_normal((100, 5)) * [1, 10, 100, 1e3, 1e4] + 7, columns=list("abcde")
    )
    made, models = shown(x, em=StudentTMixture(2, 5, dof=5.0))
    (axes,) = made["profiles"].axes
    expected = (models["em"].family.loc.detach().numpy() - x.mean().to_numpy()) / x.std(ddof=0).to_numpy()
    np.testing.assert_allclose(list(dotted(axes).values()), expected)
    assert axes.get_xlabel() == "location, in standard deviations from the mean of all rows"


@pytest.mark.parametrize(("moved", "words"), [(0.15, "nearly the same components"), (1.0, "different components")])
def test_two_figures_of_one_page_say_the_same(moved, words):
    x = np.random.default_rng(5).normal(size=(80, 5)) + np.repeat([[0.0], [1.5]], 40, 0)
    one = fit(GaussianMixture(2, 5, "diag"), x, EM())
    other = replace(one, model=copy.deepcopy(one.model))
    other.model.family.loc = other.model.family.loc.detach() + moved * x.std()
    made = figures(compare(x, one=one, other=other))
    assert words in made["data"].get_suptitle() and words in made["profiles"].get_suptitle()


def test_a_mixed_table_has_all_kinds():
    rng = np.random.default_rng(0)
    x = pd.DataFrame(rng.standard_normal((90, 2)), columns=["height", "width"])
    x["visits"], x["town"] = rng.poisson(3, 90), pd.Categorical(rng.choice(["A", "B", "C"], 90))
    made, models = shown(x, em=Mixture(Product(Gaussian(2, 2), Poisson(2, 1), Categorical(2, [3]))))
    assert list(made) == ["data", "profiles", "bounds", "responsibilities"]
    assert len(made["data"].axes) == 3  # pairs of the three columns of numbers
    numbers, counts, town = made["profiles"].axes
    assert [t.get_text() for t in numbers.get_yticklabels()] == ["height", "width"]
    rate = models["em"].family.parts[1].rate.detach().numpy()
    np.testing.assert_allclose(list(dotted(counts).values()), rate)
    assert counts.get_xlabel() == "rate" and town.get_title(loc="left") == "town"
    assert numbers.get_legend() and not counts.get_legend()  # said once


def test_what_the_data_figure_shows_in_full_has_no_profiles():
    for x, model in (
        (datasets.load("iris"), KMeans(3, 4)),
        (datasets.load("deaths"), PoissonMixture(2, 1)),
        (datasets.load("faithful")[["waiting"]], GaussianMixture(2, 1)),
    ):
        made, _ = shown(x, em=model)
        assert list(made) == ["data", "bounds", "responsibilities"]


def test_a_column_of_counts_has_bars_and_probabilities():
    x = datasets.load("deaths")
    made, models = shown(x, em=PoissonMixture(2, 1))
    (axes,) = made["data"].axes
    heights = [bar.get_height() for bar in axes.containers[0]]
    np.testing.assert_allclose(heights, x["deaths"].value_counts(normalize=True).sort_index())
    np.testing.assert_allclose(
        axes.lines[0].get_ydata(), models["em"].bound(np.arange(10.0)[:, None]).exp(), rtol=1e-12
    )
    assert axes.get_ylabel() == "probability"


def test_of_many_columns_of_categories_the_most_telling_are_shown():
    rng = np.random.default_rng(0)
    z = rng.integers(0, 2, 200)
    x = pd.DataFrame({f"q{j}": np.where((j in (3, 7)) & (z == 1), 2, rng.integers(0, 3, 200)) for j in range(14)})
    made, _ = shown(x, em=CategoricalMixture(2, [3] * 14), passes=50)
    titles = [axes.get_title(loc="left") for axes in made["profiles"].axes]
    assert len(titles) == 10 and {"q3", "q7"} <= set(titles)
    assert "10 of 14 columns" in str(made["profiles"].get_label())
    assert "which differ most in q3 and q7" in made["profiles"].get_suptitle().replace("q7 and q3", "q3 and q7")


# what a run does not support is not shown or said


def test_outlines_of_counts_do_not_go_below_zero():
    """Nor those of a mixed table, in its columns of counts alone; measurements may be negative."""
    rng = np.random.default_rng(0)
    counts, size = rng.poisson([[1, 2]] * 40 + [[9, 30]] * 40), rng.normal(size=(80, 1))
    for x, family, negative in (
        (counts, Poisson(2, 2), [False, False]),
        (np.c_[size, counts[:, :1]], Product(Gaussian(2, 1), Poisson(2, 1)), [True, False]),
        (np.c_[size, counts[:, :1]], Gaussian(2, 2), [True, True]),
    ):
        figure = drawn(figures(compare(x, em=fit(Mixture(family), x, EM(), max_passes=20)))["data"])
        outlines = [patch for patch in figure.axes[0].patches if isinstance(patch, Ellipse | Polygon)]
        assert len(outlines) == 4  # two components, at one and two standard deviations
        lowest = np.min([o.get_transform().transform_path(o.get_path()).vertices.min(0) for o in outlines], 0)
        lowest = figure.axes[0].transData.inverted().transform(lowest)
        assert (lowest < -1e-6).tolist() == negative


def test_one_start_reaches_no_best_optimum():
    x = datasets.load("faithful")
    once, often = (fit(GaussianMixture(2, 2), x, EM(), restarts=n, max_passes=20) for n in (1, 4))
    title = figures(compare(x, em=once))["bounds"].get_suptitle()
    assert "em reaches the highest bound (from one start), " in title and "optimum" not in title
    assert "(the best of 4 starts)" in figures(compare(x, em=often))["bounds"].get_suptitle()
