"""Degradation under jit: the steps of `medjax.data.degrade`, which is the reference, as functions of a key and an image.

Images are float32 `[H, W, C]` in [0, 1]; noise levels are in units of 255 and lengths are pixels, as there. Steps in which
nothing is drawn agree with the reference up to rounding, JPEG up to ties (see `medjax.images.jpeg`); noise has the same
distribution from another generator. Parameters may be traced, but for those in `FIXED`, which shape the computation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax.images.jpeg import jpeg
from medjax.rng import named
from medjax.types import Array, ConfigError, Key

_KERNELS = {"bilinear": "linear", "bicubic": "cubic", "lanczos": "lanczos3"}
FIXED = {"box_blur": ("size",), "down_up": ("factor", "resampler"), "downsample": ("factor", "resampler")}
"""Parameters by step that no range can be given for."""


def gaussian_noise(key: Key, image: Array, *, sigma: Array = 15.0) -> Array:
    """Adds white Gaussian noise of standard deviation `sigma` / 255."""
    return image + sigma / 255 * jax.random.normal(key, image.shape, image.dtype)


def poisson_noise(key: Key, image: Array, *, dose: Array = 200.0) -> Array:
    """Quantum noise: `dose` photons on average where the image is 1; the variance is image / dose."""
    return jax.random.poisson(key, image * dose).astype(image.dtype) / dose


def low_dose(key: Key, image: Array, *, photons: Array = 500.0, latitude: Array = 3.0) -> Array:
    """A radiograph of few photons: `photons` on average where the film is black, exp(-latitude) of them where it is white."""
    counts = jax.random.poisson(key, photons * jnp.exp(-latitude * image)).astype(image.dtype)
    return jnp.log(photons / jnp.maximum(counts, 0.5)) / latitude


def gaussian_blur(key: Key, image: Array, *, sigma: Array = 1.0, widest: float | None = None) -> Array:
    """Gaussian blur of `sigma` pixels cut off at 4 sigma, borders mirrored; `widest`: the largest sigma, where it is traced."""
    radius = int(4 * (sigma if widest is None else widest) + 0.5)
    places = np.arange(-radius, radius + 1)
    weights = jnp.where(abs(places) <= jnp.floor(4 * sigma + 0.5), jnp.exp(-0.5 * jnp.square(places / sigma)), 0)
    weights = (weights / weights.sum()).astype(image.dtype)
    return _along(_along(image, weights, 0), weights, 1)


def binomial_blur(key: Key, image: Array) -> Array:
    """The 3x3 blur with kernel [1 2 1]/4 in each direction, borders mirrored."""
    weights = np.array([0.25, 0.5, 0.25], image.dtype)
    return _along(_along(image, weights, 0), weights, 1)


def box_blur(key: Key, image: Array, *, size: int = 3) -> Array:
    """Mean over `size` x `size` pixels, borders mirrored."""
    weights = np.full(int(size), 1 / int(size), image.dtype)
    return _along(_along(image, weights, 0), weights, 1)


def _along(image: Array, weights: Array, axis: int) -> Array:
    """The correlation with `weights` along an axis, the middle of an even number being the right one of two."""
    before, count = len(weights) // 2, image.shape[axis]
    padding = [(0, 0)] * image.ndim
    padding[axis] = (before, len(weights) - 1 - before)
    padded = jnp.pad(image, padding, mode="symmetric")
    shifted = (jax.lax.slice_in_dim(padded, i, i + count, axis=axis) for i in range(len(weights)))
    return sum(weight * part for weight, part in zip(weights, shifted, strict=True))


def contrast(key: Key, image: Array, *, gain: Array = 0.6) -> Array:
    """Scales distances from mid-grey: 0.5 + gain (image - 0.5)."""
    return 0.5 + gain * (image - 0.5)


def resized(image: Array, shape: tuple[int, int], *, resampler: str = "lanczos") -> Array:
    """`[height, width, C]` by Pillow's kernels, widened where the image shrinks; clipped to [0, 1]."""
    method = _kernel(resampler)
    if image.shape[:2] == tuple(shape):
        return image
    made = jax.image.resize(image, (*shape, image.shape[-1]), method, precision=jax.lax.Precision.HIGHEST)
    return jnp.clip(made, 0, 1)


def _kernel(resampler: str) -> str:
    if resampler not in _KERNELS:
        raise ConfigError(f"the resampler {resampler!r} has no form on a device; there are {', '.join(_KERNELS)}")
    return _KERNELS[resampler]


def down_up(key: Key, image: Array, *, factor: float = 2.0, resampler: str = "bicubic") -> Array:
    """Resolution lost: shrunk by `factor` and brought back to its size."""
    height, width = image.shape[:2]
    small = max(1, round(height / factor)), max(1, round(width / factor))
    return resized(resized(image, small, resampler=resampler), (height, width), resampler=resampler)


def downsample(key: Key, image: Array, *, factor: int = 4, resampler: str = "bicubic") -> Array:
    """`[H, W, C]` to `[H / factor, W / factor, C]`, antialiased; `factor` divides both sides."""
    height, width = image.shape[:2]
    return resized(image, (height // factor, width // factor), resampler=resampler)


OPERATIONS: dict[str, Callable[..., Array]] = {
    operation.__name__: operation
    for operation in (
        gaussian_noise, poisson_noise, low_dose, gaussian_blur, binomial_blur, box_blur, jpeg, contrast, down_up, downsample,
    )
}  # fmt: skip


def prefiltered(image: Array, kind: str) -> Array:
    """An input `[H, W, C]` after the filter `kind` of `data.degrade.PREFILTERS`; "" leaves it as it is."""
    if kind == "gaussian":
        return gaussian_blur(None, image)
    if kind == "median":
        height, width, _ = image.shape
        padded = jnp.pad(image, ((1, 1), (1, 1), (0, 0)), mode="symmetric")
        return jnp.median(jnp.stack([padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]), axis=0)
    return image


def degrade(
    key: Key, image: Array, *, steps: Sequence[str], params: Mapping[str, Mapping[str, Any]] | None = None, start: int = 0
) -> Array:
    """`[H, W, C]` in [0, 1] after `steps` in their order from number `start` on, clipped to [0, 1] after each.

    key: of the image; each step draws from a stream of its name and number. params: {step: {parameter: value}}; a pair of
    numbers is a range from which a value is drawn uniformly. Raises as `check` does.
    """
    params = params or {}
    check(steps, params)
    for number, step in list(enumerate(steps))[start:]:
        own = jax.random.fold_in(named(key, step), number)
        values = {name: _drawn(named(own, name), value) for name, value in params.get(step, {}).items()}
        sigma = params.get(step, {}).get("sigma")
        if step == "gaussian_blur" and isinstance(sigma, (tuple, list)):
            values["widest"] = max(sigma)
        image = jnp.clip(OPERATIONS[step](named(own, "pixels"), image, **values), 0, 1).astype(image.dtype)
    return image


def check(steps: Sequence[str], params: Mapping[str, Mapping[str, Any]]) -> None:
    """ConfigError naming a step, a resampler or a drawn parameter that has no form on a device."""
    for step in steps:
        if step not in OPERATIONS:
            raise ConfigError(f"the degradation step {step} has no form on a device; those that have are {', '.join(OPERATIONS)}")
        for name, value in params.get(step, {}).items():
            if name in FIXED.get(step, ()) and isinstance(value, (tuple, list)):
                raise ConfigError(f"on a device {step} takes one {name}, not a range from which it is drawn, {tuple(value)}")
            if name == "resampler":
                _kernel(value)


def _drawn(key: Key, value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        low, high = value
        return jax.random.uniform(key, (), jnp.float32, low, high)
    return value
