"""What every family has: its density, its E-step, its M-step, its start and its description, one short class each.

`Family` is made of these five. A new family overrides a hook only where the mathematics or speed asks for it. What only
some families can do, such as missing values, is in `abilities`. Imports: what is below `families` in
the layers of pyproject.toml, never an ability.
"""
