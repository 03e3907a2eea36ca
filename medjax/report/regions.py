"""What a report says of scores inside a region and of patients who have several images each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medjax.figures.style import NAMES
from medjax.metrics.markdown import DIGITS, UNITS_SHOWN
from medjax.report.html import table

REGION = {
    "psnr_inside": "PSNR (dB)",
    "ssim_inside": "SSIM",
    "nrmse_inside": "NRMSE",
    "psnr_affine": "PSNR (dB), affine",
    "ssim_affine": "SSIM, affine",
}


def many(summary: Mapping[str, Any]) -> str:
    """How much was scored: "24 images", "3 patients (285 images)"."""
    if "unit" in summary:
        return f"{summary['n']} {summary['unit']}s ({summary['images']} images)"
    return f"{summary['n']} images"


def unit(summary: Mapping[str, Any]) -> str:
    """What n counts: "image" or "patient"."""
    return summary.get("unit", "image")


def region_blocks(summary: Mapping[str, Any]) -> list[str]:
    """Scores inside the region, and of each patient where they fit on a page; nothing where there is neither."""
    rows, blocks = summary["rows"], []
    names = [m for m in REGION if any(m in values for values in rows.values())]
    if names:
        body = [[NAMES.get(r, r), *(_cell(m, v.get(m)) for m in names)] for r, v in rows.items()]
        caption = (
            "Inside the region (the head, or what is known of it), means [95% bootstrap interval]. Affine: after the map "
            "a x + b of each output that brings it closest to its target, which takes out an error of calibration alone."
        )
        strong = [i for i, row in enumerate(rows) if row == "model"]
        blocks.append(table(("", *[REGION[m] for m in names]), body, caption=caption, strong=strong))
    units = summary.get("units", {})
    if units and len(units) <= UNITS_SHOWN:
        shown = names or [m for m in ("psnr", "ssim") if any(m in v for v in rows.values())]
        labels = REGION if names else {"psnr": "PSNR (dB)", "ssim": "SSIM"}
        every = [(name, row, values) for name, found in units.items() for row, values in found.items()]
        body = [[name, NAMES.get(row, row), *(_number(m, values.get(m)) for m in shown)] for name, row, values in every]
        caption = f"Every {unit(summary)}: means over its images{', inside the region' if names else ''}."
        blocks.append(table((unit(summary), "row", *[labels[m] for m in shown]), body, caption=caption))
    return blocks


def _number(metric: str, value: float | None) -> str:
    return "–" if value is None else f"{value:.{DIGITS.get(metric, 3)}f}"


def _cell(metric: str, entry: Mapping[str, Any] | None) -> str:
    if not entry or entry.get("mean") is None:
        return "–"
    ends = entry.get("ci95")
    return _number(metric, entry["mean"]) + (f" [{_number(metric, ends[0])}, {_number(metric, ends[1])}]" if ends else "")
