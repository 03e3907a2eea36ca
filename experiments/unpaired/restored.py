"""Every row of images against the truth, where it is known: the metric protocol's own measures, and paired differences."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from experiments.unpaired.tables import STRONG
from medjax.metrics import ms_ssim, psnr, ssim, tables
from medjax.metrics.statistics import compare

METRICS = {"psnr": psnr, "ssim": ssim, "ms_ssim": ms_ssim}


def qualities(rows: Mapping[str, np.ndarray], truth: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """{row: {"psnr", "ssim", "ms_ssim": float64 `[n]`}} of images `[n, H, W, 1]` in [0, 1]."""
    found = {row: _scorer()(np.asarray(images, np.float32), np.asarray(truth, np.float32)) for row, images in rows.items()}
    return {row: {name: np.asarray(values, np.float64) for name, values in each.items()} for row, each in found.items()}


@functools.cache
def _scorer() -> Callable:
    """All metrics of a row in one program, compiled once for all rows."""
    import jax

    return jax.jit(lambda made, target: {name: metric(made, target) for name, metric in METRICS.items()})


def measure(rows: Mapping[str, np.ndarray], truth: np.ndarray) -> dict[str, Any]:
    """`{"rows": {row: {metric: summary}}, "differences": {strong row: {row: {metric: strong minus row, paired}}}, "n"}`."""
    scores = qualities(rows, truth)
    apart = {
        led: {
            row: {name: compare(scores[led][name], values) for name, values in each.items()}
            for row, each in scores.items()
            if row != led
        }
        for led in STRONG
    }
    return {"rows": tables.rows(scores), "differences": apart, "n": len(truth)}
