"""What a discriminator's probabilities are worth, and what a threshold on them can let pass. Numpy.

A probability is what a discriminator gives an image for being real. Calibration is judged as if real and generated images came
equally often, as they do in training: each side weighs one half, however many images it has.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import betaincinv

from medjax.metrics.statistics import summary
from medjax.types import Array, ConfigError, DataError

BINS = 10


def most_passing(threshold: float) -> float:
    """The largest share of generated images that an optimal discriminator can give `threshold` or more: (1 - t) / t, at most 1.

    It is D* = p / (p + q) (Goodfellow et al. 2014, prop. 1), so D* >= t where p / q >= t / (1 - t); as p / q has mean 1 or less
    over generated images, Markov's inequality bounds their share. Where the two densities are equal D* is one half everywhere.
    """
    if not 0 <= threshold <= 1:
        raise ConfigError(f"a threshold is a probability from 0 to 1, not {threshold}")
    return min(1.0, (1 - threshold) / threshold) if threshold else 1.0


def proportion(count: int, n: int, *, level: float = 0.95) -> dict[str, Any]:
    """`{"count", "n", "rate", "ci95"}` of `count` out of n, with the interval of Clopper and Pearson 1934 at `level`."""
    if not 0 <= count <= n or not n:
        raise DataError(f"{count} of {n} is no share")
    tail = (1 - level) / 2
    low = float(betaincinv(count, n - count + 1, tail)) if count else 0.0
    high = float(betaincinv(count + 1, n - count, 1 - tail)) if count < n else 1.0
    return {"count": int(count), "n": int(n), "rate": count / n, "ci95": [low, high]}


def passing_threshold(probabilities: Array, share: float) -> float:
    """The highest threshold that at least `share` of `probabilities` `[n]` reaches, rounded down to four decimals."""
    ordered = np.sort(np.asarray(probabilities, np.float64).ravel())[::-1]
    if not ordered.size or not 0 < share <= 1:
        raise DataError(f"no threshold lets a share of {share} of {ordered.size} images pass")
    return math.floor(ordered[math.ceil(share * ordered.size) - 1] * 1e4) / 1e4


def calibration(real: Array, generated: Array, *, bins: int = BINS) -> dict[str, Any]:
    """What the probabilities `[n]` of real and `[m]` of generated images say, ready for JSON.

    `real` and `generated` are `statistics.summary` of each, with `half`, the share at 0.5 or above (`proportion`); `accuracy`
    is balanced; `brier` the mean squared error (Brier 1950), 0.25 for a discriminator that always says one half; `ece` the mean
    distance, over equal bins, of the probability from the share that is real (Guo et al. 2017, eq. 3); `reliability` holds
    the bins: `count` of both kinds, mean `probability`, share that is `real`, None where empty.

    Raises DataError where either side is empty or a probability is none.
    """
    real, generated = (np.asarray(p, np.float64).ravel() for p in (real, generated))
    every = np.concatenate([real, generated])
    if not real.size or not generated.size or not ((every >= 0) & (every <= 1)).all():
        raise DataError(f"calibration needs probabilities of real and of generated images, not {real.size} and {generated.size}")
    weight = np.concatenate([np.full(real.size, 0.5 / real.size), np.full(generated.size, 0.5 / generated.size)])
    truth = np.arange(every.size) < real.size
    place = np.minimum((every * bins).astype(int), bins - 1)
    mass, means, shares = (np.bincount(place, weight * x, bins) for x in (np.ones(every.size), every, truth))
    with np.errstate(invalid="ignore"):
        curve = {"probability": means / mass, "real": shares / mass}
    sides = {"real": real, "generated": generated}
    return {
        **{name: {**summary(p), "half": proportion(int((p >= 0.5).sum()), p.size)} for name, p in sides.items()},
        "accuracy": float(np.mean(real >= 0.5) + np.mean(generated < 0.5)) / 2,
        "brier": float(weight @ (every - truth) ** 2),
        "ece": float(np.abs(means - shares).sum()),
        "reliability": {
            "count": np.bincount(place, minlength=bins).tolist(),
            **{name: [float(v) if m else None for v, m in zip(values, mass, strict=True)] for name, values in curve.items()},
        },
    }
