"""How alike two pools are in what must not be learnt: grey level and body size; and pools made alike by leaving images out.

A translator between pools whose bodies differ in size learns to change bodies. Measured of each image at 64 x 64 pixels, in
[0, 1]: `grey`, its mean; `body`, the share of it that is body: brighter than Otsu's threshold after a Gaussian of one pixel,
the largest such piece, its holes (the lungs) filled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import ndimage, stats
from skimage.filters import threshold_otsu

from medjax.data.augment import resize
from medjax.data.pools import HIGH, LOW, in_pool, view
from medjax.data.records import Source
from medjax.rng import generator
from medjax.types import ConfigError

SIDE = 64
MEASURES = ("grey", "body")
Values = dict[str, np.ndarray]


def body_share(image: np.ndarray) -> float:
    """The share of `image` [H, W, 1] in [0, 1] that is body; 0 where the image is flat."""
    grey = ndimage.gaussian_filter(image[..., 0], 1.0, mode="nearest")
    if np.ptp(grey) < 1e-6:
        return 0.0
    pieces, count = ndimage.label(grey > threshold_otsu(grey))
    if not count:
        return 0.0
    largest = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    return float(ndimage.binary_fill_holes(largest).mean())


def measure(source: Source, indices: Sequence[int], pool: str) -> Values:
    """`{"grey": [n], "body": [n]}` of the images `indices` of a pool, as they are (not their truth)."""
    load = view(source, pool).load
    return measured(load(int(i))["target"] for i in indices)


def measured(images: Iterable[np.ndarray]) -> Values:
    """`{"grey": [n], "body": [n]}` of images [H, W, 1] in [0, 1]."""
    small = [resize(image, SIDE) for image in images]
    return {"grey": np.array([float(x.mean()) for x in small]), "body": np.array([body_share(x) for x in small])}


def compare(low: Mapping[str, np.ndarray], high: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Of each measure: `n`, `mean` and `sd` of both pools, `smd` their standardised mean difference (low minus high, over the
    root of the mean of both variances; Austin 2009 calls 0.1 negligible) and Kolmogorov and Smirnov's `ks` with `p_value`.
    """
    found = {}
    for name in low:
        pools = {LOW: np.asarray(low[name], np.float64), HIGH: np.asarray(high[name], np.float64)}
        spread = np.sqrt(sum(x.var(ddof=1) if len(x) > 1 else 0.0 for x in pools.values()) / 2)
        test = stats.ks_2samp(pools[LOW], pools[HIGH])
        apart = pools[LOW].mean() - pools[HIGH].mean()
        sides = {
            pool: {"n": len(x), "mean": float(x.mean()), "sd": float(x.std(ddof=1)) if len(x) > 1 else None}
            for pool, x in pools.items()
        }
        smd = float(apart / spread) if spread else 0.0
        found[name] = {**sides, "smd": smd, "ks": float(test.statistic), "p_value": float(test.pvalue)}
    return found


def told(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The comparison as a sentence."""
    words = {"grey": "mean grey level", "body": "body's share of the image"}
    parts = [
        f"{words[name]} {each[LOW]['mean']:.3f} (low, n = {each[LOW]['n']}) against {each[HIGH]['mean']:.3f} "
        f"(high, n = {each[HIGH]['n']}), standardised difference {each['smd']:+.2f}, "
        f"Kolmogorov-Smirnov {each['ks']:.2f} (p = {each['p_value']:.2g})"
        for name, each in found.items()
    ]
    return f"balance of the pools: {'; '.join(parts)}"


def matched(
    low: Mapping[str, np.ndarray], high: Mapping[str, np.ndarray], *, by: Sequence[str] = MEASURES, bins: int = 5, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The places in each pool that are kept, so that both have the same number of images in every cell of the measures `by`,
    each cut into `bins` at the quantiles of both pools together (coarsened exact matching: Iacus, King and Porro 2012). In each
    cell the larger side is thinned, by draws of the seed; cells that one pool lacks are left out.

    Raises ConfigError for an unknown measure, and where nothing is left.
    """
    unknown = [name for name in by if name not in low]
    if unknown or not by or bins < 2:
        raise ConfigError(f"pools are matched by some of {', '.join(low)} in 2 bins or more, not by {', '.join(by)} in {bins}")
    cells = []
    for side in (low, high):
        numbers = np.zeros(len(side[by[0]]), np.int64)
        for name in by:
            edges = np.quantile(np.concatenate([low[name], high[name]]), np.linspace(0, 1, bins + 1)[1:-1])
            numbers = numbers * bins + np.searchsorted(edges, side[name], side="right")
        cells.append(numbers)
    kept: tuple[list, list] = ([], [])
    for cell in sorted(set(cells[0]) & set(cells[1])):
        there = [np.flatnonzero(numbers == cell) for numbers in cells]
        count = min(map(len, there))
        for places, own, pool in zip(kept, there, (LOW, HIGH), strict=True):
            places += own[generator(seed, "match", pool, int(cell)).permutation(len(own))[:count]].tolist()
    if not kept[0]:
        raise ConfigError(f"the pools have nothing in common by {', '.join(by)} in {bins} bins, so none of their images match")
    return np.sort(np.array(kept[0])), np.sort(np.array(kept[1]))


def match(source: Source, indices: Sequence[int], *, by: Sequence[str], bins: int = 5, seed: int = 0) -> tuple[np.ndarray, str]:
    """(the record numbers that are left of `indices`, what was left out in words); see `matched`."""
    sides = {pool: in_pool(source, indices, pool) for pool in (LOW, HIGH)}
    values = {pool: measure(source, own, pool) for pool, own in sides.items()}
    kept = dict(zip((LOW, HIGH), matched(values[LOW], values[HIGH], by=by, bins=bins, seed=seed), strict=True))
    counts = ", ".join(f"{pool} {len(kept[pool])} of {len(own)}" for pool, own in sides.items())
    chosen = np.sort(np.concatenate([sides[pool][kept[pool]] for pool in (LOW, HIGH)]))
    return chosen, f"pools matched by {' and '.join(by)} in {bins} bins of each: {counts} training images are left"
