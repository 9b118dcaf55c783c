"""`python -m lowerbound`: the command line."""

from lowerbound.inference.cli import app

app(prog_name="lowerbound")
