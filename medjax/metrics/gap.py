"""How much of the gap between low and high quality an enhancement closes, and what two proportions can tell apart. No jax.

Values are `[n]`, one per image: 1 where a classifier is right and 0 where it is wrong, or any score. `groups` names the class
of each image: values are averaged within each class and then over classes, which makes of right and wrong the balanced
accuracy. `units` names the patient of each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from medjax.metrics.statistics import RESAMPLES, unit_places
from medjax.types import Array, DataError


class Scored(NamedTuple):
    """A set of images: values `[n]`, the patient of each, and the class of each; None: every image its own, one class."""

    values: Array
    units: Sequence[Any] | None = None
    groups: Sequence[Any] | None = None


def closed(low: Scored, enhanced: Array, high: Scored, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Any]:
    """The share of the gap that is closed, (enhanced - low) / (high - low), by bootstrap over patients.

    `enhanced` are the values `[n]` of the images of `low` once enhanced, in their order. Patients who are in both `low` and
    `high` are drawn together; where the two share none, they are drawn apart.

    Returns `{"value", "ci95", "gap", "gain", "paired", "why"}`: gap = high - low and gain = enhanced - low as `{"mean", "ci95"}`,
    paired: whether low and high share patients. Where the gap's interval holds 0, or cannot be had, there may be nothing to
    close: value and ci95 are None, and `why` says so.

    Raises DataError for an empty set, and for an enhanced set that is not as long as the low one.
    """
    if len(low.values) != len(enhanced):
        raise DataError(f"{len(enhanced)} enhanced images cannot be those of {len(low.values)} low-quality ones")
    draws, paired, sure = _weights(low, high, resamples, seed)
    sets = low, low._replace(values=enhanced), high
    means = [_means(each, weights) for each, weights in zip(sets, (draws[0], draws[0], draws[1]), strict=True)]
    points = [float(_means(each, np.ones((1, len(each.values))))[0]) for each in sets]
    gap, gain = ({"mean": points[i] - points[0], "ci95": _ends(means[i] - means[0]) if sure else None} for i in (2, 1))
    found = {"value": None, "ci95": None, "gap": gap, "gain": gain, "paired": paired, "why": ""}
    if gap["ci95"] is None:
        return found | {"why": "undefined: so few patients tell nothing of the spread"}
    if gap["ci95"][0] <= 0 <= gap["ci95"][1]:
        ends = f"[{gap['ci95'][0]:.3f}, {gap['ci95'][1]:.3f}]"
        return found | {"why": f"undefined: the interval of the gap, {ends}, holds 0, so there may be none to close"}
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = (means[1] - means[0]) / (means[2] - means[0])
    return found | {"value": gain["mean"] / gap["mean"], "ci95": _ends(shares)}


def _weights(low: Scored, high: Scored, resamples: int, seed: int) -> tuple[tuple[np.ndarray, np.ndarray], bool, bool]:
    """How often each image is drawn, `[R, n]` of both sets; whether they share patients; whether both have more than one."""
    names = []
    for side, each in (("low", low), ("high", high)):
        units = [f"{side} {i}" for i in range(len(each.values))] if each.units is None else list(map(str, each.units))
        if not units or len(units) != len(each.values):
            raise DataError(f"{len(units)} patients cannot be those of {len(each.values)} images")
        names.append(units)
    rng, sure = np.random.default_rng(seed), min(len(set(units)) for units in names) > 1
    if set(names[0]) & set(names[1]):
        drawn = _draw(rng, names[0] + names[1], resamples)
        return (drawn[:, : len(names[0])], drawn[:, len(names[0]) :]), True, sure
    return (_draw(rng, names[0], resamples), _draw(rng, names[1], resamples)), False, sure


def _draw(rng: np.random.Generator, units: Sequence[str], resamples: int) -> np.ndarray:
    """`[R, n]`: how often the patient of each image is drawn."""
    place = unit_places(units, len(units))
    count = int(place.max()) + 1
    return rng.multinomial(count, np.full(count, 1 / count), size=resamples)[:, place].astype(np.float64)


def _means(each: Scored, weights: np.ndarray) -> np.ndarray:
    """`[R]`: the weighted mean of the values, over groups where there are any; NaN where a draw misses a group."""
    values = np.asarray(each.values, np.float64)
    place = np.zeros(len(values), int) if each.groups is None else unit_places(each.groups, len(values))
    inside = (place[:, None] == np.arange(place.max() + 1)).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return ((weights * values) @ inside / (weights @ inside)).mean(1)


def _ends(draws: np.ndarray) -> list[float] | None:
    """The percentile interval; None where many draws are undefined."""
    good = draws[np.isfinite(draws)]
    return [float(end) for end in np.quantile(good, (0.025, 0.975))] if good.size > 0.9 * draws.size else None


def two_proportions(p: float, q: float, n: int, m: int) -> dict[str, float]:
    """Whether shares p of n and q of m differ: `{"difference", "z", "p_value"}`, the pooled two-sided z test (Fleiss et al. 2003,
    eq. 3.6, without continuity correction). Raises DataError for what is no share.
    """
    if not (0 <= p <= 1 and 0 <= q <= 1 and n > 0 and m > 0):
        raise DataError(f"{p} of {n} and {q} of {m} are no two shares")
    pooled = (p * n + q * m) / (n + m)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    z = (p - q) / error if error else 0.0
    return {"difference": p - q, "z": z, "p_value": float(2 * ndtr(-abs(z)))}


def images_needed(p: float, q: float, *, power: float = 0.8, alpha: float = 0.05) -> int:
    """How many images each of two independent sets needs for shares p and q to differ at `alpha` (two-sided) with `power`
    (Fleiss et al. 2003, eq. 4.14). Raises DataError where they are equal or no shares.
    """
    if not (0 <= p <= 1 and 0 <= q <= 1) or p == q:
        raise DataError(f"no number of images tells a share of {p} from one of {q}")
    middle = (p + q) / 2
    spread = ndtri(1 - alpha / 2) * math.sqrt(2 * middle * (1 - middle)) + ndtri(power) * math.sqrt(p * (1 - p) + q * (1 - q))
    return math.ceil(float(spread / (p - q)) ** 2 - 1e-9)


def half_width(p: float, n: int) -> float:
    """Half of the 95% interval of a share p of n, by the normal approximation."""
    return float(ndtri(0.975)) * math.sqrt(p * (1 - p) / n)


def sizes_of(rounded: Sequence[float], *, decimals: int = 3, most: int = 1000) -> list[int]:
    """The numbers of images n up to `most` that all shares in `rounded`, given to `decimals`, can be of."""
    reach = 0.5 * 10.0**-decimals + 1e-12
    fits = lambda share, n: abs(round(share * n) / n - share) <= reach  # noqa: E731
    return [n for n in range(1, most + 1) if all(fits(share, n) for share in rounded)]
