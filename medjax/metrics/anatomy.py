"""How much of the anatomy moved between an image and its enhancement: edges, gradients, lung fields. No jax.

Enhancement may change grey levels and noise; it may not move or make structure. Images are `[n, H, W]` or `[n, H, W, 1]` in
[0, 1], input and output by position. All derivatives are those of a Gaussian as wide as the noise that enhancement is to
remove: `SCALE` of the image's width, at least a pixel. Every measure is 1 where nothing moved, whatever the contrast: each is
the same for an output and for a * output + b with a above 0.

- edge: correlation of the two images' Laplacians (Sattar et al. 1997, the beta of "Image enhancement based on a nonlinear
  multiscale method").
- gradient: correlation of the magnitudes of their gradients.
- direction: mean cosine of the angle between their gradients, over the pixels where the input's is steeper than on average,
  weighted by its magnitude (the alignment of Haber and Modersitzki 2006, signed: inverted contrast is no likeness).
- dice, area_ratio, shift, shift_share: of the lung fields, see `lungs`.
- score: the mean of edge, gradient, direction and, where the input shows lung fields, dice. Worst cases have the lowest.

An image without structure (flat) has edge, gradient and direction 1 beside another such and 0 beside any other: none is NaN.
Measures of the lungs are NaN for an image in whose input none are found; `summarise` counts those and leaves them out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from medjax.metrics import lungs as lung_fields
from medjax.metrics.lungs import planes
from medjax.metrics.statistics import summary
from medjax.types import Array, DataError

SCALE = 0.015
FLAT = 1e-12  # variance below which an image has no structure
MEASURES = ("edge", "gradient", "direction", "dice", "area_ratio", "shift", "shift_share", "score")


def edge_correlation(inputs: Array, outputs: Array, *, scale: float = SCALE) -> np.ndarray:
    """`[n]`: Pearson's correlation of the Laplacians of Gaussians of the two images, in [-1, 1]."""
    a, b, sigma = _checked(inputs, outputs, scale)
    return _correlation(*(np.stack([ndimage.gaussian_laplace(x, sigma) for x in images]) for images in (a, b)))


def gradient_correlation(inputs: Array, outputs: Array, *, scale: float = SCALE) -> np.ndarray:
    """`[n]`: Pearson's correlation of the magnitudes of the gradients of the two images, in [-1, 1]."""
    a, b, sigma = _checked(inputs, outputs, scale)
    return _correlation(*(np.linalg.norm(_gradients(images, sigma), axis=1) for images in (a, b)))


def gradient_direction(inputs: Array, outputs: Array, *, scale: float = SCALE) -> np.ndarray:
    """`[n]`: weighted mean cosine between the gradients of the two images where the input has edges, in [-1, 1]."""
    a, b, sigma = _checked(inputs, outputs, scale)
    first, second = _gradients(a, sigma), _gradients(b, sigma)
    steep, other = (np.linalg.norm(g, axis=1) for g in (first, second))
    weight = np.where(steep > steep.mean((1, 2), keepdims=True), steep, 0)
    cosine = (first * second).sum(1) / np.maximum(steep * other, FLAT)
    flat = steep.var((1, 2)) < FLAT, other.var((1, 2)) < FLAT
    found = (weight * cosine).sum((1, 2)) / np.maximum(weight.sum((1, 2)), FLAT)
    return np.where(flat[0] | flat[1], 1.0 * (flat[0] & flat[1]), found)


def moved(inputs: Array, outputs: Array, *, fields: Array | None = None, scale: float = SCALE) -> dict[str, np.ndarray]:
    """`MEASURES` of each image, `[n]`; see the module's words.

    fields: the inputs' lung fields, bool `[n, H, W]`, where they are known (a phantom's are exact); else they are looked for as
    the outputs' are. Raises DataError for images of two shapes.
    """
    a, b, _ = _checked(inputs, outputs, scale)
    before = lung_fields.fields(a) if fields is None else np.asarray(fields, bool)
    found = {
        "edge": edge_correlation(a, b, scale=scale),
        "gradient": gradient_correlation(a, b, scale=scale),
        "direction": gradient_direction(a, b, scale=scale),
        **lung_fields.movement(before, lung_fields.fields(b)),
    }
    parts = np.stack([found[name] for name in ("edge", "gradient", "direction", "dice")])
    return found | {"score": np.nanmean(parts, axis=0)}


def summarise(found: dict[str, np.ndarray]) -> dict[str, Any]:
    """What `moved` gave, ready for JSON: each measure as `{"mean", "std", "ci95", "n"}` over the images that have it, and
    `without_lungs`: in how many no field was found in the input, and in how many it was and is gone from the output.
    """
    dice, shift = found["dice"], found["shift"]
    gone = {"input": int(np.isnan(dice).sum()), "output": int((np.isfinite(dice) & np.isnan(shift)).sum())}
    return {**{name: summary(found[name]) for name in MEASURES}, "n": len(dice), "without_lungs": gone}


def worst(found: dict[str, np.ndarray], count: int) -> list[int]:
    """The places of the `count` images whose anatomy moved most, the worst first; equals in their order."""
    return [int(i) for i in np.argsort(found["score"], kind="stable")[:count]]


def _checked(inputs: Array, outputs: Array, scale: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Both sets as `[n, H, W]`, and the Gaussian's standard deviation in pixels."""
    a, b = planes(inputs), planes(outputs)
    if a.shape != b.shape:
        raise DataError(f"inputs {list(a.shape)} and outputs {list(b.shape)} are not images of one size")
    for name, images in (("input", a), ("output", b)):
        bad = np.flatnonzero(~np.isfinite(images).all((1, 2)))
        if bad.size:
            raise DataError(f"{name} {bad[0]} (counted from 0) has values that are not finite")
    return a, b, max(1.0, scale * a.shape[2])


def _gradients(images: np.ndarray, sigma: float) -> np.ndarray:
    """`[n, 2, H, W]`: derivatives of the Gaussian of `sigma` along rows and columns."""
    along = lambda x, order: ndimage.gaussian_filter(x, sigma, order=order)  # noqa: E731
    return np.stack([np.stack([along(x, (1, 0)), along(x, (0, 1))]) for x in images])


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's over the pixels of each image, `[n]`."""
    a, b = (x - x.mean((1, 2), keepdims=True) for x in (a, b))
    power = [np.mean(x * x, (1, 2)) for x in (a, b)]
    flat = [p < FLAT for p in power]
    found = np.mean(a * b, (1, 2)) / np.sqrt(np.maximum(power[0] * power[1], FLAT**2))
    return np.where(flat[0] | flat[1], 1.0 * (flat[0] & flat[1]), found)
