"""Golden values from scikit-image and from arithmetic; invariants; corners; gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from medjax.metrics import quality


def _pair(shape, seed=0, noise=0.1):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.uniform(size=shape), (0, 3, 3, 0))
    target = (smooth - smooth.min()) / np.ptp(smooth)
    return np.clip(target + noise * rng.normal(size=shape), 0, 1).astype(np.float32), target.astype(np.float32)


def _skimage_ssim(a, b):
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    return structural_similarity(a.astype(np.float64), b.astype(np.float64), channel_axis=-1, **options)


@pytest.mark.parametrize("shape", [(2, 64, 64, 1), (2, 47, 80, 3), (1, 11, 33, 1)])
def test_psnr_and_ssim_equal_scikit_image(shape):
    output, target = _pair(shape)
    assert quality.ssim(output, target) == pytest.approx(
        [_skimage_ssim(a, b) for a, b in zip(output, target, strict=True)], abs=1e-5
    )
    assert quality.psnr(output, target) == pytest.approx(
        [peak_signal_noise_ratio(b, a, data_range=1) for a, b in zip(output, target, strict=True)], abs=1e-4
    )


def test_equal_scikit_image_on_real_radiographs(real_data):
    files = sorted((real_data / "cxr_nih" / "images_512").glob("*.png"))[:40:10]
    target = np.stack([np.asarray(Image.open(f).convert("L").resize((256, 256)), np.float32) / 255 for f in files])
    output = np.clip(target + np.random.default_rng(0).normal(0, 15 / 255, target.shape), 0, 1).astype(np.float32)
    got = jax.jit(lambda a, b: (quality.psnr(a, b), quality.ssim(a, b)))(output[..., None], target[..., None])
    ssim = [_skimage_ssim(a[..., None], b[..., None]) for a, b in zip(output, target, strict=True)]
    exact = zip(output.astype(np.float64), target.astype(np.float64), strict=True)
    psnr = [peak_signal_noise_ratio(b, a, data_range=1) for a, b in exact]
    np.testing.assert_allclose(got[0], psnr, atol=1e-5, rtol=1e-6)
    np.testing.assert_allclose(got[1], ssim, atol=1e-5)


@pytest.mark.parametrize("level", [0.0, 0.02, 0.97])
def test_ssim_survives_cancellation_on_flat_images(level):
    # variance 1e-8 on a large mean: E[x^2] - E[x]^2 in float32 is nearly all rounding
    rng = np.random.default_rng(1)
    output, target = (np.clip(level + 1e-4 * rng.normal(size=(1, 40, 40, 1)), 0, 1).astype(np.float32) for _ in "ab")
    assert float(quality.ssim(output, target)[0]) == pytest.approx(_skimage_ssim(output[0], target[0]), abs=1e-5)


def test_arithmetic():
    black, grey = np.zeros((1, 16, 16, 1), np.float32), np.full((1, 16, 16, 1), 0.1, np.float32)
    assert float(quality.psnr(grey, black)[0]) == pytest.approx(20.0, abs=1e-4)  # rms 0.1
    assert float(quality.mae(grey, black)[0]) == pytest.approx(0.1, rel=1e-5)
    # two constants: contrast is 1, luminance (2ab + C1) / (a^2 + b^2 + C1)
    assert float(quality.ssim(grey, black)[0]) == pytest.approx(1e-4 / (0.01 + 1e-4), rel=1e-4)


def test_ssim_of_negated_texture_is_negative_and_never_under_minus_one():
    texture = np.random.default_rng(0).uniform(size=(1, 32, 32, 1)).astype(np.float32)
    value = float(quality.ssim(1 - texture, texture)[0])
    assert -1 <= value < -0.8


def test_identical_images_score_the_cap_and_one():
    image, _ = _pair((2, 32, 32, 1))
    np.testing.assert_allclose(quality.psnr(image, image), quality.PSNR_CAP)
    np.testing.assert_allclose(quality.ssim(image, image), 1, atol=1e-6)
    np.testing.assert_allclose(quality.ms_ssim(image, image), 1, atol=1e-6)
    assert np.all(quality.mae(image, image) == 0)


def test_symmetric_and_ordered_by_noise_and_independent_of_the_batch():
    outputs = [_pair((3, 48, 48, 1), noise=noise) for noise in (0.02, 0.1, 0.3)]
    for metric, sign in ((quality.psnr, 1), (quality.ssim, 1), (quality.ms_ssim, 1), (quality.mae, -1)):
        values = np.stack([metric(*pair) for pair in outputs])
        assert np.all(np.diff(sign * values, axis=0) < 0)
        output, target = outputs[1]
        np.testing.assert_allclose(metric(target, output), values[1], atol=1e-5)
        np.testing.assert_allclose(metric(output[1:2], target[1:2]), values[1, 1:2], rtol=1e-5)


def _numpy_ms_ssim(a, b, scales):
    """Wang's loop in float64 with scipy's filters."""

    def blur(z):
        return ndimage.gaussian_filter(z, 1.5, truncate=3.4)[5:-5, 5:-5]

    a, b, factors = a.astype(np.float64), b.astype(np.float64), []
    for scale in range(scales):
        ua, ub = blur(a), blur(b)
        va, vb, cov = blur(a * a) - ua**2, blur(b * b) - ub**2, blur(a * b) - ua * ub
        contrast = (2 * cov + 9e-4) / (va + vb + 9e-4)
        last = scale == scales - 1
        factors.append(np.mean(contrast * (2 * ua * ub + 1e-4) / (ua**2 + ub**2 + 1e-4) if last else contrast))
        a, b = (np.pad(z, [(0, s % 2) for s in z.shape], mode="symmetric") for z in (a, b))
        a, b = ((z[::2, ::2] + z[1::2, ::2] + z[::2, 1::2] + z[1::2, 1::2]) / 4 for z in (a, b))
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:scales]
    return np.prod(np.array(factors) ** (weights / weights.sum()))


@pytest.mark.parametrize(("side", "scales"), [(161, 5), (65, 3), (32, 2), (20, 1)])
def test_ms_ssim_equals_wangs_loop(side, scales):
    output, target = _pair((1, side, side, 1))
    assert quality.num_scales(side, side + 7) == scales
    expected = _numpy_ms_ssim(output[0, ..., 0], target[0, ..., 0], scales)
    assert float(quality.ms_ssim(output, target)[0]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("metric", [quality.psnr, quality.ssim, quality.ms_ssim, quality.mae])
def test_gradients_are_finite_everywhere(metric):
    gradient = jax.jit(jax.grad(lambda x, y: metric(x, y).sum()))
    flat, noisy = np.full((1, 32, 32, 1), 0.5, np.float32), _pair((1, 32, 32, 1))[0]
    for output, target in ((flat, flat), (flat * 0, flat * 0), (noisy, noisy), (1 - noisy, noisy), (flat, noisy)):
        assert np.all(np.isfinite(gradient(output, target)))


def test_ssim_gradient_equals_finite_differences():
    output, target = _pair((1, 32, 32, 1))
    direction = np.random.default_rng(3).normal(size=output.shape).astype(np.float32)
    slope = jnp.vdot(jax.grad(lambda x: quality.ssim(x, target).sum())(output), direction)
    step = 3e-3
    above, below = (_skimage_ssim((output + s * direction)[0], target[0]) for s in (step, -step))
    assert float(slope) == pytest.approx((above - below) / (2 * step), rel=0.02)


def test_wrong_shapes_are_refused():
    image = np.zeros((1, 16, 16, 1), np.float32)
    for bad in (image[0], image[:, :8], np.zeros((1, 10, 16, 1), np.float32)):
        with pytest.raises(AssertionError):
            quality.ssim(bad, image if bad.shape[1] != 10 else bad)
