"""The command line as tests call it."""

import pytest
from typer.testing import CliRunner

from lowerbound.inference.cli.app import app


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])
