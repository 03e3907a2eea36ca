"""Jitted evaluation (PSNR and SSIM) against the scikit-image loop, interleaved in one process.

    python -m experiments.benchmarks.evaluation [--size=256] [--images=16] [--repeats=15] [--forms]

Both sides score the same float32 pairs `[n, size, size]`; the medians are of repeats taken in turn, so that a busy
machine burdens both. `--forms` adds other ways of writing SSIM's Gaussian, the reason why `metrics.quality` shifts and
adds. The exit status is 1 where the jitted evaluation is the slower.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from medjax.metrics import quality

SSIM = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}


def skimage_loop(output: np.ndarray, target: np.ndarray) -> np.ndarray:
    """`[2, n]`: PSNR and SSIM by scikit-image, image by image."""
    pairs = list(zip(output[..., 0], target[..., 0], strict=True))
    psnr = [peak_signal_noise_ratio(b, a, data_range=1) for a, b in pairs]
    return np.array([psnr, [structural_similarity(a, b, **SSIM) for a, b in pairs]])


def _convolution(maps: jax.Array) -> jax.Array:
    weights = jnp.asarray(quality.gaussian_window(), jnp.float32)
    for shape in ((-1, 1, 1, 1), (1, -1, 1, 1)):
        maps = jax.lax.conv_general_dilated(
            maps[..., None], weights.reshape(shape), (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )[..., 0]
    return maps


def _banded(maps: jax.Array) -> jax.Array:
    def band(size: int) -> jax.Array:
        window = quality.gaussian_window()
        matrix = np.zeros((size - window.size + 1, size), np.float32)
        for row in range(len(matrix)):
            matrix[row, row : row + window.size] = window
        return jnp.asarray(matrix)

    maps = jnp.einsum("nhw,vw->nhv", maps, band(maps.shape[2]), precision="highest")
    return jnp.einsum("uh,nhv->nuv", band(maps.shape[1]), maps, precision="highest")


def jitted(blur: Callable | None = None) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """`[2, n]`: PSNR and SSIM of medjax, or with another form of the window's Gaussian."""

    @jax.jit
    def score(output, target):
        chosen, quality._blur = quality._blur, blur or quality._blur
        try:  # the swap lasts for the trace only; __wrapped__, lest an earlier trace be reused
            return jnp.stack([quality.psnr(output, target), quality.ssim.__wrapped__(output, target)])
        finally:
            quality._blur = chosen

    return lambda output, target: np.asarray(score(output, target))


def interleave(sides: dict[str, Callable], arguments: Sequence[np.ndarray], repeats: int) -> dict[str, list[float]]:
    """Seconds of each call, the sides in turn, after one warm-up each."""
    for side in sides.values():
        side(*arguments)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            start = time.perf_counter()
            side(*arguments)
            seconds[name].append(time.perf_counter() - start)
    return seconds


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table of milliseconds an image, and the ratio to scikit-image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--forms", action="store_true")
    flags = parser.parse_args(argv)
    rng = np.random.default_rng(0)
    target = rng.uniform(size=(flags.images, flags.size, flags.size, 1)).astype(np.float32)
    output = np.clip(target + rng.normal(0, 0.06, target.shape), 0, 1).astype(np.float32)
    sides = {"scikit-image loop": skimage_loop, "medjax": jitted()}
    if flags.forms:
        sides |= {"medjax, convolution": jitted(_convolution), "medjax, banded matrices": jitted(_banded)}
    reference = skimage_loop(output.astype(np.float64), target.astype(np.float64))
    seconds = interleave(sides, (output, target), flags.repeats)
    base = statistics.median(seconds["scikit-image loop"])
    device = jax.devices()[0].device_kind
    print(f"{flags.images} images of {flags.size}x{flags.size}, {device}, median of {flags.repeats}")
    for name, values in seconds.items():
        error = np.abs(sides[name](output, target) - reference).max(1)
        print(
            f"{name:<24} {1e3 * statistics.median(values) / flags.images:7.2f} ms/image   "
            f"{base / statistics.median(values):5.2f} times as fast   "
            f"largest difference psnr {error[0]:.1e} dB, ssim {error[1]:.1e}"
        )
    return int(statistics.median(seconds["medjax"]) > base)


if __name__ == "__main__":
    sys.exit(main())
