"""Verdicts on what a paper claims: the rows of a study's `claims.json`, the same for every paper."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from medjax.files import replace

VERDICTS = ("holds", "fails", "void", "untestable")


class Claim(NamedTuple):
    """One claim and what became of it.

    paper and ours: figures with their units, in words; n: on how many images, None for arithmetic. verdict: `holds`,
    `fails`, `void` (true or false, it says nothing) or `untestable` (with the reason in `how`, which also tells how
    `ours` was computed and by what rule it was judged).
    """

    id: str
    claim: str
    paper: str
    ours: str
    n: int | None
    verdict: str
    how: str


def verdict(holds: bool) -> str:
    """`holds` or `fails`."""
    return "holds" if holds else "fails"


def write(claims: Iterable[Claim], path: Path) -> list[dict]:
    """Write `claims.json` in one move; returns its rows. Raises ValueError for a verdict or id that cannot stand."""
    rows = [claim._asdict() for claim in claims]
    ids = [row["id"] for row in rows]
    if len(set(ids)) < len(ids):
        raise ValueError(f"claims share an id: {sorted(i for i in set(ids) if ids.count(i) > 1)}")
    for row in rows:
        if row["verdict"] not in VERDICTS:
            raise ValueError(f"claim {row['id']}: a verdict is one of {', '.join(VERDICTS)}, not {row['verdict']!r}")
    replace(path, json.dumps(rows, indent=2, allow_nan=False, ensure_ascii=False) + "\n")
    return rows
