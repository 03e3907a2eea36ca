"""The tables of the study of paper 004 that every scale has: the classifier's, anatomy's, and that of findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medjax import report
from medjax.metrics.findings import KEPT
from medjax.metrics.judgement_table import value
from medjax.metrics.markdown_sets import share
from medjax.report import judgement

NAMES = {
    "low": "low quality",
    "high": "high quality",
    "high_led": "high quality, put through LED",
    "cyclegan": "CycleGAN alone",
    "regression": "direct regression on the same pairs",
    "led": "LED, one sample",
    "led_mean": "LED, mean of samples",
    "physical": "diffusion on pairs by physics, from noise alone",
    "physical_led": "LED with pairs by physics",
    "clahe": "CLAHE",
    "equalise": "histogram equalisation",
    "gamma": "gamma",
    "degraded": "high quality, degraded by CycleGAN",
    "sane": "LED, trained longer at a higher rate",
    "normal": "the same patients at a normal dose",
    "truth": "truth",
}
STRONG = ("led", "led_mean")
MEASURES = {
    "edge": "edges",
    "gradient": "gradients",
    "direction": "directions",
    "dice": "lungs' Dice",
    "area_ratio": "lungs' area",
    "shift_share": "lungs' shift (widths)",
    "score": "score",
}


def classifier(found: Mapping[str, Any]) -> list[str]:
    """Table 1 of the paper, with the rows, numbers and tests that it lacks. found: of `build.judgement.judge`."""
    published = "The paper's Table 1: high quality 73.9%, low quality 56.6%, enhanced 66.3%, of an unknown number of images."
    return [report.text(published), *judgement.blocks(found, names=NAMES, strong=STRONG)]


def anatomy(found: Mapping[str, Any], *, ruler: Mapping[str, Any] | None = None) -> str:
    """How far every row moved the anatomy of its input. found: of `anatomy_stage.moved`."""
    body = [
        (_name(row), *(value(each[measure]) for measure in MEASURES), each["without_lungs"]["output"], each["n"])
        for row, each in found["rows"].items()
    ]
    missing = next(iter(found["rows"].values()))["without_lungs"]["input"]
    lungs = (
        f"The input's fields are the true ones and the output's found by a rule, which has a Dice of {value(ruler)} with the true"
        " ones in images without noise: that, and not 1, is what an image where nothing moved gets."
        if ruler
        else f"In {missing} inputs no lungs were found: these are left out of what is said of lungs."
    )
    caption = (
        "Input against output [95% interval over images]: correlation of edges and of gradients, mean cosine between gradients,"
        " each 1 where nothing moved, whatever the contrast; Dice, area and shift of the lung fields; the score is the mean of"
        f" the first four. {lungs}"
    )
    strong = [i for i, row in enumerate(found["rows"]) if row in STRONG]
    return report.table(("", *MEASURES.values(), "lungs lost", "n"), body, caption=caption, strong=strong)


def findings(found: Mapping[str, Any]) -> str:
    """Findings of phantoms kept, lost and invented. found: of `anatomy_stage.count`."""
    cell = lambda entry: share(entry) if entry else "–"  # noqa: E731
    body = [(_name(row), *(cell(each[what]) for what in ("kept", "lost", "invented"))) for row, each in found["rows"].items()]
    where = "the same patient without the finding" if found["twins"] else "the mirrored place in the other lung"
    caption = (
        f"{found['n']} findings of phantoms [95%, Clopper and Pearson]. Kept: {KEPT:g} or more of the contrast that the finding"
        f" has in truth; invented: as much where there is none, on {where}. {found['faint']} were too small or too faint to be"
        " looked for."
    )
    strong = [i for i, row in enumerate(found["rows"]) if row in STRONG]
    return report.table(("", "kept", "lost", "invented"), body, caption=caption, strong=strong)


def names(rows: Sequence[str]) -> list[str]:
    """What the tables call the rows."""
    return [_name(row) for row in rows]


def _name(row: str) -> str:
    return NAMES.get(row, row)
