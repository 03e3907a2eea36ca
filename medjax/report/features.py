"""What a report says of distances over feature networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medjax.figures.style import NAMES
from medjax.metrics.markdown import by_network, record
from medjax.report.html import table, text

TITLES = {
    "fid": "FID", "fd": "Frechet", "kid": "KID [95%]", "precision": "precision", "recall": "recall", "density": "density",
    "coverage": "coverage", "mmd": "Gaussian MMD",
}  # fmt: skip


def feature_blocks(summary: Mapping[str, Any]) -> list[str]:
    """A table for each network, and a sentence for each whose weights are not at hand; nothing where none was asked for."""
    rows, blocks = summary.get("features", {}), []
    for network, names, first, notes in by_network(summary):
        body = [[NAMES.get(row, row), *(record(found.get(key)) for key in names)] for row, found in rows.items()]
        told = "; ".join([first["preprocess"], *notes])
        caption = (
            f"Over `{network}`: the images of each row against the {first['n'][0]} targets of the same images. Frechet, KID and"
            " MMD: lower is better; the others: higher. "
            f"Weights: {first['weights']}. {told}."
        )
        titles = [TITLES.get(key.partition("/")[0], key.partition("/")[0]) for key in names]
        strong = [i for i, row in enumerate(rows) if row == "model"]
        blocks.append(table(("", *titles), body, caption=caption, strong=strong))
    absent = summary.get("features_absent", ())
    if absent:
        lines = [f"- {each['network']}: {each['why']}." for each in absent]
        blocks.append(text("Not measured, for want of their weights or of pixels:\n\n" + "\n".join(lines)))
    return blocks
