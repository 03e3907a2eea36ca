"""Full-reference image quality: PSNR, SSIM, MS-SSIM, MAE.

Images are float `[B, H, W, C]` in [0, 1] (data_range 1, the *dataset's* range); each function gives one float32 value
per image, `[B]`. Everything is differentiable with finite gradients everywhere, flat regions and identical images
included, so `1 - ssim(...)` can be used as a loss.
"""

from __future__ import annotations

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np

from medjax.types import Array

PSNR_CAP = 100.0  # dB; identical images would score infinity, which no mean, interval or JSON file can hold
WINDOW, SIGMA, K1, K2 = 11, 1.5, 0.01, 0.03
MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def _check(output: Array, target: Array) -> tuple[Array, Array]:
    chex.assert_rank([output, target], 4)
    chex.assert_equal_shape([output, target])
    return jnp.asarray(output, jnp.float32), jnp.asarray(target, jnp.float32)


@jax.jit
def mse(output: Array, target: Array) -> Array:
    """Mean squared error `[B]` of `[B, H, W, C]` images in [0, 1]."""
    output, target = _check(output, target)
    return jnp.mean(jnp.square(output - target), axis=(1, 2, 3))


@jax.jit
def mae(output: Array, target: Array) -> Array:
    """Mean absolute error `[B]`, as a share of the data range, of `[B, H, W, C]` images in [0, 1]."""
    output, target = _check(output, target)
    return jnp.mean(jnp.abs(output - target), axis=(1, 2, 3))


@jax.jit
def nrmse(output: Array, target: Array) -> Array:
    """Root of the summed squared error over the summed squared target, `[B]`, of `[B, H, W, C]` images in [0, 1].

    The normalisation of the fastMRI challenge (NMSE, its root taken); an all-zero target is taken as 1e-8.
    """
    power = jnp.mean(jnp.square(jnp.asarray(target, jnp.float32)), axis=(1, 2, 3))
    return jnp.sqrt(mse(output, target) / jnp.maximum(power, 1e-8))


@jax.jit
def psnr(output: Array, target: Array) -> Array:
    """Peak signal-to-noise ratio `[B]` in dB, `-10 log10(mse)`, of `[B, H, W, C]` images in [0, 1].

    The error is floored so that no image scores above `PSNR_CAP` (100 dB: below one step of a 16-bit file): identical
    images score the cap, with zero gradient, where scikit-image returns infinity.
    """
    return -10.0 * jnp.log10(jnp.maximum(mse(output, target), 10.0 ** (-PSNR_CAP / 10)))


@jax.jit
def ssim(output: Array, target: Array) -> Array:
    """Structural similarity `[B]`, at most 1, of `[B, H, W, C]` images in [0, 1], H and W at least 11.

    Wang et al. 2004, eq. 13: Gaussian window 11x11 with sigma 1.5, population covariance, K1 = 0.01, K2 = 0.03,
    averaged over the windows that lie inside the image, then over channels. Equal to scikit-image's
    `structural_similarity(..., gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1)` to 1e-5.
    """
    output, target = _check(output, target)
    luminance, contrast = _ssim_maps(output, target)
    return _mean(luminance * contrast, channels=output.shape[-1])


@jax.jit
def ssim_map(output: Array, target: Array) -> Array:
    """SSIM of each window inside the image, `[B, H - 10, W - 10, C]`; see `ssim`."""
    output, target = _check(output, target)
    luminance, contrast = _ssim_maps(output, target)
    maps = (luminance * contrast).reshape(output.shape[0], output.shape[-1], *luminance.shape[1:])
    return jnp.moveaxis(maps, 1, -1)


def num_scales(height: int, width: int) -> int:
    """How many dyadic scales (1 to 5) leave the coarsest image at least as large as the 11x11 window."""
    scales = 1
    while scales < len(MS_WEIGHTS) and (min(height, width) + (1 << scales) - 1) >> scales >= WINDOW:
        scales += 1
    return scales


@functools.partial(jax.jit, static_argnames="scales")
def ms_ssim(output: Array, target: Array, *, scales: int | None = None) -> Array:
    """Multi-scale SSIM `[B]` in [0, 1] of `[B, H, W, C]` images in [0, 1], H and W at least 11.

    Wang, Simoncelli and Bovik 2003, eq. 7: contrast-structure at every scale, luminance at the coarsest, halved by 2x2
    means (an odd edge is repeated). Five scales where the size allows (161 pixels and more), else as many as fit, with
    the published weights renormalised to sum to one. Negative factors count as zero, as is usual.
    """
    output, target = _check(output, target)
    scales = num_scales(*output.shape[1:3]) if scales is None else scales
    weights = np.asarray(MS_WEIGHTS[:scales]) / sum(MS_WEIGHTS[:scales])
    value = jnp.float32(1.0)
    for scale, weight in enumerate(weights):
        if scale:
            output, target = _halve(output), _halve(target)
        luminance, contrast = _ssim_maps(output, target)
        factor = luminance * contrast if scale == scales - 1 else contrast
        # per channel, because the product over scales is not linear; the floor keeps the gradient of x**w finite
        value = value * jnp.maximum(factor.mean((1, 2)), 1e-6) ** weight
    return value.reshape(output.shape[0], output.shape[-1]).mean(1)


def gaussian_window() -> np.ndarray:
    """The 11 weights of SSIM's window along one axis; float64, symmetric, sum 1."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-0.5 * np.square(offsets / SIGMA))
    return weights / weights.sum()


def _ssim_maps(output: Array, target: Array) -> tuple[Array, Array]:
    """The luminance and the contrast-structure term, `[B * C, H - 10, W - 10]` each."""
    chex.assert_axis_dimension_gteq(output, 1, WINDOW)
    chex.assert_axis_dimension_gteq(output, 2, WINDOW)
    # Variances do not change with a shift of the origin; centred values lose less to float32 cancellation.
    x, y = _planes(output) - 0.5, _planes(target) - 0.5
    # Four maps in one array, not five apart: only the sum of the two variances is ever needed.
    maps = _blur(jnp.concatenate([x, y, x * x + y * y, x * y]))
    mean_x, mean_y, squares, product = jnp.split(maps, 4)
    variances = squares - mean_x**2 - mean_y**2
    covariance = product - mean_x * mean_y
    mean_x, mean_y = mean_x + 0.5, mean_y + 0.5
    luminance = (2 * mean_x * mean_y + K1**2) / (mean_x**2 + mean_y**2 + K1**2)
    return luminance, (2 * covariance + K2**2) / (variances + K2**2)


def _planes(image: Array) -> Array:
    """`[B, H, W, C]` -> `[B * C, H, W]`."""
    return jnp.moveaxis(image, -1, 1).reshape(-1, *image.shape[1:3])


def _mean(maps: Array, *, channels: int) -> Array:
    return maps.reshape(-1, channels, *maps.shape[1:]).mean((1, 2, 3))


@jax.custom_vjp
def _blur(maps: Array) -> Array:
    """Gaussian 11x11 over the valid windows of `[N, H, W]`, by shifts and additions along each axis.

    XLA:CPU fuses this into one pass per axis, ten times faster than its depthwise convolution; no TF32 on a GPU either.
    """
    weights = gaussian_window()
    for axis in (1, 2):
        size = maps.shape[axis] - WINDOW + 1
        shifted = [jax.lax.slice_in_dim(maps, i, i + size, axis=axis) for i in range(WINDOW)]
        half = WINDOW // 2
        maps = float(weights[half]) * shifted[half]
        maps += sum(float(weights[i]) * (shifted[i] + shifted[-1 - i]) for i in range(half))
    return maps


def _blur_forward(maps: Array) -> tuple[Array, None]:
    return _blur(maps), None


def _blur_backward(_: None, gradient: Array) -> tuple[Array]:
    # The window is symmetric, so the adjoint is the same blur of the padded gradient; autodiff would scatter 22 times.
    margin = WINDOW - 1
    return (_blur(jnp.pad(gradient, ((0, 0), (margin, margin), (margin, margin)))),)


_blur.defvjp(_blur_forward, _blur_backward)


def _halve(image: Array) -> Array:
    batch, height, width, channels = image.shape
    image = jnp.pad(image, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return image.reshape(batch, (height + 1) // 2, 2, (width + 1) // 2, 2, channels).mean((2, 4))
