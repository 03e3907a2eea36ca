"""The house's style for figures: 7 inches wide at 150 dpi, colours that survive colour blindness, units on every axis.

A figure is a matplotlib Figure made by a function under `styled`; `png` turns it into bytes. No pyplot, so nothing is
global and nothing is shown.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"  # Okabe and Ito
SKY, YELLOW, GREY = "#56B4E9", "#E69F00", "#777777"
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, SKY, YELLOW, GREY)
WIDTH = 7.0
STYLE = {
    "figure.dpi": 150,
    "savefig.dpi": 150,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.labelsize": 8.5,
    "axes.titlelocation": "left",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.prop_cycle": matplotlib.cycler(color=CYCLE),
}
UNITS = {"psnr": "PSNR (dB)", "ssim": "SSIM", "ms_ssim": "MS-SSIM", "mae": "mean absolute error (of full range)"}
NAMES = {
    "input": "input",
    "gaussian": "Gaussian filter",
    "median": "median filter",
    "bilateral": "bilateral filter",
    "nlm": "non-local means",
    "tv": "total variation",
    "wavelet": "wavelet shrinkage",
    "clahe": "CLAHE",
    "equalise": "histogram equalisation",
    "gamma": "gamma",
    "nearest": "nearest neighbour",
    "bilinear": "bilinear",
    "bicubic": "bicubic",
    "lanczos": "Lanczos",
    "l1": "L1 phase",
    "l2": "L2 phase",
    "charbonnier": "Charbonnier phase",
    "interpolated": "interpolated",
    "real": "real images",
    "trained_on": "real images, as trained on",
    "majority": "most frequent class",
    "grey": "mean grey level",
    "model": "model",
}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Give `draw` the house's style without touching the caller's own settings."""

    @functools.wraps(draw)
    def wrapped(*args: Any, **options: Any) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **options)

    return wrapped


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    with matplotlib.rc_context(STYLE):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def unit(metric: str) -> str:
    """A metric's name with its unit, for an axis."""
    return UNITS.get(metric, metric.replace("_", " "))


def colour_of(row: str, rows: Sequence[str]) -> str:
    """One colour for a row in every figure: the model blue, the input grey, the rest by their place."""
    fixed = {"model": BLUE, "input": GREY}
    rest = [r for r in rows if r not in fixed]
    return fixed.get(row) or (ORANGE, GREEN, PURPLE, SKY, YELLOW)[rest.index(row) % 5]


def digits(metric: str) -> int:
    """Decimals worth printing: two for decibels, four for shares."""
    return 2 if metric == "psnr" else 4
