"""`python -m lowerbound`: the command line."""

from lowerbound.inference.cli.app import app

app(prog_name="lowerbound")
