"""Figures: data in, a matplotlib Figure out; nothing is read, written or shown here. `png` makes bytes of a Figure."""

from __future__ import annotations

from medjax.figures.detail import detail, detail_box
from medjax.figures.pictures import cases, comparison, maps, zoom_box
from medjax.figures.scores import difference_histogram, intervals, score_histograms, sparsification_curve
from medjax.figures.style import NAMES, UNITS, png, styled, unit
from medjax.figures.training import curves, gamma_paths, paths, quality_curves, series, training_panels

__all__ = [
    "NAMES",
    "UNITS",
    "cases",
    "comparison",
    "curves",
    "detail",
    "detail_box",
    "difference_histogram",
    "gamma_paths",
    "intervals",
    "maps",
    "paths",
    "png",
    "quality_curves",
    "score_histograms",
    "series",
    "sparsification_curve",
    "styled",
    "training_panels",
    "unit",
    "zoom_box",
]
