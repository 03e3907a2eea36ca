"""The parts of a report, each made from a result file or a log: lists of HTML blocks, empty where there is no data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medjax import figures
from medjax.evaluate import Evaluation
from medjax.figures.style import NAMES
from medjax.metrics.markdown import DIGITS
from medjax.report.html import figure, table, text
from medjax.report.regions import REGION, many, region_blocks, unit

QUALITY = {
    "psnr": "PSNR (dB)", "ssim": "SSIM", "ms_ssim": "MS-SSIM", "mae": "MAE", "lpips_alex": "LPIPS (alex)",
    "lpips_vgg": "LPIPS (vgg)",
}  # fmt: skip
ARTEFACTS = {
    "spectrum_ratio": "fine detail: power",
    "gradient_ratio": "edges: gradient",
    "checkerboard2": "grid at stride 2",
    "checkerboard4": "grid at stride 4",
    "gms": "gradient similarity",
    "gmsd": "gradient deviation",
}


def dataset_name(dataset: Any) -> str:
    """The name in a result file's "dataset", which is a string or a dict with "name"."""
    return str(dataset.get("name", dataset) if isinstance(dataset, Mapping) else dataset)


def number(metric: str, value: float | None, *, sign: bool = False) -> str:
    """A value with the decimals its metric deserves."""
    return "–" if value is None else f"{value:{'+' if sign else ''}.{DIGITS.get(metric, 4)}f}"


def cell(metric: str, entry: Mapping[str, Any] | None, *, sign: bool = False) -> str:
    """A mean with its 95% interval."""
    if not entry or entry.get("mean") is None:
        return "–"
    ends = entry.get("ci95")
    interval = f" [{number(metric, ends[0], sign=sign)}, {number(metric, ends[1], sign=sign)}]" if ends else ""
    return number(metric, entry["mean"], sign=sign) + interval


def p_value(value: float | None) -> str:
    """A p-value as papers print it."""
    return "–" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def verdict(summary: Mapping[str, Any]) -> str:
    """One sentence: the model against the best baseline, with the doubt that is left."""
    model, entry = summary["rows"].get("model", {}).get("psnr"), summary.get("differences", {}).get("best_baseline")
    if not model:
        return ""
    opening = f"On {many(summary)} the model reaches **{cell('psnr', model)} dB** (mean PSNR, 95% interval)"
    if not entry or not (entry.get("psnr") or {}).get("ci95"):
        return f"{opening}; there is no classical baseline to compare it with."
    low, high = entry["psnr"]["ci95"]
    word = "better than" if low > 0 else "worse than" if high < 0 else "not distinguishable from"
    p = entry["psnr"]["p_value"]
    gain = f"{cell('psnr', entry['psnr'], sign=True)} dB, paired p {_equals(p_value(p))}"
    if low * high > 0 and p is not None and p >= 0.05:
        word = f"{'above' if low > 0 else 'below'}, with too few {unit(summary)}s for a test to tell,"
    return (
        f"{opening}. That is **{word}** the best classical baseline, {NAMES.get(entry['row'], entry['row'])}: {gain}."
    )


def label_of(metric: str) -> str:
    """A metric as a table names it."""
    return QUALITY[metric] if metric in QUALITY else f"{REGION[metric]}, inside"


def _equals(p: str) -> str:
    return p if p.startswith("<") else f"= {p}"


def result_blocks(summary: Mapping[str, Any]) -> list[str]:
    """The table of rows with intervals, the paired differences, the artefact measures, and the rows as a figure."""
    rows = summary["rows"]
    strong = [i for i, row in enumerate(rows) if row == "model"]
    blocks = [
        table(
            ("", *[QUALITY[m] for m in _present(rows, QUALITY)], "n"),
            [[NAMES.get(r, r), *(cell(m, v.get(m)) for m in _present(rows, QUALITY)), _n(v)] for r, v in rows.items()],
            caption=f"Mean over {unit(summary)}s [95% bootstrap interval]. PSNR, SSIM and MS-SSIM: higher is better; the others:"
            " lower.",
            strong=strong,
        ),
        difference_table(summary.get("differences", {}), unit=unit(summary)),
        *region_blocks(summary),
    ]
    points = {row: values["psnr"] for row, values in rows.items() if "psnr" in values}
    if len(points) > 1:
        caption = (
            "The same PSNR as a picture. The bars are intervals of the mean; compare rows by the paired differences."
        )
        blocks.append(figure(figures.intervals(points, "psnr"), caption))
    if names := _present(rows, ARTEFACTS):
        body = [[NAMES.get(r, r), *(number(m, v.get(m, {}).get("mean")) for m in names)] for r, v in rows.items()]
        caption = (
            "Sharpness and artefacts, means over images. Detail, edges and grids are ratios to the reference: 1 is "
            "right, detail or edges below 1 are over-smoothing, grids above 1 are checkerboards. "
            "Similarity is best at 1, deviation at 0."
        )
        blocks.append(table(("", *[ARTEFACTS[m] for m in names]), body, caption=caption, strong=strong))
    return blocks


def _present(rows: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
    return [m for m in names if any(m in values for values in rows.values())]


def _n(values: Mapping[str, Any]) -> int:
    return max((entry.get("n", 0) for entry in values.values()), default=0)


def difference_table(differences: Mapping[str, Any], *, unit: str = "image") -> str:
    """Model minus each row it is compared with, paired: mean, interval, p, share of images or patients it is better on."""
    body, seen = [], set()
    for label, entry in differences.items():
        row = entry["row"]
        for metric in ("psnr", "ssim", "psnr_inside", "ssim_inside"):
            value = entry.get(metric)
            if not value or value.get("mean") is None or (row, metric) in seen:
                continue
            seen.add((row, metric))
            name = NAMES.get(row, row) + (" (best baseline)" if label == "best_baseline" else "")
            better = "–" if value.get("wins") is None else f"{value['wins']:.0%}"
            gain = cell(metric, value, sign=True)
            body.append(
                (f"model minus {name}", label_of(metric), gain, p_value(value.get("p_value")), better, value["n"])
            )
    if not body:
        return ""
    caption = f"Paired differences, {unit} by {unit}: mean [95% interval], two-sided sign-flip test."
    return table(("", "metric", "difference", "p", "better on", "n"), body, caption=caption)


def score_blocks(summary: Mapping[str, Any], evaluation: Evaluation) -> list[str]:
    """How PSNR spreads over the images, and how the model's gain over the best baseline does."""
    best, scores = summary.get("best_baseline"), evaluation.scores
    chosen = {row: scores[row]["psnr"] for row in ("input", best, "model") if row in scores and "psnr" in scores[row]}
    if not chosen or len(evaluation.names) < 3:
        return []
    blocks = [figure(figures.score_histograms(chosen, "psnr"), "PSNR of every image; dashed: the means.")]
    if best in chosen and "model" in chosen:
        name = NAMES.get(best, best)
        entry = summary["differences"]["best_baseline"]["psnr"]
        drawn = figures.difference_histogram(
            chosen["model"] - chosen[best], "psnr", label=f"model minus {name}", interval=entry.get("ci95")
        )
        blocks.append(figure(drawn, f"The model's gain over {name} on each image."))
    return blocks


def uncertainty_blocks(summary: Mapping[str, Any]) -> list[str]:
    """Whether the model's deviation shows where it errs: rank correlation and sparsification (Ilg et al. 2018)."""
    found = summary.get("uncertainty")
    if not found:
        return []
    correlation, area, chance = (found.get(name) for name in ("rank_correlation", "ause", "ause_random"))
    blocks = []
    if correlation and area and chance:
        useful = area["mean"] < 0.9 * chance["mean"]
        blocks.append(
            text(
                f"Rank correlation of deviation and error within an image: {cell('', correlation)} (1 is perfect, 0 is "
                f"worthless). Area between the curve and the best possible: {number('', area['mean'])}, against "
                f"{number('', chance['mean'])} for noise: the map is **{'' if useful else 'not '}informative**."
            )
        )
    if curve := found.get("sparsification"):
        caption = (
            "The faster the curve falls, the better the map points to what is wrong; the dashed line cannot be beaten."
        )
        blocks.append(figure(figures.sparsification_curve(curve), caption))
    return blocks


def group_blocks(summary: Mapping[str, Any]) -> list[str]:
    """The model's rows split by a column of the data."""
    found = summary.get("by")
    if not found:
        return []
    rows = []
    beside = next((row for row in ("input", "bicubic") if all(row in p["rows"] for p in found["groups"].values())), "input")
    for group, part in found["groups"].items():
        model, given = part["rows"].get("model", {}), part["rows"].get(beside, {})
        gain = part.get("differences", {}).get("best_baseline", {}).get("psnr")
        psnr = (cell("psnr", given.get("psnr")), cell("psnr", model.get("psnr")), cell("psnr", gain, sign=True))
        rows.append((group, *psnr, cell("ssim", model.get("ssim")), part["n"]))
    header = (found["column"], f"{beside} PSNR (dB)", "model PSNR (dB)", "minus best baseline", "model SSIM", "n")
    return [table(header, rows, caption="Mean [95% interval] in each group; small groups say little.")]


def training_blocks(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Curves of losses, validation quality and attention's gamma, as far as they were logged."""
    blocks = []
    if panels := figures.training_panels(rows):
        caption = (
            "Losses as logged (pale: single rows; dark: their running mean); validation dashed, where it was computed."
        )
        blocks.append(figure(figures.curves(rows, panels), caption))
    if any("psnr" in row for row in rows if row["split"] == "validation"):
        caption = (
            "Quality on the validation images during training (on fewer images than the tables, if the config says so)."
        )
        blocks.append(figure(figures.quality_curves(rows), caption))
    if drawn := figures.gamma_paths(rows):
        blocks.append(
            figure(drawn, "Gamma of each attention module: it starts at 0, where the module changes nothing.")
        )
    return blocks
