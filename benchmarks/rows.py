"""One row of the table: ours beside an opponent, and what is asked of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import geometric_mean, median
from typing import Any


@dataclass(frozen=True)
class Row:
    """What was measured: ours, theirs, and how many times better ours is.

    what, shape: the case, rows x columns x components. opponent: whom it is measured against. ours, theirs: medians, in
    `unit`. ratio: so many times better is ours (the median of neighbours, and the least and most of them); None where
    nothing was measured, for which `note` has the reason. target: the least ratio that is asked for, if one is.
    """

    what: str
    shape: str
    opponent: str
    ours: float | None = None
    theirs: float | None = None
    unit: str = "ms"
    ratio: float | None = None
    least: float | None = None
    most: float | None = None
    target: float | None = None
    note: str = ""
    section: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the ratio is what is asked for; None where nothing is, or nothing was measured."""
        return None if self.target is None or self.ratio is None else self.ratio >= self.target


def shape(*sizes: int) -> str:
    """200k x 16 x 16."""

    def short(size: int) -> str:
        for unit, letter in ((1_000_000, "M"), (1000, "k")):
            if size >= 10_000 and size % unit == 0:
                return f"{size // unit}{letter}"
        return str(size)

    return " x ".join(map(short, sizes))


def timed(
    what: str, of: str, opponent: str, ours: Sequence[float], theirs: Sequence[float], target=None, note=""
) -> Row:
    """A row from the seconds of neighbours."""
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    spread = {"ratio": median(ratios), "least": min(ratios), "most": max(ratios)}
    return Row(what, of, opponent, 1e3 * median(ours), 1e3 * median(theirs), **spread, target=target, note=note)


def missing(what: str, of: str, opponent: str, why: str, target: float | None = None) -> Row:
    """A row of what could not be measured."""
    return Row(what, of, opponent, target=target, note=why)


def averaged(what: str, rows: Sequence[Row], target: float) -> Row:
    """The geometric mean of the ratios of these rows."""
    opponent = rows[0].opponent
    ratios = [row.ratio for row in rows if row.ratio is not None]
    if len(ratios) < len(rows):
        return missing(what, f"geometric mean of {len(rows)}", opponent, "not all were measured", target)
    return Row(what, f"geometric mean of {len(rows)}", opponent, ratio=geometric_mean(ratios), target=target)


def read(found: Mapping[str, Any]) -> Row:
    """A row from the dict that a benchmark of its own returns: keys as in `Row`, or name, other, required, ours_s,
    theirs_s (seconds), one_s and two_s (of one process and of two), rows, columns, components; beyond or peak (MiB),
    with required as "peak < 1024"; error. Others go into the note."""
    rest = {name: value for name, value in found.items() if value is not None}
    given = {name: rest.pop(name) for name in Row.__dataclass_fields__ if name in rest}
    limit = rest.pop("required") if isinstance(rest.get("required"), str) else ""
    names = {"name": "what", "required": "target", "other": "opponent", "error": "note"}
    given |= {new: rest.pop(old) for old, new in names.items() if old in rest}
    seconds = {"ours_s": "ours", "theirs_s": "theirs", "other_s": "theirs", "two_s": "ours", "one_s": "theirs"}
    given |= {new: 1e3 * rest.pop(old) for old, new in seconds.items() if old in rest}
    sizes = [rest.pop(name) for name in ("rows", "columns", "components") if name in rest]
    given.setdefault("shape", shape(*sizes))
    if not isinstance(given["shape"], str):
        given["shape"] = shape(*given["shape"])
    given.setdefault("opponent", "one process" if "one_s" in found else "")
    of, most = (
        limit.split(" < ") if limit else (next((name for name in ("beyond", "peak") if name in rest), None), None)
    )
    if of in rest:
        given |= {"ours": rest.pop(of), "unit": "MiB", "what": f"memory, {of}: {given['what']}"}
    if most is not None and "ours" in given:
        given |= {"theirs": float(most), "opponent": "what it may take", "target": 1.0}
    if "ratio" not in given and {"ours", "theirs"} <= given.keys():
        least = 1e-9 if most is None else 1.0  # under a MiB is as good as none
        given["ratio"] = given["theirs"] / max(given["ours"], least)
    rest.pop("ok", None)
    others = (f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in rest.items())
    given["note"] = "; ".join(part for part in (given.get("note", ""), *others) if part)
    return Row(**{"what": "", **given})


def is_number(value: float | None) -> bool:
    """Whether there is something to draw: a positive, finite number."""
    return value is not None and math.isfinite(value) and value > 0
