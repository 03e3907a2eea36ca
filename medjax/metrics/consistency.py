"""Whether the slices of a volume that was made slice by slice hang together.

A stack is `[N, H, W, C]` in [0, 1], neighbours in order; `region` is `[N, H, W, 1]` of 0 and 1. A model that sees one slice
at a time may give two neighbours different grey levels; across the slices this shows as stripes, which no score of single
slices sees.
"""

from __future__ import annotations

import numpy as np

from medjax.types import Array


def neighbour_change(stack: Array, region: Array) -> np.ndarray:
    """Mean absolute difference of each slice and the next where both lie inside their region, `[N - 1]`; NaN where nowhere."""
    stack, region = np.asarray(stack, np.float64), np.asarray(region) > 0.5
    if stack.ndim != 4 or region.shape != (*stack.shape[:3], 1) or len(stack) < 2:
        raise ValueError(f"two slices or more and their regions are needed, not {stack.shape} and {region.shape}")
    both = region[1:] & region[:-1]
    change = np.abs(np.diff(stack, axis=0)).mean(-1, keepdims=True) * both
    count = both.sum((1, 2, 3))
    return np.where(count > 0, change.sum((1, 2, 3)) / np.maximum(count, 1), np.nan)


def change_ratio(output: Array, target: Array, region: Array) -> float:
    """How much `output` changes from slice to slice, as a multiple of what `target` does: 1 as the real volume, below 1
    smoother, above 1 flickering. NaN where the target does not change."""
    return _ratio(neighbour_change(output, region), neighbour_change(target, region))


def error_change(output: Array, target: Array, region: Array) -> float:
    """How much the error changes from slice to slice, as a multiple of what `target` does: 0 for an error that is the same
    in neighbours (of anatomy, not of slices), 1 for one that changes as much as the anatomy does."""
    error = np.asarray(output, np.float64) - np.asarray(target, np.float64)
    return _ratio(neighbour_change(error, region), neighbour_change(target, region))


def _ratio(change: np.ndarray, real: np.ndarray) -> float:
    good = np.isfinite(change) & np.isfinite(real)
    total = real[good].sum()
    return float(change[good].sum() / total) if total > 0 else float("nan")
