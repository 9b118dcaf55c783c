"""Families: p(x | z = k), the distributions of the components of a mixture, with their M-steps and priors.

`Family` is the class that users extend. Its hooks are in `hooks`, and what only some families can do in `abilities`.
A new family writes `component`, `statistics` and `match`, names its abilities on its class line, and passes
`check_family`. A family never sees a mixture. Its imports: see the layers in pyproject.toml (`[tool.importlinter]`).
"""
