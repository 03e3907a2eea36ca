"""What a report shows of the images that were scored: whole, enlarged where there is most detail, and where they err."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from medjax import figures
from medjax.figures.detail import told
from medjax.figures.style import NAMES
from medjax.metrics.tables import COMPANIONS
from medjax.report.html import figure


def picture_blocks(examples: Mapping[str, np.ndarray], *, n: int, split: str, measure: str = "PSNR") -> list[str]:
    """The median image in detail, then best, median and worst side by side: chosen by score, so not by taste.

    Of super-resolution the input is shown enlarged pixel by pixel, bicubic and other trained models beside the model whichever
    row is best, and one detail of every case besides.
    """
    if not examples or "names" not in examples:
        return []
    baseline = str(examples.get("baseline", "best baseline"))
    order = {"source": "input", "best_baseline": NAMES.get(baseline, baseline), "model": "model"}
    factor = examples["target"].shape[1] // examples["source"].shape[1] if "source" in examples else 1
    if factor > 1 and "bicubic" in examples:
        others = {row: NAMES.get(row, row) for row in COMPANIONS}
        order = {"source": "input, enlarged", "bicubic": "bicubic", **others, "model": "model"}
    columns = {field: label for field, label in order.items() if field in examples}
    ranks = [str(rank) for rank in examples["ranks"]]
    first = {rank: ranks.index(rank) for rank in ("best", "median", "worst") if rank in ranks}
    middle = first.get("median", 0)
    shown = {label: examples[field][middle] for field, label in columns.items()}
    caption = (
        f"`{examples['names'][middle]}`, a middling image of the {split} split by the model's {measure}. Grey levels are "
        "those of the file, none is stretched. The square, enlarged below, is where the reference has most detail."
    )
    blocks = [figure(figures.comparison(shown, examples["target"][middle]), caption)]
    sets = {**{label: field for field, label in columns.items()}, "reference": "target"}
    cases = {rank: {label: examples[field][i] for label, field in sets.items()} for rank, i in first.items()}
    named = ", ".join(f"{rank} `{examples['names'][i]}`" for rank, i in first.items())
    caption = f"The best, a middling and the worst of {n} images by the model's {measure} ({named}); PSNR under each."
    blocks.append(figure(figures.cases(cases), caption))
    if factor > 1:
        where = told(examples["target"].shape[1:])
        caption = f"{where}. The input is enlarged {factor} times by repeating its pixels. PSNR: of the whole image."
        blocks.append(figure(figures.detail(cases), caption))
    if "std" in examples:
        fields = {
            "error": np.abs(examples["model"][middle] - examples["target"][middle]),
            "deviation": examples["std"][middle],
        }
        drawn = figures.maps(examples["model"][middle], fields, unit="share of full range", label="model output")
        blocks.append(figure(drawn, "What the model got wrong, and where its own draws disagree, on one scale."))
    return blocks
