import base64
import csv
import io
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
import torch
from continuous import contract_only
from PIL import Image
from reference import full_disk

from lowerbound import datasets
from lowerbound.inference import EM, SVI, compare, fit
from lowerbound.inference.criticism.aligned_components import component_tables
from lowerbound.inference.report import write_report as report_module
from lowerbound.inference.report.comparison_text import components_text
from lowerbound.inference.report.report_page import MOST_NUMBERS
from lowerbound.inference.report.score_table import OPTIONAL, SCORES
from lowerbound.inference.report.text_table import format_number
from lowerbound.inference.report.write_report import FILES, require_report_folder, write_report
from lowerbound.models import BernoulliMixture, GaussianMixture, StudentTMixture


@pytest.fixture(scope="module")
def two():
    x = datasets.load("faithful")
    fits = {
        "em": fit(GaussianMixture(2, 2), x, EM(), restarts=3),
        "<svi>": fit(GaussianMixture(2, 2), x, SVI(elbo="exact"), max_passes=10, seed=1),
    }
    return compare(x, **fits)


@pytest.fixture(scope="module")
def written(two, tmp_path_factory):
    return write_report(two, tmp_path_factory.mktemp("reports") / "deep" / "report", title="Geysers & fits")


class Page(HTMLParser):
    """What the page refers to, and whether every element that is opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links, self.images, self.words = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.links += [value for key, value in attrs.items() if key in ("src", "href", "srcset", "action")]
        if tag == "img":
            self.images.append(attrs)
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


# the table in the terminal


def test_the_text_has_every_number_of_the_frame(two):
    text, frame = str(two), two.frame()
    for column, title, form in SCORES:
        if column not in OPTIONAL:
            assert title in text
            for value in frame[column]:
                assert format_number(value, form) in text
    assert all(reason in text for reason in frame["reason"])
    for value in two.pairs()[["parameter_distance", "posterior_kl"]].to_numpy()[0]:
        assert format_number(value, "{:.2g}") in text
    assert "log prior" not in text and "standard error" not in text and "held out" not in text
    assert f"3 restarts: 3 at {two.fits['em'].bounds[-1]:.6f} nats per row" in text
    assert text.isascii() and "<svi>" in text and "272 rows, 2 columns: eruptions, waiting" in text


def test_the_text_is_readable_in_eighty_columns(two):
    many = compare(datasets.load("faithful"), **{f"fit number {i}": two.fits["em"] for i in range(4)})
    lines = [line for line in str(many).splitlines() if line.startswith("|")]
    assert max(map(len, lines)) <= 80
    headers = " ".join(line for line in lines if line.startswith("|   "))
    assert [headers.count(f"fit number {i} |") for i in range(4)] == [1] * 4


def test_log_priors_are_shown_where_there_are_some():
    x = datasets.load("faithful")
    assert "log prior" in str(compare(x, em=fit(GaussianMixture(2, 2, prior="weak"), x, EM(), max_passes=3)))


def test_only_what_is_better_is_marked(two):
    x = datasets.load("faithful")
    em = two.fits["em"]
    same = str(compare(x, a=em, b=em))
    assert "*" not in same
    short = fit(GaussianMixture(2, 2), x, EM(), max_passes=2)
    assert "* -1130.2640" in str(compare(x, short=short, em=em)) and "highest bound" in str(
        compare(x, short=short, em=em)
    )
    one = fit(GaussianMixture(1, 2), x, EM())
    assert "* 2322.19" in str(compare(x, one=one, em=em)) and "lowest BIC" in str(compare(x, one=one, em=em))


@pytest.mark.parametrize(
    ("value", "form", "shown"),
    [
        (1.23e-13, "{:.2g}", "1.2e-13"),
        (3e-17, "{:.2g}", "<1e-15"),
        (0.0, "{:.2g}", "0"),
        (float("nan"), "{:.4f}", "n/a"),
        (1234.5, "{:.3g}", "1234"),
        (-1130.26396, "{:.4f}", "-1130.2640"),
        (float("inf"), "{:.2g}", "inf"),
    ],
)
def test_numbers_have_sensible_digits(value, form, shown):
    assert format_number(value, form) == shown


def test_unmatched_fits_have_no_distance_and_their_own_table(two):
    x = datasets.load("faithful")
    comparison = compare(x, two=two.fits["em"], three=fit(GaussianMixture(3, 2), x, EM(), max_passes=3))
    assert "be matched" in str(comparison) and "parameter distance" not in str(comparison).split("no distance")[1]
    assert [len(table) for table in component_tables(comparison)] == [2, 3]


def test_components_are_in_canonical_order_and_aligned(two):
    (table,) = component_tables(two)
    assert table.index.tolist() == [(1, "em"), (1, "<svi>"), (2, "em"), (2, "<svi>")]
    first = table.xs("em", level="fit")
    assert first["weight"].is_monotonic_decreasing
    pd.testing.assert_frame_equal(
        first.reset_index(drop=True), two.fits["em"].model.summary(["eruptions", "waiting"]).reset_index(drop=True)
    )
    torch.testing.assert_close(
        torch.tensor(table.xs("<svi>", level="fit")["mean of waiting"].to_numpy()),
        torch.tensor(first["mean of waiting"].to_numpy()),
        atol=8,
        rtol=0,
    )


# the report


def test_the_report_is_complete_and_stands_alone(two, written):
    assert sorted(file.name for file in written.parent.iterdir()) == sorted(
        set(FILES)
        - {"samples.png", "profiles.png", "reconstructions.png", "latent.png", "posteriors.png", "posterior.nc"}
    )
    source = written.read_text(encoding="utf-8")
    page = Page(source)
    assert page.open == []
    assert all(link.startswith("data:image/png;base64,") for link in page.links) and len(page.links) == 3
    assert not re.search(r"https?:|file:|<script|<link|@import|url\(", source)
    assert "<h1>Geysers &amp; fits</h1>" in source and "&lt;svi&gt;" in source and "<svi>" not in source
    for image, name in zip(page.images, ("data", "responsibilities", "bounds"), strict=True):
        inside = base64.b64decode(image["src"].split(",")[1])
        assert inside == (written.parent / f"{name}.png").read_bytes()
        Image.open(io.BytesIO(inside)).verify()
        assert len(image["alt"]) > 10
    assert page.tags.count("figcaption") == 3
    words = " ".join(page.words)
    for expected in (
        "EM(tol=1e-09, accelerate='auto', dtype='float64')",
        "Mixture(Gaussian(2, 2, 'full', None, 0.0), None)",
        "pyro-ppl 1.",
        "Lower is better",
    ):
        assert expected in words
    for line in str(two).splitlines():
        if line.startswith("|") and not line.startswith("|-"):
            assert all(cell.strip() in words for cell in line.strip("|").split("|"))


def test_the_numbers_are_beside_the_page_to_the_last_digit(two, written):
    for name, frame in (("comparison", two.frame().reset_index()), ("pairs", two.pairs())):
        with (written.parent / f"{name}.csv").open(newline="") as file:
            header, *lines = csv.reader(file)
        assert header == list(frame.columns)
        for line, wanted in zip(lines, frame.to_numpy().tolist(), strict=True):
            for w, cell in zip(wanted, line, strict=True):
                assert (cell == str(w)) if isinstance(w, bool) else (w != w) if cell == "" else type(w)(cell) == w


def test_many_columns_do_not_drown_the_page(tmp_path):
    x = datasets.load("binary_digits")
    comparison = compare(x, em=fit(BernoulliMixture(10, 64), x, EM(), max_passes=3))
    page = write_report(comparison, tmp_path / "report").read_text(encoding="utf-8")
    titles = re.findall("<h2>(.*?)</h2>", page)
    assert titles == [
        "Scores",
        "Rows drawn from each model",
        "Parameters of the components",
        "Components",
        "Responsibilities",
        "Convergence of the bound",
        "Models and engines",
        "Glossary",
    ]
    assert "35 more numbers of each component: components.csv." in page and "P(pixel_7_7 = 1)" not in page
    # sideways: a line for each number, a column for each component
    assert page.count('<th scope="row">P(pixel_') == MOST_NUMBERS - 1 and '<th scope="col">10</th>' in page
    csv = pd.read_csv(tmp_path / "report" / "components.csv")
    assert list(csv.columns[:3]) == ["component", "fit", "weight"] and csv.shape == (10, 2 + 65)
    probs = comparison.fits["em"].model.family.probs.detach()[comparison.fits["em"].model.canonical_order()]
    assert csv.iloc[:, 3:].to_numpy() == pytest.approx(probs.numpy(), abs=0, rel=1e-15)
    words = components_text(comparison, "elsewhere")
    assert max(map(len, words.splitlines())) <= 80 and words.endswith("53 more numbers of each component: elsewhere.")


def test_components_of_all_kinds_are_in_one_file(two, tmp_path):
    x = datasets.load("faithful")
    both = compare(x, full=two.fits["em"], t=fit(StudentTMixture(2, 2), x, EM(), max_passes=3))
    write_report(both, tmp_path)
    csv = pd.read_csv(tmp_path / "components.csv").set_index(["fit", "component"])
    assert csv.loc["full", "dof"].isna().all() and csv.loc["t", "dof"].notna().all()
    assert (
        csv.loc[("full", 1), "mean of waiting"] == both.fits["full"].model.summary(x.columns)["mean of waiting"].iloc[0]
    )


def test_an_earlier_report_is_replaced_and_other_files_are_kept(two, tmp_path):
    write_report(two, tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    write_report(contract_only(3), tmp_path, title="Second")  # no data, no components: those figures go
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"notes.txt", "index.html", "bounds.png", "comparison.csv", "pairs.csv"}
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<h1>Second</h1>" in page and "n/a" in page and "Components" not in page


def test_a_failure_leaves_nothing_and_breaks_nothing(two, tmp_path, monkeypatch):
    monkeypatch.setattr(report_module, "figures", lambda comparison: {}["nothing"])
    with pytest.raises(KeyError):
        write_report(two, tmp_path / "report")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_earlier_report(two, tmp_path, monkeypatch):
    index = write_report(two, tmp_path / "report")
    before = {file.name: file.read_bytes() for file in index.parent.iterdir()}

    monkeypatch.setattr("lowerbound.data.write_files.os.fsync", full_disk)
    with pytest.raises(OSError, match=r"^cannot write .*data\.png: No space left on device$"):
        write_report(two, tmp_path / "report", title="Another")
    assert {file.name: file.read_bytes() for file in index.parent.iterdir()} == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["report"]


def test_a_place_that_cannot_hold_a_report_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "report"):
        with pytest.raises(OSError, match=r"cannot write the report to .* is a file, expected a folder"):
            require_report_folder(out)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("<h1>my site</h1>")
    with pytest.raises(FileExistsError, match=r"holds index\.html, which is not of a report: choose another folder"):
        require_report_folder(tmp_path / "site")
    require_report_folder(tmp_path / "new" / "report")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "site"]
