"""What a report says of a translator between two pools: how far the pools are apart before and after, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medjax.evaluate import Evaluation
from medjax.report.blocks import cell, number
from medjax.report.html import Section, table, text

WORDS = {"cycle": "there and back: mean absolute difference", "change": "what was changed: mean absolute difference"}
ROWS = {
    "input": "low quality as it comes, to high quality",
    "model": "enhanced, to high quality",
    "degraded": "high quality degraded, to low quality",
}


def verdict(summary: Mapping[str, Any]) -> str:
    """One sentence: what is known of images without a truth."""
    found = summary["unpaired"]["swd"]
    return (
        f"Nobody knows the truth of these {summary['n']} images, so no figure says whether they were enhanced rightly. To the "
        f"high-quality images of other patients their sliced Wasserstein distance is **{number('', found['model']['swd'])}** "
        f"after the model and {number('', found['input']['swd'])} before."
    )


def sections(summary: Mapping[str, Any], evaluation: Evaluation) -> list[Section]:
    """The report's part on an evaluation without truth; the tables follow under their own heading."""
    return []


def blocks(summary: Mapping[str, Any]) -> list[str]:
    """Distances between the pools, values of the images of each, and the balance of the pools that were trained on."""
    found = summary["unpaired"]
    counts = ", ".join(f"{n} of {pool} quality" for pool, n in found["n"].items())
    distances = [[ROWS[row], number("", each["swd"])] for row, each in found["swd"].items()]
    values = [[WORDS[name], *(cell("", found[side][name]) for side in ("model", "degraded"))] for name in WORDS]
    return [
        table(("sets", "sliced Wasserstein"), distances, caption=f"Of the test images, {counts}: no pairs, other patients."),
        table(
            ("", "low quality, enhanced", "high quality, degraded"), values, caption="Grey levels in [0, 1], mean over images."
        ),
        *([text(found["balance"])] if found.get("balance") else []),
    ]
