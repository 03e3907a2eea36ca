"""Findings kept, lost and invented by an enhancement, where it is known what was there. No jax.

An image shows a finding by the contrast of its place: the mean inside less the median of what surrounds it within the lungs,
`REACH` widths of the image away at most. Part of that contrast is ribs and vessels: what the place has without the finding
(`base`), known where the same patient is drawn without it. The share that an image shows is

    (contrast in the image - base) / (contrast in truth - base),

1 as in truth, 0 as without the finding, below 0 of the wrong sign. A finding is kept where the share is `KEPT` or more, else
lost. The same rule where no finding is (the patient's twin without it, or the mirrored place in the other lung) tells what is
invented: there the base is the truth, and the finding's contrast the measure. Images are `[H, W]` or `[H, W, 1]` in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from medjax.metrics.discrimination import proportion
from medjax.types import Array, DataError

KEPT = 0.5  # of the true contrast
REACH = 0.05  # widths of the image
FEWEST = 4  # pixels inside a place, and around it
FAINT = 0.01  # of the range: a finding of less contrast in truth is shown by no image


class Place(NamedTuple):
    """Where a finding is: bool `[H, W]` inside it and around it."""

    inside: np.ndarray
    around: np.ndarray


class Known(NamedTuple):
    """A place, the contrast it has where nothing is added, and the contrast that the finding adds in truth."""

    place: Place
    base: float
    adds: float


def place(mask: Array, lungs: Array, *, reach: float = REACH) -> Place | None:
    """The finding's `mask` and what surrounds it in `lungs`, bool `[H, W]`; None where either has fewer than `FEWEST` pixels."""
    inside, lungs = np.asarray(mask, bool), np.asarray(lungs, bool)
    if inside.shape != lungs.shape or inside.ndim != 2:
        raise DataError(f"a finding's mask {list(inside.shape)} and the lungs' {list(lungs.shape)} are not of one image")
    steps = max(1, round(reach * inside.shape[1]))
    around = ndimage.binary_dilation(inside, iterations=steps) & lungs & ~inside
    return Place(inside, around) if min(inside.sum(), around.sum()) >= FEWEST else None


def mirrored(mask: Array, lungs: Array) -> np.ndarray:
    """bool `[H, W]`: `mask` mirrored at the middle column of `lungs`, as far as it lies in them and away from `mask`: a place of
    like size and height where there is no finding.
    """
    mask, lungs = np.asarray(mask, bool), np.asarray(lungs, bool)
    columns = np.flatnonzero(lungs.any(0))
    rows, places = np.nonzero(mask)
    found = np.zeros_like(mask)
    if columns.size:
        other = columns[0] + columns[-1] - places
        inside = (other >= 0) & (other < mask.shape[1])
        found[rows[inside], other[inside]] = True
    return found & lungs & ~ndimage.binary_dilation(mask, iterations=max(1, round(REACH * mask.shape[1])))


def contrast(image: Array, place: Place) -> float:
    """The mean inside less the median around."""
    image = np.asarray(image, np.float64)
    image = image[..., 0] if image.ndim == 3 else image
    return float(image[place.inside].mean() - np.median(image[place.around]))


def known(truth: Array, place: Place, *, bare: Array | None = None) -> Known | None:
    """What is true of a finding in the clean image `truth`; bare: the clean image of the same patient without it, else the base
    is 0. None where it adds less than `FAINT` and so cannot be looked for.
    """
    base = 0.0 if bare is None else contrast(bare, place)
    adds = contrast(truth, place) - base
    return Known(place, base, adds) if abs(adds) >= FAINT else None


def control(truth: Array, place: Place, finding: Known) -> Known:
    """A place of the clean image `truth` where nothing is, asked for as much contrast as `finding` adds at its own."""
    return Known(place, contrast(truth, place), finding.adds)


def share(image: Array, finding: Known) -> float:
    """How much of what the finding adds `image` shows; see the module's words."""
    return (contrast(image, finding.place) - finding.base) / finding.adds


def tally(present: Mapping[str, Sequence[float]], absent: Mapping[str, Sequence[float]]) -> dict[str, dict[str, Any]]:
    """`{row: {"kept", "lost", "invented"}}`, each `{"count", "n", "rate", "ci95"}` (Clopper and Pearson 1934), None of nothing.

    present, absent: for each row of images the shares at places with a finding and at places without.
    """
    found = {}
    for row, shares in present.items():
        here, elsewhere = np.asarray(shares, float), np.asarray(absent.get(row, ()), float)
        bad = [name for name, values in (("present", here), ("absent", elsewhere)) if not np.isfinite(values).all()]
        if bad:
            raise DataError(f"the shares of {row} where findings are {bad[0]} are not all finite")
        kept, invented = int((here >= KEPT).sum()), int((elsewhere >= KEPT).sum())
        found[row] = {
            "kept": proportion(kept, here.size) if here.size else None,
            "lost": proportion(here.size - kept, here.size) if here.size else None,
            "invented": proportion(invented, elsewhere.size) if elsewhere.size else None,
        }
    return found
