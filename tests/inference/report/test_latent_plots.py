"""Figures of models with a continuous latent: what is drawn, and where its numbers are from."""

import matplotlib
import numpy as np
import pytest
import torch
from continuous import contract_only
from matplotlib.patches import Circle

from lowerbound import datasets
from lowerbound.inference import EM, SVI, Fit, compare, fit
from lowerbound.inference.criticism.comparison import Comparison
from lowerbound.inference.plots import figures, latent_grid, latent_map, reconstructions, samples, traversals
from lowerbound.inference.report.report_page import SECTIONS
from lowerbound.inference.report.write_report import FILES, write_report
from lowerbound.models import (
    PPCA,
    VAE,
    BernoulliDecoder,
    BernoulliMixture,
    Binarized,
    ConvEncoder,
    GaussianDecoder,
    GaussianMixture,
    KMeans,
    MLPEncoder,
    Rows,
    linear_vae,
    seed,
)

DIGITS = datasets.load("digits").iloc[:300]
BINARY = datasets.load("binary_digits").iloc[:300]


def vae(x, decoder, latent, **options):
    """One that has seen the data, but learnt nothing."""
    return seed(VAE(MLPEncoder(x.shape[1], latent, hidden=(16,), **options), decoder, latent), x)


def gaussian(latent=3):
    return vae(DIGITS, GaussianDecoder(latent, 64, hidden=(16,), variance="shared"), latent)


def bernoulli(latent=2, **options):
    return vae(BINARY, BernoulliDecoder(latent, 64, hidden=(16,)), latent, **options)


def fitted(model, bounds=(-3.0, -2.0), held_out=None):
    """A fit with this history."""
    bounds = torch.tensor(bounds, dtype=torch.float64)
    times = torch.arange(1.0, len(bounds) + 1).double()
    held = None if held_out is None else torch.tensor(held_out, dtype=torch.float64)
    return Fit(model, SVI(), bounds, times, True, "done", 1.0, 0, (), 0.0, held)


@pytest.fixture(scope="module")
def three():
    """PPCA in float64, a VAE in float32 and a mixture, of grey digits."""
    pca = fit(PPCA(64, 5), DIGITS, EM(), max_passes=5)
    return compare(DIGITS, pca=pca, vae=fitted(gaussian()), mixture=fit(KMeans(3, 64), DIGITS, EM(), max_passes=3))


@pytest.fixture(scope="module")
def made(three):
    """Its figures, which tests only look at."""
    return figures(three)


def images(axes):
    return np.stack([np.asarray(image.get_array()).ravel() for image in axes.images])


def drawn(figure):
    """Whatever is written outside the figure's edges is cut off, and a mean that is not a number is not seen."""
    figure.canvas.draw()
    renderer, (width, height) = figure.canvas.get_renderer(), figure.canvas.get_width_height()
    texts = [figure._suptitle]
    for axes in figure.axes:
        texts += [axes.title, axes.xaxis.label, axes.yaxis.label]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            texts += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
        assert np.isfinite(images(axes)).all() if axes.images else True
    for text in texts:
        box = text.get_window_extent(renderer)
        assert text.get_text() == "" or (box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height), text
    assert figure.get_suptitle() and str(figure.get_label()).endswith(".")
    return figure


@pytest.fixture(autouse=True)
def nothing_global_is_touched():
    import matplotlib.pyplot as plt

    state, settings = torch.get_rng_state(), dict(matplotlib.rcParams)
    yield
    assert torch.equal(torch.get_rng_state(), state) and dict(matplotlib.rcParams) == settings
    assert plt.get_fignums() == []


# the figures of a comparison


def test_samples_are_rows_and_what_each_fit_draws(three, made):
    assert list(made) == [
        "data", "samples", "profiles", "reconstructions", "latent", "bounds", "responsibilities",
    ]  # fmt: skip
    (axes,) = drawn(made["samples"]).axes
    strips = images(axes).reshape(4, 12, 64)
    everything = {row.tobytes() for row in DIGITS.to_numpy(dtype=float)}
    assert all(row.tobytes() in everything for row in strips[0])
    for strip, entry in zip(strips[1:], three.fits.values(), strict=True):
        drawn_rows = entry.model.sample(12, seed=0)
        order = entry.model.canonical_order() if hasattr(entry.model, "canonical_order") else None
        if order is None or (order == torch.arange(len(order))).all():  # relabelled: another component is drawn
            np.testing.assert_array_equal(strip, drawn_rows.double())
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["data", "pca", "vae", "mixture"]
    assert {image.get_clim() for image in axes.images} == {(0.0, 16.0)}  # one scale, that of the data
    assert {image.get_array().shape for image in axes.images} == {(8, 8)}
    again = images(figures(three)["samples"].axes[0])
    np.testing.assert_array_equal(again, strips.reshape(48, 64))


def test_strips_stand_one_below_the_other_without_touching(made):
    for axes in (made["samples"].axes[0], traversals(gaussian(), DIGITS).axes[0]):
        boxes = [image.get_extent() for image in axes.images]
        left, right, bottom, top = np.array(boxes).T
        assert (right - left == pytest.approx(1)) and (bottom - top == pytest.approx(1))
        apart = np.maximum(np.abs(left[:, None] - left), np.abs(top[:, None] - top)) + 2 * np.eye(len(boxes))
        assert apart.min() > 1.05
        assert axes.yaxis_inverted() and min(left) >= axes.get_xlim()[0] and max(right) <= axes.get_xlim()[1]


def test_reconstructions_are_those_of_the_rows_above(three, made):
    (axes,) = drawn(made["reconstructions"]).axes
    data, pca, net = images(axes).reshape(3, 12, 64)  # the mixture has none
    models = {name: entry.model for name, entry in three.fits.items()}
    np.testing.assert_allclose(pca, models["pca"].reconstruct(data), atol=1e-10)
    np.testing.assert_allclose(net, models["vae"].reconstruct(data).double(), atol=1e-4)
    np.testing.assert_allclose(net, models["vae"].decode(models["vae"].transform(data)).mean.detach(), atol=1e-4)
    assert [tick.get_text().split("\n")[0] for tick in axes.get_yticklabels()] == ["data", "pca", "vae"]
    error = (models["pca"].reconstruct(DIGITS) - torch.tensor(DIGITS.to_numpy())).square().mean().sqrt()
    title = made["reconstructions"].get_suptitle().replace("\n", " ")
    assert title.startswith("pca comes closest") and f"(0 to 16) are off by {error:.2g} in" in title


def test_the_latent_map_has_the_two_most_active_dimensions_of_each_fit(three, made):
    figure = drawn(made["latent"])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["pca", "vae"]
    for axes, name in zip(figure.axes, ("pca", "vae"), strict=True):
        means = three.fits[name].model.transform(DIGITS).double()
        i, j = means.var(0).argsort(descending=True)[:2].tolist()
        assert axes.get_xlabel().startswith(f"latent dimension {i + 1}")
        assert axes.get_ylabel().startswith(f"latent dimension {j + 1}")
        (dots,) = axes.collections
        at = np.asarray(dots.get_offsets())
        np.testing.assert_allclose(np.sort(at[:, 0]), means[:, i].sort().values, atol=1e-5)
        np.testing.assert_allclose(np.sort(at[:, 1]), means[:, j].sort().values, atol=1e-5)
        assert [patch.get_radius() for patch in axes.patches if isinstance(patch, Circle)] == [1, 2]
        assert axes.get_aspect() == 1
        # pictures: rows of the data, in the middle of their places, none over another or cut off
        boxes = np.array([image.get_extent() for image in axes.images])
        centres = boxes.reshape(-1, 2, 2).mean(2)
        wanted = three.fits[name].model.transform(images(axes))[:, [i, j]]
        np.testing.assert_allclose(centres, wanted.double(), atol=1e-4)
        side = boxes[0, 1] - boxes[0, 0]
        apart = np.abs(centres[:, None] - centres).max(-1) + np.eye(len(boxes))
        assert len(boxes) > 10 and apart.min() >= side
        assert np.abs(boxes).max() <= axes.get_xlim()[1]
    kl = 0.5 * (lambda q: q.loc**2 + q.scale**2 - 1 - 2 * q.scale.log())(
        three.fits["vae"].model.posterior(DIGITS).base_dist
    ).mean(0)
    assert f"(KL {kl[i]:.2g} nats)" in axes.get_xlabel()
    assert "KL" not in figure.axes[0].get_xlabel()  # of a full covariance, no dimension has its own


def test_what_is_not_used_is_said():
    model = bernoulli(4)
    with torch.no_grad():
        layer = [part for part in model.encoder.modules() if isinstance(part, torch.nn.Linear)][-1]
        layer.weight[[1, 3]] = 0
    comparison = compare(BINARY, vae=fitted(model))
    figure = figures(comparison)["latent"]
    assert figure.get_suptitle() == "vae uses 2 of 4 latent dimensions"
    assert {figure.axes[0].get_xlabel()[:18], figure.axes[0].get_ylabel()[:18]} == {
        "latent dimension 1", "latent dimension 3",
    }  # fmt: skip


def test_a_comparison_of_mixtures_has_samples_of_pictures_alone():
    made = figures(compare(BINARY, em=fit(BernoulliMixture(3, 64), BINARY, EM(), max_passes=3)))
    assert list(made) == ["samples", "profiles", "bounds", "responsibilities"]
    assert images(drawn(made["samples"]).axes[0]).shape == (2 * 12, 64)
    x = datasets.load("faithful")
    assert "samples" not in figures(compare(x, em=fit(GaussianMixture(2, 2), x, EM(), max_passes=3)))


def test_a_mixture_and_a_vae_of_pixels_of_0_and_1_share_no_outlines():
    mixture = fit(BernoulliMixture(3, 64), BINARY, EM(), max_passes=3)
    made = figures(compare(BINARY, vae=fitted(bernoulli()), mixture=mixture))
    assert "data" not in made and {"samples", "latent"} <= set(made)


def test_few_columns_have_dots_of_what_is_kept_and_many_none():
    x = datasets.load("iris")
    one, two = PPCA.closed_form(x, 1), PPCA.closed_form(x, 2)
    made = figures(compare(x, one=fitted(one), two=fitted(two)))
    assert list(made) == ["reconstructions", "latent", "bounds"]
    panels = drawn(made["reconstructions"]).axes
    assert len(panels) == 2 * 4
    for axes, j in zip(panels[4:], range(4), strict=True):
        dots = axes.lines[1]
        order = np.argsort(dots.get_xdata(), kind="stable")
        np.testing.assert_array_equal(dots.get_xdata()[order], np.sort(x.iloc[:, j]))
        np.testing.assert_allclose(np.sort(dots.get_ydata()), np.sort(two.reconstruct(x)[:, j]), atol=1e-12)
        left = x.iloc[:, j].to_numpy() - two.reconstruct(x)[:, j].numpy()
        assert axes.get_title() == f"{100 * (1 - (left**2).mean() / x.iloc[:, j].var(ddof=0)):.0f} % kept"
    # a single latent dimension is a histogram under the prior
    single, plane = drawn(made["latent"]).axes
    assert single.get_ylabel() == "density of posterior means" and plane.get_aspect() == 1
    np.testing.assert_allclose(single.lines[0].get_ydata().max(), (2 * np.pi) ** -0.5, rtol=1e-3)
    wide = torch.randn(80, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert list(figures(compare(wide, pca=fitted(PPCA.closed_form(wide, 2))))) == ["latent", "bounds"]


def test_a_model_that_has_no_more_than_the_contract_has_no_latent_figures():
    comparison = contract_only(2)
    assert not {"samples", "reconstructions", "latent"} & set(figures(comparison))


def test_rows_that_are_drawn_anew_and_pictures_known_by_the_encoder():
    x = Binarized(BINARY.to_numpy())
    with torch.random.fork_rng():
        model = seed(VAE(ConvEncoder((8, 8), 2, channels=(4,), hidden=8), BernoulliDecoder(2, 64, hidden=()), 2), x)
    entry = fitted(model)
    template = compare(BINARY, vae=entry)
    comparison = Comparison(Rows(x), template.fits, template._scores, template._pairs)
    first, again = figures(comparison), figures(comparison)
    for name in ("samples", "reconstructions", "latent"):
        np.testing.assert_array_equal(images(first[name].axes[0]), images(again[name].axes[0]))
        assert {image.get_array().shape for image in first[name].axes[0].images} == {(8, 8)}


def test_rows_of_weight_0_are_not_shown():
    weights = np.r_[np.zeros(290), np.ones(10)]
    made = figures(compare(DIGITS, weights=weights, vae=fitted(gaussian())))
    strip = images(made["samples"].axes[0])[:10]
    assert {row.tobytes() for row in strip} == {row.tobytes() for row in DIGITS.to_numpy(dtype=float)[290:]}


# bounds


def test_held_out_bounds_have_a_panel_of_their_own():
    own, held = [-9.0, -5.0, -4.0, -3.5, -3.2], [-9.5, -5.5, -4.4, -4.2, -4.3, -4.6]
    x = datasets.load("faithful")
    plain = fit(GaussianMixture(2, 2), x, EM(), max_passes=5)
    one, two = PPCA.closed_form(x, 1), PPCA.closed_form(x, 1)
    fits = {"em": plain, "stopped": fitted(one, own[:4], held), "rising": fitted(two, own, own)}
    figure = drawn(figures(compare(x, **fits))["bounds"])
    passes, seconds, beside = figure.axes
    assert (passes.get_xlabel(), seconds.get_xlabel()) == ("passes over the rows", "seconds")
    assert beside.get_title() == "held out\nstopped: best at pass 4 of 6, then 0.4 lower\nrising: still rising"
    lines = [line for line in beside.lines if len(line.get_xdata())]
    np.testing.assert_array_equal(lines[0].get_ydata(), own[:4])
    np.testing.assert_array_equal(lines[1].get_ydata(), held)
    np.testing.assert_array_equal(lines[1].get_xdata(), range(1, 7))
    assert lines[2].get_xdata() == 4 and lines[2].get_ydata() == -4.2
    assert lines[0].get_color() == lines[1].get_color() != lines[3].get_color()
    assert lines[1].get_linewidth() < lines[0].get_linewidth()
    assert [text.get_text() for text in beside.get_legend().get_texts()] == ["rows of the fit", "held out"]
    assert beside.get_ylim()[0] > -9  # the start would flatten the rest
    assert len(figures(compare(x, em=plain))["bounds"].axes) == 2


def test_bounds_of_many_orders_end_where_they_come_close():
    far = [-3e5, -2e3, -190.0, -170.2, -170.0]
    x = datasets.load("iris")
    fits = {"pca": fitted(PPCA.closed_form(x, 2), [-181.0]), "vae": fitted(PPCA.closed_form(x, 1), far)}
    figure = drawn(figures(compare(x, **fits))["bounds"])
    passes = figure.axes[0]
    ticks = passes.get_yticks().tolist()
    assert ticks == pytest.approx([0, *(-(10.0**k) for k in range(-1, 7))])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "pca: 1 pass, ends 11 below",
        "vae: 5 passes, ends at the best",
    ]


# a single model


@pytest.mark.parametrize("latent", [1, 2, 12])
def test_traversals_decode_one_dimension_at_a_time(latent):
    model = bernoulli(latent)
    (axes,) = drawn(traversals(model, BINARY, steps=7, extent=2.0)).axes
    assert len(axes.images) == 7 * min(latent, 10)
    order = model.transform(BINARY).double().var(0).argsort(descending=True, stable=True)[:10]
    names = [tick.get_text().split("\n")[0] for tick in axes.get_yticklabels()]
    assert names == [f"dimension {j + 1}" for j in order]
    assert all("KL" in tick.get_text() for tick in axes.get_yticklabels())
    for strip, j in zip(images(axes).reshape(-1, 7, 64), order, strict=True):
        z = torch.zeros(7, latent)
        z[:, j] = torch.linspace(-2, 2, 7)
        np.testing.assert_allclose(strip, model.decode(z).mean.detach(), atol=1e-6)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["-2", "-1.3", "-0.67", "0", "0.67", "1.3", "2"]
    assert {image.get_clim() for image in axes.images} == {(0.0, 1.0)}


def test_traversals_without_rows_begin_with_what_changes_most():
    model = PPCA.closed_form(DIGITS, 4)
    (axes,) = drawn(traversals(model, shape=(8, 8))).axes
    by_length = model.loading.norm(dim=0).argsort(descending=True)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [f"dimension {j + 1}" for j in by_length]
    z = torch.zeros(9, 4, dtype=torch.float64)
    z[:, by_length[0]] = torch.linspace(-2.5, 2.5, 9, dtype=torch.float64)
    means = model.decode(z).mean.detach()
    np.testing.assert_allclose(images(axes)[:9], means, atol=1e-10)
    low, high = axes.images[0].get_clim()
    assert low == pytest.approx(images(axes).min()) and high == pytest.approx(images(axes).max())
    (asked,) = traversals(model, dimensions=[3, 0], shape=(8, 8)).axes
    assert [tick.get_text() for tick in asked.get_yticklabels()] == ["dimension 4", "dimension 1"]


def test_a_bernoulli_model_without_rows_has_the_scale_of_chances():
    (axes,) = traversals(bernoulli(2)).axes
    assert {image.get_clim() for image in axes.images} == {(0.0, 1.0)}


def test_other_tables_have_lines_of_means():
    x = datasets.load("iris")
    model = seed(linear_vae(4, 2), x)
    figure = drawn(traversals(model, x))
    panels = [axes for axes in figure.axes if axes.lines]
    assert len(panels) == 2
    j = int(panels[0].get_title().split(",")[0].removeprefix("dimension ")) - 1
    z = torch.zeros(9, 2)
    z[:, j] = torch.linspace(-2.5, 2.5, 9)
    means = (model.decode(z).mean.detach().numpy() - x.mean().to_numpy()) / x.std(ddof=0).to_numpy()
    np.testing.assert_allclose([line.get_ydata() for line in panels[0].lines], means, atol=1e-5)
    assert [tick.get_text() for tick in panels[0].get_xticklabels()] == list(x.columns)
    raw = next(axes for axes in traversals(model).axes if axes.lines)
    assert raw.get_ylabel() == "mean of the column" and len(raw.lines) == 9


def test_the_plane_is_decoded_from_left_to_right_and_upwards():
    model = bernoulli(2)
    (axes,) = drawn(latent_grid(model, steps=5, extent=2.0)).axes
    assert len(axes.images) == 25 and not axes.yaxis_inverted()
    for image in axes.images:
        left, _, low, _ = image.get_extent()
        z = torch.tensor([[int(left) - 2.0, int(low) - 2.0]])
        np.testing.assert_allclose(image.get_array().ravel(), model.decode(z).mean[0].detach(), atol=1e-6)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["-2", "-1", "0", "1", "2"]
    np.testing.assert_allclose(axes.get_xticks(), np.arange(5) + 0.5)
    wide = bernoulli(6)
    (axes,) = latent_grid(wide, dimensions=[4, 1], steps=3, extent=1.0).axes
    z = torch.zeros(1, 6)
    z[0, 4], z[0, 1] = 1.0, -1.0
    corner = next(image for image in axes.images if image.get_extent()[0] > 2 and image.get_extent()[2] < 1)
    np.testing.assert_allclose(corner.get_array().ravel(), wide.decode(z).mean[0].detach(), atol=1e-6)
    assert axes.get_xlabel().startswith("dimension 5") and axes.get_ylabel().startswith("dimension 2")
    i, j = wide.transform(BINARY).double().var(0).argsort(descending=True)[:2].tolist()
    (axes,) = latent_grid(wide, BINARY, steps=3).axes
    assert axes.get_xlabel().startswith(f"dimension {i + 1},") and axes.get_ylabel().startswith(f"dimension {j + 1},")


def test_labels_colour_the_map():
    model = bernoulli(2)
    labels = np.where(np.arange(300) % 3 == 0, "third", "other")
    figure = drawn(latent_map(model, BINARY, colors=labels))
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["other", "third"]
    assert not axes.images
    means = model.transform(BINARY).numpy()
    for line in axes.lines:
        mine = means[labels == line.get_label()]
        np.testing.assert_allclose(np.sort(line.get_xdata()), np.sort(mine[:, 0]), atol=1e-5)
    assert len({line.get_marker() for line in axes.lines}) == len({line.get_color() for line in axes.lines}) == 2
    assert latent_map(model, BINARY).axes[0].images  # without labels, pictures
    (axes,) = latent_map(bernoulli(3), BINARY, dimensions=[2, 0]).axes
    assert axes.get_xlabel().startswith("latent dimension 3") and axes.get_ylabel().startswith("latent dimension 1")


def test_reconstructions_and_samples_of_one_model():
    model = bernoulli(2)
    (axes,) = drawn(reconstructions(model, BINARY)).axes
    data, made = images(axes).reshape(2, 12, 64)
    np.testing.assert_allclose(made, model.reconstruct(data), atol=1e-6)
    (axes,) = drawn(samples(model, 30)).axes
    np.testing.assert_array_equal(images(axes), model.sample(30, seed=0))
    assert len(samples(model, 1).axes[0].images) == 1
    mixture = fit(BernoulliMixture(3, 64), BINARY.to_numpy(), EM(), max_passes=3).model
    np.testing.assert_array_equal(images(samples(mixture, 5, shape=(8, 8)).axes[0]), mixture.sample(5, seed=0))
    assert {image.get_array().shape for image in samples(mixture, 5, shape=(4, 16)).axes[0].images} == {(4, 16)}
    iris = datasets.load("iris")
    assert len(drawn(reconstructions(PPCA.closed_form(iris, 2), iris)).axes) == 4


def test_training_mode_and_gradients_are_as_they_were():
    model = VAE(
        torch.nn.Sequential(torch.nn.Dropout(0.5), MLPEncoder(64, 2, hidden=(8,))), BernoulliDecoder(2, 64, ()), 2
    )
    model = seed(model, BINARY).train()
    first = images(traversals(model, BINARY).axes[0])
    np.testing.assert_array_equal(first, images(traversals(model, BINARY).axes[0]))
    assert model.training and all(part.training for part in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_cannot_be_drawn_is_refused_in_one_sentence():
    arrays = BINARY.to_numpy()
    model = seed(VAE(MLPEncoder(64, 2, hidden=(4,)), BernoulliDecoder(2, 64, hidden=()), 2), arrays)
    for draw in (traversals, latent_grid, samples, lambda m: reconstructions(m, arrays)):
        with pytest.raises(ValueError, match=r"pass shape=\(height, width\), such as shape=\(8, 8\)"):
            draw(model)
    with pytest.raises(ValueError, match=r"shape is \(8, 9\), expected the \(height, width\) of pictures of 64 pixels"):
        traversals(model, shape=(8, 9))
    mixture = seed(BernoulliMixture(2, 64), BINARY)
    for draw in (traversals, latent_grid, lambda m: latent_map(m, BINARY), lambda m: reconstructions(m, BINARY)):
        with pytest.raises(TypeError, match=r"needs a model with a continuous latent variable, got a Mixture"):
            draw(mixture)
    with pytest.raises(ValueError, match=r"dimensions is \[2\], expected some of 0 to 1"):
        traversals(model, dimensions=[2], shape=(8, 8))
    with pytest.raises(ValueError, match=r"expected 2 of 0 to 1, each once"):
        latent_map(model, arrays, dimensions=[1, 1])
    with pytest.raises(ValueError, match="30 different labels, expected at most 20"):
        latent_map(model, arrays, colors=np.arange(300) % 30)
    with pytest.raises(ValueError, match="colors has shape"):
        latent_map(model, arrays, colors=[0, 1])
    with pytest.raises(ValueError, match="use traversals"):
        latent_grid(bernoulli(1))
    with pytest.raises(ValueError, match="steps is 1"):
        traversals(bernoulli(), steps=1)
    with pytest.raises(ValueError, match="extent is 0"):
        latent_grid(bernoulli(), extent=0)


# the report


def test_the_report_has_them_and_forgets_them(three, tmp_path):
    page = write_report(three, tmp_path).read_text(encoding="utf-8")
    places = [page.index(f"<h2>{SECTIONS[name]}</h2>") for name in ("samples", "profiles", "reconstructions", "latent")]
    assert places == sorted(places)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(set(FILES) - {"posteriors.png", "posterior.nc"})
    write_report(contract_only(3), tmp_path)
    assert not {"samples.png", "reconstructions.png", "latent.png"} & {file.name for file in tmp_path.iterdir()}
