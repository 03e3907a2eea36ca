"""The classifier that sees nothing but how bright an image is on average: what a claim about a disease has to beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from medjax.types import Array

RIDGE = 1e-5  # on the slopes, for standardised grey levels: without it separable classes have no finite fit


@dataclass(frozen=True)
class GreyLevel:
    """Logistic regression of class on mean grey level: logits `(level - centre) / spread * slopes + intercepts`, `[K]`."""

    centre: float
    spread: float
    slopes: np.ndarray
    intercepts: np.ndarray
    several: bool

    def probabilities(self, levels: Array) -> np.ndarray:
        """`[n, K]` of mean grey levels `[n]`."""
        logits = _logits(self.slopes, self.intercepts, (np.asarray(levels, np.float64) - self.centre) / self.spread)
        return special.expit(logits) if self.several else special.softmax(logits, 1)


def fit(levels: Array, hot: Array, *, several: bool = False) -> GreyLevel:
    """The most likely `GreyLevel` for images of mean grey `levels` `[n]` in [0, 1] that have the classes `hot`, 0 and 1 `[n, K]`.

    several: whether an image may have any number of classes (one logistic regression each) or has one (multinomial).
    """
    levels, hot = np.asarray(levels, np.float64), np.asarray(hot, np.float64)
    centre, spread = float(levels.mean()), max(float(levels.std()), 1e-6)
    x, classes = (levels - centre) / spread, hot.shape[1]

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        slopes, intercepts = theta[:classes], theta[classes:]
        logits = _logits(slopes, intercepts, x)
        if several:
            value, error = np.mean(np.logaddexp(0, logits).sum(1) - (hot * logits).sum(1)), special.expit(logits) - hot
        else:
            value = np.mean(special.logsumexp(logits, axis=1) - (hot * logits).sum(1))
            error = special.softmax(logits, 1) - hot
        gradient = np.concatenate([x @ error / len(x) + 2 * RIDGE * slopes, error.mean(0) + 2e-9 * intercepts])
        return value + RIDGE * np.sum(slopes**2) + 1e-9 * np.sum(intercepts**2), gradient

    found = optimize.minimize(loss, np.zeros(2 * classes), jac=True, method="BFGS", options={"gtol": 1e-7}).x
    return GreyLevel(centre, spread, found[:classes], found[classes:], several)


def _logits(slopes: np.ndarray, intercepts: np.ndarray, x: np.ndarray) -> np.ndarray:
    return x[:, None] * slopes + intercepts
