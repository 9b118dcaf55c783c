"""Figures of a single model with a continuous latent: traversals, planes, maps, reconstructions and samples."""

import numpy as np
import pytest
import torch
from test_latent_plots import (
    BINARY,
    DIGITS,
    bernoulli,
    drawn,
    images,
    nothing_global_is_touched,  # noqa: F401 (a fixture)
)

from lowerbound import datasets
from lowerbound.inference import EM, fit
from lowerbound.inference.plots import latent_grid, latent_map, reconstructions, samples, traversals
from lowerbound.models import (
    PPCA,
    VAE,
    BernoulliDecoder,
    BernoulliMixture,
    MLPEncoder,
    linear_vae,
    seed,
)

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
