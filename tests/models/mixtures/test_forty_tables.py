"""Forty tables as people have them: what each column is taken for, and the clusters, from CSV files by the commands."""

import re

import pandas as pd
import pytest
from forty_tables import drawn, specifications
from sklearn.metrics import adjusted_rand_score
from typer.testing import CliRunner

from lowerbound.inference import load
from lowerbound.inference.cli.app import app

TABLES = specifications()


def test_there_are_forty():
    assert len(TABLES) == 40


def kinds_shown(stdout, columns):
    """What a command says that it took each column for."""
    lines = (re.match(r"(\S+) +(left out|\S+) ", line) for line in stdout.splitlines()[1 : len(columns) + 1])
    return {line[1]: line[2].replace("left out", "drop") for line in lines if line}


@pytest.mark.drawn(4)
@pytest.mark.parametrize("name", TABLES)
def test_the_commands_end_in_the_right_answer(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    components, columns = TABLES[name]
    x, z = drawn(components, columns, sum(map(ord, name)))
    x.to_csv("x.csv", index=False)
    told = {}
    for command, *options in (["fit"], ["compare", "--engines", "em"]):
        ran = CliRunner().invoke(
            app, [command, "x.csv", "--model", "mixed", "-k", str(components), "--quiet", *options]
        )
        assert ran.exit_code == 0, ran.stderr
        told[command] = kinds_shown(ran.stdout, columns)
    assert {column: kind for column, kind in told["fit"].items() if kind not in columns[column][0]} == {}
    assert told["compare"] == told["fit"] and list(told["fit"]) == list(columns)
    found = load("model.safetensors")
    assert adjusted_rand_score(z, found.model.predict(x)) >= 0.9
    scores = pd.read_csv("report/comparison.csv", index_col="fit")
    assert scores.loc["em", "nats_per_row"] == pytest.approx(float(found.bounds[-1]), abs=1e-6)
