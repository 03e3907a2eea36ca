"""Image quality inside a region (a brain, a lung), before and after the best affine map of the intensities.

Images are float `[B, H, W, 1]` in [0, 1], `region` is float `[B, H, W, 1]` of 0 and 1; every function gives one value
per image, `[B]`, NaN where the region is empty. The `_affine` forms first replace the output by `a * output + b`,
clipped to [0, 1], with the a and b that minimise the squared error inside the region of that image: what is left is an
error of structure and contrast, what it removes is one of calibration.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from medjax.metrics.quality import PSNR_CAP, WINDOW, ssim_map
from medjax.types import Array


def _inside(values: Array, region: Array) -> Array:
    """Mean of `[B, H, W, 1]` over the region, `[B]`."""
    chex.assert_equal_shape([values, region])
    count = region.sum((1, 2, 3))
    return jnp.where(count > 0, (values * region).sum((1, 2, 3)) / jnp.maximum(count, 1), jnp.nan)


@jax.jit
def psnr_inside(output: Array, target: Array, region: Array) -> Array:
    """PSNR `[B]` in dB of the squared error averaged inside the region (data range 1)."""
    return -10 * jnp.log10(jnp.maximum(_inside(jnp.square(output - target), region), 10.0 ** (-PSNR_CAP / 10)))


@jax.jit
def mae_inside(output: Array, target: Array, region: Array) -> Array:
    """Mean absolute error `[B]` inside the region, as a share of the data range."""
    return _inside(jnp.abs(output - target), region)


@jax.jit
def nrmse_inside(output: Array, target: Array, region: Array) -> Array:
    """Root of the squared error over the squared target, both summed inside the region, `[B]`."""
    error, power = _inside(jnp.square(output - target), region), _inside(jnp.square(target), region)
    return jnp.sqrt(error / jnp.maximum(power, 1e-8))


@jax.jit
def ssim_inside(output: Array, target: Array, region: Array) -> Array:
    """SSIM `[B]` (see `quality.ssim`) averaged over the windows whose centre lies inside the region."""
    margin = WINDOW // 2
    centres = region[:, margin:-margin, margin:-margin]
    return _inside(ssim_map(output, target), centres)


@jax.jit
def calibrated(output: Array, target: Array, region: Array) -> Array:
    """`a * output + b` inside the region, clipped to [0, 1], with the least-squares a and b of each image.

    Outside the region the output is kept. An output that is constant there becomes the target's mean.
    """
    mean = lambda x: _inside(x, region)[:, None, None, None]  # noqa: E731
    x, y = output - mean(output), target - mean(target)
    slope = mean(x * y) / jnp.maximum(mean(x * x), 1e-8)
    mapped = jnp.clip(slope * x + mean(target), 0, 1)
    return jnp.where(region > 0, mapped, output)


@jax.jit
def psnr_affine(output: Array, target: Array, region: Array) -> Array:
    """`psnr_inside` after the best affine map of the output."""
    return psnr_inside(calibrated(output, target, region), target, region)


@jax.jit
def ssim_affine(output: Array, target: Array, region: Array) -> Array:
    """`ssim_inside` after the best affine map of the output."""
    return ssim_inside(calibrated(output, target, region), target, region)


REGION = {
    "psnr_inside": psnr_inside,
    "ssim_inside": ssim_inside,
    "mae_inside": mae_inside,
    "nrmse_inside": nrmse_inside,
    "psnr_affine": psnr_affine,
    "ssim_affine": ssim_affine,
}
"""Every metric here by name: `fn(output, target, region) -> [B]`, ready for `evaluate`."""
