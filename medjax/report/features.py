"""What a report says of distances over feature networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medjax.figures.style import NAMES
from medjax.metrics.markdown import record
from medjax.report.html import table, text

TITLES = {
    "fid": "FID", "fd": "Frechet", "kid": "KID [95%]", "precision": "precision", "recall": "recall", "density": "density",
    "coverage": "coverage", "mmd": "Gaussian MMD",
}  # fmt: skip


def feature_blocks(summary: Mapping[str, Any]) -> list[str]:
    """A table for each network, and a sentence for each whose weights are not at hand; nothing where none was asked for."""
    rows, blocks = summary.get("features", {}), []
    keys = list(dict.fromkeys(key for records in rows.values() for key in records))
    for network in dict.fromkeys(key.partition("/")[2] for key in keys):
        names = [key for key in keys if key.partition("/")[2] == network]
        first = next(iter(rows.values()))[names[0]]
        body = [[NAMES.get(row, row), *(record(found.get(key)) for key in names)] for row, found in rows.items()]
        every = [found[key] for found in rows.values() for key in names if key in found]
        why = dict.fromkeys(each["why"] for each in every if "why" in each)
        notes = "; ".join([n for n in (first.get("preprocess"), first.get("warning")) if n] + list(why))
        caption = (
            f"Over `{network}`: the images of each row against the {first['n'][0]} targets of the same images. Frechet, KID and"
            " MMD: lower is better; the others: higher. "
            f"Weights: {first['weights']}. {notes}."
        )
        titles = [TITLES.get(key.partition("/")[0], key.partition("/")[0]) for key in names]
        strong = [i for i, row in enumerate(rows) if row == "model"]
        blocks.append(table(("", *titles), body, caption=caption, strong=strong))
    absent = summary.get("features_absent", ())
    if absent:
        lines = [f"- {each['network']}: {each['why']}." for each in absent]
        blocks.append(text("Not measured, for want of their weights or of pixels:\n\n" + "\n".join(lines)))
    return blocks
