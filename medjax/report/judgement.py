"""What a report says of a classifier's judgement of sets of images: one table, and what its reader must know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medjax.metrics import judgement_table
from medjax.report.html import table, text


def blocks(found: Mapping[str, Any], *, names: Mapping[str, str] | None = None, strong: Sequence[str] = ()) -> list[str]:
    """The table of `metrics.judgement.judge`, the rows of the sets `strong` in bold, and its notes below."""
    body = judgement_table.cells(found, names=names)
    bold = [i for i, name in enumerate(found["rows"]) if name in strong]
    lines = judgement_table.notes(found, names=names)
    return [
        table(judgement_table.HEADER, body, caption=f"{lines[0]}.", strong=bold),
        text(" ".join(f"{line}." for line in lines[1:])),
    ]
