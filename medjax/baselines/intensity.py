"""Maps of intensity alone: what a translation from one contrast to another must beat.

A map takes each pixel of an image, float `[H, W]` or `[H, W, C]` in [0, 1], to a new grey level and looks at nothing
else. It is fitted to training images by least squares over the pixels of the source above `FLOOR`, inside the region
where one is known. Below `FLOOR` lies the background, whose many pixels would decide any fit: there a map falls from its
level at `FLOOR` to 0 at 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression

from medjax.types import Array, DataError

BINS = 64
FLOOR = 0.05


def linear(image: Array, *, slope: float, intercept: float) -> np.ndarray:
    """`slope * image + intercept` where the image is above `FLOOR`, clipped to [0, 1]; float32."""
    return _mapped(image, lambda x: slope * x + intercept)


def monotone(image: Array, *, x: tuple[float, ...], y: tuple[float, ...]) -> np.ndarray:
    """Linear interpolation between the points (x, y) where the image is above `FLOOR`, clipped to [0, 1]; float32."""
    return _mapped(image, lambda level: np.interp(level, x, y))


def _mapped(image: Array, level: Callable[[Array], Array]) -> np.ndarray:
    image = np.clip(np.asarray(image, np.float32), 0, 1)
    share = np.minimum(image / FLOOR, 1)
    return (np.clip(level(np.maximum(image, FLOOR)), 0, 1) * share).astype(np.float32)


def fit(
    sources: Iterable[Array], targets: Iterable[Array], *, regions: Iterable[Array] | None = None
) -> dict[str, dict[str, Any]]:
    """`{"linear": {slope, intercept}, "monotone": {x, y}}`, the parameters of `linear` and `monotone`.

    sources, targets: pairs of images in [0, 1] of equal shape; regions: of 0 and 1, what counts in each. The monotone map
    is the isotonic regression (rising or falling, whichever fits better) of the target's mean over `BINS` equally filled
    bins of source level.

    Raises:
      DataError: no pixel above `FLOOR`, or a source of one level.
    """
    x, y, sources = [], [], list(sources)
    regions = [np.ones_like(source) for source in sources] if regions is None else regions
    for source, target, region in zip(sources, targets, regions, strict=True):
        inside = (np.asarray(source) > FLOOR) & (np.asarray(region) > 0)
        x.append(np.asarray(source, np.float64)[inside])
        y.append(np.asarray(target, np.float64)[inside])
    x, y = (np.concatenate(part) if part else np.zeros(0) for part in (x, y))
    if not x.size or x.min() == x.max():
        raise DataError("maps of intensity cannot be fitted: the source images hold no two levels above the background")
    slope, intercept = np.polyfit(x, y, 1)
    return {"linear": {"slope": float(slope), "intercept": float(intercept)}, "monotone": _isotonic(x, y)}


def _isotonic(x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    edges = np.unique(np.quantile(x, np.linspace(0, 1, BINS + 1)))
    place = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, len(edges) - 2)
    count = np.bincount(place, minlength=len(edges) - 1)
    used = count > 0
    centres, means = (np.bincount(place, weights=v, minlength=len(count))[used] / count[used] for v in (x, y))
    fits = [isotonic_regression(means, weights=count[used], increasing=rising).x for rising in (True, False)]
    best = min(fits, key=lambda levels: float(np.sum(count[used] * np.square(levels - means))))
    return {"x": tuple(map(float, centres)), "y": tuple(map(float, best))}
