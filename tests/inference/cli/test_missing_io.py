"""Tables with missing cells, from the file to the report: what is read, compared, drawn, filled in and refused."""

import copy
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch
from test_cli import refused
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lowerbound.data.model_abilities import takes_missing
from lowerbound.data.read_file import read
from lowerbound.datasets import load as dataset
from lowerbound.inference import EM, SVI, align, compare, elbo_gap, evidence, fit, gap_report, load
from lowerbound.inference.cli.column_kinds import categories_of
from lowerbound.inference.cli.models_by_name import MODELS, ModelOptions, build_model
from lowerbound.inference.fitting.checkpoint_identity import describe_run
from lowerbound.models import (
    PPCA,
    BernoulliMixture,
    CategoricalMixture,
    FamilyOf,
    GaussianMixture,
    KMeans,
    Mixture,
    PoissonMixture,
    Rows,
    linear_vae,
    mixed,
)


def torn(table, share=0.1, seed=0):
    return table.mask(np.random.default_rng(seed).random(table.shape) < share)


WHOLE = dataset("faithful")
GAPS = torn(WHOLE)
ARRAY = GAPS.to_numpy()


@pytest.fixture(scope="module")
def em():
    return fit(GaussianMixture(2, 2), GAPS, EM())


def people(n=120):
    """A column of each kind, some cells of each missing, in the dtypes that pandas has for that."""
    r = np.random.default_rng(3)
    old = r.random(n) < 0.5
    table = pd.DataFrame(
        {
            "height": r.normal(170, 8, n),
            "visits": pd.array(r.poisson(np.where(old, 6, 1)), dtype="Int64"),
            "smoker": pd.array(r.random(n) < np.where(old, 0.8, 0.1), dtype="boolean"),
            "town": pd.Categorical(np.where(old, r.choice(["Zug", "Bern"], n), "Basel")),
        },
        index=range(1000, 1000 + n),
    )
    for j, column in enumerate(table):
        table.loc[r.random(n) < 0.15, column] = np.nan if j == 0 else None if j == 3 else pd.NA
    return table


def by_hand(model, x):
    """log sum_k weights[k] N(seen cells; loc[k], those rows and columns of Sigma[k]), a row at a time."""
    scale = model.family.scale_tril.detach()
    found = []
    for row in torch.as_tensor(x):
        seen = ~row.isnan()
        terms = [
            weight.log() + dist.MultivariateNormal(loc[seen], (s @ s.T)[seen][:, seen]).log_prob(row[seen])
            if seen.any()
            else weight.log()
            for weight, loc, s in zip(model.weights, model.family.loc, scale, strict=True)
        ]
        found.append(torch.logsumexp(torch.stack(terms), 0))
    return torch.stack(found).detach()


# what is read


class Items(Dataset):
    def __len__(self):
        return len(ARRAY)

    def __getitem__(self, i):
        return torch.tensor(ARRAY[i])


def memmap(folder):
    np.save(folder / "x.npy", ARRAY)
    return np.load(folder / "x.npy", mmap_mode="r")


def parquet(folder):
    GAPS.convert_dtypes().to_parquet(folder / "x.parquet")
    return read(str(folder / "x.parquet"))


def csv(folder):
    GAPS.to_csv(folder / "x.csv", index=False)
    return read(str(folder / "x.csv"))


SOURCES = {
    "array": lambda folder: ARRAY,
    "tensor": lambda folder: torch.tensor(ARRAY),
    "masked array": lambda folder: np.ma.masked_invalid(np.where(np.isnan(ARRAY), 7.0, ARRAY) + 0 * ARRAY),
    "Dataset": lambda folder: Items(),
    "TensorDataset": lambda folder: TensorDataset(torch.tensor(ARRAY)),
    "DataLoader": lambda folder: DataLoader(TensorDataset(torch.tensor(ARRAY)), batch_size=64),
    "memmap": memmap,
    "parquet": parquet,
    "csv": csv,
    "nullable": lambda folder: GAPS.astype("Float64"),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES.keys())
def test_every_kind_of_table_may_have_gaps(source, tmp_path, em):
    found = fit(GaussianMixture(2, 2), source(tmp_path), EM())
    assert float(found.bounds[-1]) == pytest.approx(float(em.bounds[-1]), abs=1e-6)
    rows = Rows(source(tmp_path), missing=True)
    gone = np.isnan(ARRAY)
    assert (rows.gaps.cells, rows.gaps.rows) == (gone.sum(), gone.any(1).sum())
    assert f"row {gone.any(1).argmax()}, column {gone[gone.any(1)][0].argmax()}" in rows.gaps.first


def test_cells_hidden_by_a_mask_are_not_read():
    x = np.ma.MaskedArray([[1, 2], [3, 4]], mask=[[False, True], [False, False]])
    (chunk,) = Rows(x, missing=True).chunks()
    assert chunk.x.isnan().tolist() == [[False, True], [False, False]]
    with pytest.raises(ValueError, match=r"row 0, column 1 holds NaN, expected .*: drop or fill .* of Gaussians"):
        Rows(x).moments  # noqa: B018


def test_rows_of_weight_zero_have_no_gaps():
    assert Rows(ARRAY, weights=~np.isnan(ARRAY).any(1), missing=True).gaps.cells == 0


def test_a_column_that_is_all_missing_is_named():
    table = GAPS.assign(empty=np.nan)
    with pytest.raises(ValueError, match=r"column 2 \('empty'\) has no value in any row, expected some: drop"):
        fit(GaussianMixture(2, 3), table, EM())
    with pytest.raises(ValueError, match="column 2 has no value"):
        fit(GaussianMixture(2, 3), table.to_numpy(), EM())


def test_the_kind_of_a_column_is_that_of_its_seen_cells():
    model = mixed(Rows(people(), missing=True), 2, "full", None)
    kinds = {type(part).__name__: group for part, group in zip(model.family.parts, model.family.columns, strict=True)}
    assert kinds == {"Gaussian": (0,), "Poisson": (1,), "Categorical": (2, 3)}
    assert categories_of(Rows(people()[["smoker", "town"]], missing=True))[1] == [2, 3]


# compared


def test_a_comparison_is_of_the_seen_cells(em):
    others = torn(WHOLE, 0.3, seed=5)
    frame = compare(GAPS, held_out=others, em=em).frame().to_dict("index")
    assert frame["em"]["log_likelihood"] == pytest.approx(float(by_hand(em.model, ARRAY).sum()), rel=1e-12)
    assert frame["em"]["held_out"] == pytest.approx(float(by_hand(em.model, others.to_numpy()).mean()), rel=1e-12)
    facts = "272 rows, 2 columns: eruptions, waiting; 50 values are missing in 46 rows (9.2 %)"  # 50 / 544
    assert str(compare(GAPS, em=em)).startswith(facts)


def test_validation_may_have_gaps(em):
    found = fit(GaussianMixture(2, 2), GAPS, EM(), validation=Rows(torn(WHOLE, 0.3, seed=5)))
    assert found.held_out is not None
    expected = by_hand(found.model, torn(WHOLE, 0.3, seed=5).to_numpy()).mean()
    assert float(found.held_out[-1]) == pytest.approx(float(expected), rel=1e-12)


def test_gap_and_evidence_by_brute_force(em):
    gap = elbo_gap(em.model, GAPS)
    truth = by_hand(em.model, ARRAY)
    torch.testing.assert_close(gap.evidence, truth)
    torch.testing.assert_close(gap.elbo + gap.kl, truth)
    torch.testing.assert_close(evidence(em.model, GAPS).log_evidence, truth)
    q = torch.full((len(GAPS), 2), 0.5, dtype=torch.float64)
    loose = elbo_gap(em.model, GAPS, q)
    assert float(loose.kl.min()) >= 0
    torch.testing.assert_close(loose.elbo + loose.kl, truth)


def test_counts_with_gaps_are_still_counts():
    x = torn(dataset("deaths").astype(float), 0.2)
    first = x[x["deaths"].isna()].iloc[:1]  # the row by which a program is read
    x = pd.concat([first, x])
    counts, numbers = (fit(m, x, EM(), max_passes=3) for m in (PoissonMixture(2, 1), GaussianMixture(2, 1)))
    compare(x, counts=counts)
    with pytest.raises(ValueError, match="counts gives probabilities of discrete data and numbers a density"):
        compare(x, counts=counts, numbers=numbers)


def test_labels_are_matched(em):
    other = copy.deepcopy(em.model)
    other.permute([1, 0])
    assert align(em.model, other, GAPS).tolist() == [1, 0]


def test_models_that_take_whole_rows_say_so(em):
    centres = fit(KMeans(2, 2), WHOLE, EM())
    for fits in ({"em": em, "hard": centres}, {"hard": centres, "em": em}):
        with pytest.raises(ValueError, match=r"column . \('.*'\) is missing, and hard, a KMeans, .* x.dropna\(\)"):
            compare(GAPS, **fits)
        compare(GAPS.dropna(), **fits)
    with pytest.raises(ValueError, match="holds NaN, expected finite numbers: drop or fill such values, or use"):
        compare(GAPS, hard=centres)
    for model in (PPCA.closed_form(WHOLE, 1), linear_vae(2, 1)):
        for method in (evidence, gap_report):
            with pytest.raises(ValueError, match="holds NaN, expected finite numbers"):
                method(model, GAPS)


# filled in


def test_a_frame_has_the_names_words_kinds_and_index_of_its_rows():
    table = people()
    model = fit(mixed(Rows(table, missing=True), 2, "full", "weak"), table, EM()).model
    shuffled = table[["town", "visits", "height", "smoker"]]
    found = model.impute(shuffled)
    frame, uncertainty = found.frame(), found.uncertainty_frame()
    assert list(frame.columns) == list(uncertainty.columns) == list(table.columns)
    assert frame.index.equals(table.index) and uncertainty.index.equals(table.index)
    assert not frame.isna().any(axis=None) and not uncertainty.isna().any(axis=None)
    assert frame.dtypes["town"] == table.dtypes["town"] and frame.dtypes["smoker"] == "boolean"
    seen = table.notna().to_numpy()
    assert ((frame.astype(object) == table.astype(object)).to_numpy(dtype=object, na_value=False)[seen]).all()
    assert ((uncertainty.to_numpy() > 0) == ~seen).all()
    likeliest = model.family.parts[2].probs[:, 1]  # (k, levels)
    codes = (model.posterior(table).probs @ likeliest).argmax(-1).numpy()
    words = np.asarray(table["town"].cat.categories)[codes]
    assert (frame["town"].to_numpy()[~seen[:, 3]] == words[~seen[:, 3]]).all()
    # of an array, the names and words of the fit
    plain = table.assign(town=table["town"].cat.codes.astype(float).where(table["town"].notna()))
    again = model.impute(plain.to_numpy(dtype=float, na_value=np.nan)).frame()
    assert list(again.columns) == list(table.columns)
    assert again["town"].astype(str).tolist() == frame["town"].astype(str).tolist()


def test_without_names_columns_have_numbers(em):
    found = fit(GaussianMixture(2, 2), ARRAY, EM()).model.impute(ARRAY)
    assert list(found.frame().columns) == ["column 0", "column 1"]
    np.testing.assert_array_equal(found.frame().to_numpy(), found.values.numpy())
    assert float(found.values[0, 0]) == ARRAY[0, 0] or math.isnan(ARRAY[0, 0])


# drawn


def texts(figures):
    return {name: figure.get_label() for name, figure in figures.items()}


def test_two_columns_show_rows_with_one_on_its_axis(em):
    figures = compare(GAPS, em=em).plot()
    gone = np.isnan(ARRAY)
    for name in ("data", "responsibilities"):
        axes = figures[name].axes[0]
        drawn = [collection.get_offsets() for collection in axes.collections if len(collection.get_offsets())]
        dots = sum(len(part) for part in drawn)
        assert dots == (gone.sum(1) < 2).sum()  # every row of which something was seen, once
        assert not any(np.ma.getmaskarray(part).any() or np.isnan(np.asarray(part)).any() for part in drawn)
        ticks = [part for part in drawn if (np.asarray(part) == 0).any()]
        assert sorted(len(part) for part in ticks) == sorted(
            [(~gone[:, 0] & gone[:, 1]).sum(), (gone[:, 0] & ~gone[:, 1]).sum()]
        )
        assert "Ticks on an axis are rows with the other column missing." in texts(figures)[name]
    assert "missing" not in texts(compare(GAPS.dropna(), em=em).plot())["data"]


def test_many_columns_show_rows_with_gaps_where_they_are_expected():
    iris = torn(dataset("iris").assign(area=lambda x: x.petal_length * x.petal_width))
    found = fit(GaussianMixture(2, 5, prior="weak"), iris, EM(), max_passes=20)
    figures = compare(iris, em=found).plot()
    axes = figures["data"].axes[0]
    dots, rings = (collection.get_offsets() for collection in axes.collections)
    gone = iris.isna().to_numpy().any(1)
    assert (len(dots), len(rings)) == ((~gone).sum(), gone.sum())
    assert np.isfinite(np.asarray(rings)).all()
    assert "Rings are rows with missing values" in texts(figures)["data"]


def test_one_column_and_a_density_without_moments_have_figures():
    x = GAPS[["waiting"]]
    figures = compare(x, em=fit(GaussianMixture(2, 1), x, EM())).plot()
    assert f"{x['waiting'].isna().sum()} rows with a missing value are not shown" in texts(figures)["data"]
    bars = sum(patch.get_height() * patch.get_width() for patch in figures["data"].axes[0].patches)
    assert bars == pytest.approx(1)
    cauchy = fit(Mixture(FamilyOf(dist.Cauchy, 2, 2)), GAPS, EM(), max_passes=5)
    assert "Lines of equal density" in texts(compare(GAPS, cauchy=cauchy).plot())["data"]


def test_missing_pixels_are_neither_white_nor_black():
    digits = torn(dataset("binary_digits")[:200])
    found = fit(BernoulliMixture(3, 64, "weak"), digits, EM(), max_passes=5)
    figure = compare(digits, em=found).plot()["samples"]
    assert "Yellow is missing." in figure.get_label()
    image = next(image for image in figure.axes[0].images if np.ma.getmaskarray(image.get_array()).any())
    assert image.get_cmap().get_bad().tolist() == pytest.approx([240 / 255, 228 / 255, 66 / 255, 1])


# kept


def test_a_saved_fit_reads_gaps_alike(em, tmp_path):
    em.save(tmp_path / "em.safetensors")
    model = load(tmp_path / "em.safetensors").model
    assert torch.equal(model.bound(GAPS), em.model.bound(GAPS))
    assert model.impute(GAPS).frame().equals(em.model.impute(GAPS).frame())


@pytest.mark.parametrize("engine", [EM(), SVI("exact")], ids=["em", "svi"])
def test_a_run_with_gaps_goes_on_to_the_same_bits(engine, tmp_path, monkeypatch):
    whole = fit(GaussianMixture(2, 2), GAPS, engine, max_passes=6)
    path = tmp_path / "run.ckpt"
    name, calls = ("expect" if isinstance(engine, EM) else "bound"), []
    original = getattr(Mixture, name)

    def killed(self, *arguments, **named):
        calls.append(1)
        if len(calls) > 4:
            raise KeyboardInterrupt
        return original(self, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Mixture, name, killed)
        with pytest.raises(KeyboardInterrupt):
            fit(GaussianMixture(2, 2), GAPS, engine, max_passes=6, checkpoint=path)
    assert path.exists()
    again = fit(GaussianMixture(2, 2), GAPS.copy(), engine, max_passes=6, checkpoint=path)
    assert torch.equal(again.bounds, whole.bounds)
    with pytest.raises(ValueError, match="digest of the data"):
        fit(GaussianMixture(2, 2), GAPS.iloc[::-1], engine, max_passes=6, checkpoint=path)


def test_nan_is_the_same_data_whatever_its_bits():
    other = ARRAY.copy()
    other[np.isnan(other)] = -np.nan
    assert other.tobytes() != ARRAY.tobytes()
    ours, theirs = (describe_run(GaussianMixture(2, 2), EM(), Rows(x, missing=True), None, {}) for x in (ARRAY, other))
    assert ours == theirs


# the command line


def test_what_a_model_takes_is_what_its_entry_says():
    for name, table in {"binary_digits": "binary_digits", "categorical": "titanic"}.items():
        rows = Rows(dataset(table))
        for model, kind in MODELS.items():
            if name == "categorical" and not kind.categories:
                continue
            assert takes_missing(build_model(model, rows, ModelOptions(), None)) == kind.missing, model


MODELS_OF = {
    "faithful": ["gaussian", "student", "gamma", "exponential", "mixed"],
    "deaths": ["poisson", "negative-binomial"],
    "carcinoma": ["bernoulli", "categorical"],
    "titanic": ["categorical", "mixed"],
}


@pytest.mark.drawn(4)
@pytest.mark.parametrize(("name", "model"), [(n, m) for n, models in MODELS_OF.items() for m in models])
def test_every_model_that_can_compares_a_file_with_gaps(run, name, model):
    table = dataset(name)[:300]
    torn(table.astype(object)).to_csv("gaps.csv", index=False)
    result = run("compare", "gaps.csv", "--model", model, "--max-passes", 3, "--held-out", 0.2, "--engines", "em")
    assert result.exit_code == 0, result.stderr
    assert " missing in " in result.stdout and "nan" not in result.stdout.lower()
    assert np.isfinite(pd.read_csv("report/comparison.csv")["held_out"].to_numpy()).all()


@pytest.mark.parametrize("model", [name for name, kind in MODELS.items() if not kind.missing])
def test_models_of_whole_rows_name_the_cell_and_the_cure(run, model):
    table = torn(dataset("binary_digits").iloc[:50, 20:24].astype(float), 0.2)
    table.to_csv("gaps.csv", index=False)
    rows = Rows(table, missing=True)
    for command in ("compare", "fit", "impute"):
        refused(run(command, "gaps.csv", "--model", model), rows.gaps.first, f"--model {model}", "gaussian, student")


def test_words_with_gaps_are_sent_to_models_that_take_both(run):
    torn(dataset("titanic").astype(object)).to_csv("gaps.csv", index=False)
    result = run("compare", "gaps.csv", "--model", "kmeans")
    refused(result, "use --model categorical or mixed, or drop")


def test_impute_writes_the_table_and_its_uncertainties(run):
    table = people().astype(object)
    table.to_csv("gaps.csv", index=False)
    before = Path("gaps.csv").read_text()
    result = run("impute", "gaps.csv", "-k", 2, "--restarts", 2, "--max-passes", 30)
    assert result.exit_code == 0, result.stderr
    assert "town: " in result.stdout and "filled.uncertainty.csv" in result.stdout
    filled, uncertainty = pd.read_csv("filled.csv"), pd.read_csv("filled.uncertainty.csv")
    given = pd.read_csv("gaps.csv")
    assert not filled.isna().any(axis=None)
    seen = given.notna()
    assert (
        (filled.astype(str).where(seen) == given.astype(object).astype(str).where(seen))
        .to_numpy()[seen.to_numpy()]
        .all()
    )
    assert ((uncertainty > 0) == ~seen).all(axis=None)
    assert set(filled["town"]) <= {"Zug", "Bern", "Basel"} and set(filled["smoker"].astype(str)) <= {"True", "False"}
    # as in Python
    rows = read("gaps.csv")
    model = fit(mixed(rows, 2, "full", "weak"), rows, EM(), restarts=2, max_passes=30).model
    np.testing.assert_allclose(filled["height"], model.impute(rows).values[:, 0])
    # the data are never replaced, and mistakes are one sentence
    refused(run("impute", "gaps.csv", "--out", "gaps.csv"), "cannot write gaps.csv: it holds the data")
    refused(run("impute", "gaps.csv", "--out", "x/filled.csv"), "there is no folder x")
    refused(run("impute", "gaps.csv", "--out", "filled.txt"), ".csv or .parquet")
    refused(run("impute", "faithful"), "faithful has no missing values")
    assert Path("gaps.csv").read_text() == before
    assert run("impute", "gaps.csv", "--out", "filled.parquet", "--max-passes", 3).exit_code == 0
    assert pd.read_parquet("filled.parquet").notna().all(axis=None)


def test_a_category_needs_more_than_gaps():
    x = pd.DataFrame({"a": pd.Categorical(["x", None, "y"] * 10), "b": pd.Categorical(["u", "v", None] * 10)})
    found = fit(CategoricalMixture(2, [2, 2]), x, EM(), max_passes=5)
    assert set(found.model.impute(x).frame()["b"]) == {"u", "v"}
