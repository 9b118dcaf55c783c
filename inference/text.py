"""The comparison as a table in plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .compare import Comparison


def text(comparison: Comparison) -> str:
    raise
