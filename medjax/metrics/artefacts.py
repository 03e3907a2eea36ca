"""Sharpness and artefacts: what PSNR and SSIM forgive, over-smoothing and checkerboards, measured against the target.

Images are float `[B, H, W, C]` in [0, 1]; each metric gives one float32 value per image, `[B]`. A *ratio* is output
over target: 1 is right, below 1 is smoother than the target, above 1 has detail, noise or a grid that the target has
not.
"""

from __future__ import annotations

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np

from medjax.metrics.quality import _check
from medjax.types import Array

EPS = 1e-8  # added to both sides of a ratio of powers: two flat images have ratio 1
GMS_C = 170.0 / 255.0**2  # Xue et al. 2014, section III, for images in [0, 1]


@functools.partial(jax.jit, static_argnames="bins")
def power_spectrum(image: Array, *, bins: int | None = None) -> Array:
    """Radially averaged power `[B, bins]` of `[B, H, W, C]`, from frequency 0 to 0.5 cycles per pixel in equal rings.

    The mean is removed and a Hann window applied (so that the image's borders do not pose as detail); the power is per
    pixel, such that white noise of variance v has power v in every ring. `bins` defaults to half the shorter side.
    """
    chex.assert_rank(image, 4)
    _, height, width, _ = image.shape
    bins = bins or min(height, width) // 2
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])[None, :, :, None]
    image = jnp.asarray(image, jnp.float32)
    image = (image - image.mean((1, 2), keepdims=True)) * jnp.asarray(window, jnp.float32)
    power = jnp.square(jnp.abs(jnp.fft.rfft2(image, axes=(1, 2)))) / np.square(window).sum()
    rings = jnp.asarray(_ring_weights(height, width, bins))
    return jnp.matmul(power.mean(-1).reshape(image.shape[0], -1), rings, precision="highest")


def _ring_weights(height: int, width: int, bins: int) -> np.ndarray:
    """The averaging matrix `[H * (W // 2 + 1), bins]`; frequencies beyond 0.5 (the corners) belong to no ring."""
    vertical, horizontal = np.fft.fftfreq(height), np.fft.rfftfreq(width)
    ring = np.floor(np.hypot(vertical[:, None], horizontal[None]) * 2 * bins - 1e-9).astype(int).ravel().clip(0)
    # rfft keeps one of each conjugate pair: columns strictly between 0 and Nyquist stand for two
    twice = np.where((horizontal > 0) & (horizontal < 0.5), 2.0, 1.0)
    count = np.broadcast_to(twice, (height, horizontal.size)).ravel()
    weights = (ring[:, None] == np.arange(bins)) * count[:, None]
    return (weights / np.maximum(weights.sum(0), 1)).astype(np.float32)


@functools.partial(jax.jit, static_argnames="bins")
def spectrum_curve(output: Array, target: Array, *, bins: int | None = None) -> Array:
    """Radially averaged power of the output over that of the target, `[B, bins]`, from 0 to 0.5 cycles per pixel."""
    output, target = _check(output, target)
    return (power_spectrum(output, bins=bins) + EPS) / (power_spectrum(target, bins=bins) + EPS)


@functools.partial(jax.jit, static_argnames=("low", "high"))
def spectrum_ratio(output: Array, target: Array, *, low: float = 0.25, high: float = 0.5) -> Array:
    """Mean power of the rings between `low` and `high` cycles per pixel, output over target, `[B]`; below 1 is blur."""
    output, target = _check(output, target)
    bins = min(output.shape[1:3]) // 2
    centre = (np.arange(bins) + 0.5) / (2 * bins)
    band = jnp.asarray((centre >= low) & (centre <= high), jnp.float32)
    band = band / jnp.maximum(band.sum(), 1)
    return ((power_spectrum(output) * band).sum(1) + EPS) / ((power_spectrum(target) * band).sum(1) + EPS)


@jax.jit
def gradient_magnitude(image: Array) -> Array:
    """Prewitt gradient magnitude `[B, H - 2, W - 2, C]` of `[B, H, W, C]` (kernels over 3: Xue et al. 2014, eq. 1)."""
    chex.assert_rank(image, 4)
    columns = (image[:, :-2] + image[:, 1:-1] + image[:, 2:]) / 3
    rows = (image[:, :, :-2] + image[:, :, 1:-1] + image[:, :, 2:]) / 3
    across = columns[:, :, 2:] - columns[:, :, :-2]
    down = rows[:, 2:] - rows[:, :-2]
    # the floor inside the root keeps the gradient finite where the image is flat
    return jnp.sqrt(across**2 + down**2 + 1e-12)


@jax.jit
def gradient_ratio(output: Array, target: Array) -> Array:
    """Mean gradient magnitude, output over target, `[B]`; below 1 is softer edges, above 1 is noise or sharpening."""
    output, target = _check(output, target)
    mean = lambda image: gradient_magnitude(image).mean((1, 2, 3)) + EPS  # noqa: E731
    return mean(output) / mean(target)


@jax.jit
def gms_map(output: Array, target: Array) -> Array:
    """Gradient magnitude similarity per pixel, in (0, 1], after 2x2 means (Xue et al. 2014, eq. 3)."""
    output, target = _check(output, target)
    a, b = gradient_magnitude(_pool(output)), gradient_magnitude(_pool(target))
    return (2 * a * b + GMS_C) / (a**2 + b**2 + GMS_C)


@jax.jit
def gms(output: Array, target: Array) -> Array:
    """Mean gradient magnitude similarity `[B]`, in (0, 1], 1 for equal gradients (Xue et al. 2014, eq. 4)."""
    return gms_map(output, target).mean((1, 2, 3))


@jax.jit
def gmsd(output: Array, target: Array) -> Array:
    """Gradient magnitude similarity deviation `[B]`, 0 for equal gradients; lower is better (Xue et al., eq. 5)."""
    variance = gms_map(output, target).var((1, 2, 3))
    return jnp.sqrt(variance + 1e-12) - 1e-6


@functools.partial(jax.jit, static_argnames="stride")
def checkerboard_energy(image: Array, *, stride: int = 2) -> Array:
    """Power on the lines of frequency 1/stride (vertical and horizontal) over that of the lines beside them, `[B]`.

    The grid that a stride-`stride` transposed convolution leaves (Odena et al. 2016) puts power at (1/stride, any) and
    (any, 1/stride); an image without it has about 1. H and W at least 32. The line is one bin either side of
    1/stride, which a Hann window smears it to; the neighbours are bins 3 to 8 away, on both sides where there are two.
    """
    chex.assert_rank(image, 4)
    image = jnp.asarray(image, jnp.float32)
    return (_line_excess(image, stride) + _line_excess(jnp.swapaxes(image, 1, 2), stride)) / 2


def _line_excess(image: Array, stride: int) -> Array:
    width = image.shape[2]
    chex.assert_axis_dimension_gteq(image, 2, 32)
    window = jnp.asarray(np.hanning(width + 2)[1:-1], jnp.float32)[None, None, :, None]
    rows = (image - image.mean(2, keepdims=True)) * window
    # all vertical frequencies of column 1/stride together: by Parseval, the mean over rows of each row's spectrum
    power = jnp.square(jnp.abs(jnp.fft.rfft(rows, axis=2))).mean((1, 3)) / width
    distance = np.abs(np.arange(width // 2 + 1) - width / stride)
    line, beside = distance <= 1, (distance >= 3) & (distance <= 8)
    return (power[:, line].mean(1) + EPS) / (power[:, beside].mean(1) + EPS)


@functools.partial(jax.jit, static_argnames="stride")
def checkerboard_ratio(output: Array, target: Array, *, stride: int = 2) -> Array:
    """`checkerboard_energy` of the output over that of the target, `[B]`; above 1 is a grid the target has not."""
    output, target = _check(output, target)
    return checkerboard_energy(output, stride=stride) / checkerboard_energy(target, stride=stride)


@jax.jit
def checkerboard2(output: Array, target: Array) -> Array:
    """`checkerboard_ratio` at stride 2: the last upsampling's grid."""
    return checkerboard_ratio(output, target, stride=2)


@jax.jit
def checkerboard4(output: Array, target: Array) -> Array:
    """`checkerboard_ratio` at stride 4: the last but one upsampling's grid."""
    return checkerboard_ratio(output, target, stride=4)


def _pool(image: Array) -> Array:
    height, width = image.shape[1] // 2 * 2, image.shape[2] // 2 * 2
    image = image[:, :height, :width]
    return image.reshape(image.shape[0], height // 2, 2, width // 2, 2, -1).mean((2, 4))
