"""Whether an argument is what another public function returned, such as the `Fit` of `fit`."""

from __future__ import annotations

from typing import Any


def require_made_by(maker: str, kind: type, **values: Any) -> None:
    """Raise TypeError, naming the first of the values that is not of this kind.

    Args:
        maker: The function that makes it, such as "fit()".
        kind: Its class.
        **values: What came, under the names that the caller knows.
    """
    for name, value in values.items():
        if not isinstance(value, kind):
            what = f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
            raise TypeError(f"{name} is {'None' if value is None else what}, expected what {maker} returns")
