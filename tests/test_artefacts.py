"""What each artefact metric must see, and what it must not."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy import ndimage

from medjax.metrics import ARTEFACTS, artefacts


@pytest.fixture(scope="module")
def image():
    """A natural-looking field (power falling with frequency), 64 x 80, two of them, in [0, 1]."""
    rng = np.random.default_rng(0)
    field = sum(ndimage.gaussian_filter(rng.normal(size=(2, 64, 80)), (0, s, s)) * s**1.5 for s in (0.5, 1, 2, 4, 8))
    return ((field - field.min()) / np.ptp(field))[..., None].astype(np.float32)


def _grid(image, stride, amplitude):
    rows, columns = np.indices(image.shape[1:3])
    grid = (rows % stride == 0) * 1.0 + (columns % stride == 0) * 1.0
    return image + amplitude * (grid - grid.mean())[None, :, :, None].astype(np.float32)


def _blur(image, sigma=1.0):
    return ndimage.gaussian_filter(image, (0, sigma, sigma, 0))


@pytest.mark.parametrize("name", list(ARTEFACTS))
def test_an_image_against_itself_is_perfect_and_flat_images_are_finite(name, image):
    metric = jax.jit(ARTEFACTS[name])
    np.testing.assert_allclose(metric(image, image), 0 if name == "gmsd" else 1, atol=1e-5)
    flat = np.full_like(image, 0.5)
    np.testing.assert_allclose(metric(flat, flat), 0 if name == "gmsd" else 1, atol=1e-5)
    gradient = jax.jit(jax.grad(lambda x, y: metric(x, y).sum()))
    assert np.isfinite(gradient(flat, image)).all() and np.isfinite(gradient(image, image)).all()


def test_white_noise_has_its_variance_in_every_ring():
    noise = 0.1 * np.random.default_rng(0).normal(size=(32, 64, 96, 1)).astype(np.float32)
    spectrum = np.asarray(artefacts.power_spectrum(noise)).mean(0)
    assert spectrum.shape == (32,)
    np.testing.assert_allclose(spectrum[2:], 0.01, rtol=0.1)
    assert spectrum[4:].mean() == pytest.approx(0.01, rel=0.02)


def test_a_sinusoid_lies_in_its_ring():
    x = np.arange(64) / 64
    wave = np.sin(2 * np.pi * 20 * x)[None, None, :, None] * np.ones((1, 64, 1, 1))
    spectrum = np.asarray(artefacts.power_spectrum(wave))[0]
    assert spectrum.argmax() in (19, 20)  # 20 / 64 cycles per pixel, rings of 1 / 64
    assert np.delete(spectrum, [17, 18, 19, 20, 21, 22]).max() < 1e-3 * spectrum.max()


def test_spectrum_curve_is_the_filter_squared(image):
    noise = np.random.default_rng(0).normal(size=(64, 64, 64, 1)).astype(np.float32)
    filtered = ndimage.gaussian_filter(noise, (0, 1, 1, 0), mode="wrap", truncate=8)
    curve = np.asarray(artefacts.spectrum_curve(filtered, noise)).mean(0)
    frequency = (np.arange(32) + 0.5) / 64
    expected = np.exp(-4 * np.pi**2 * frequency**2)
    np.testing.assert_allclose(curve[2:20], expected[2:20], rtol=0.15)


def test_blur_and_noise_fall_on_either_side_of_one(image):
    noisy = image + 0.05 * np.random.default_rng(1).normal(size=image.shape).astype(np.float32)
    for ratio in (artefacts.spectrum_ratio, artefacts.gradient_ratio):
        assert np.all(ratio(_blur(image), image) < 0.95)
        assert np.all(ratio(noisy, image) > 1.05)
        np.testing.assert_allclose(ratio(image + 0.1, image), 1, rtol=1e-4)  # a shift of grey is no detail


def test_gradient_magnitude_of_a_ramp():
    ramp = np.broadcast_to(np.arange(12.0)[None, :, None, None] * 0.01, (1, 12, 10, 1))
    np.testing.assert_allclose(artefacts.gradient_magnitude(ramp), 0.02, rtol=1e-5)  # two pixels apart


def test_gms_equals_its_formula(image):
    output = _blur(image)[:, :, :, 0].astype(np.float64)
    prewitt = np.array([[1, 0, -1]] * 3) / 3

    def magnitude(z):
        z = z.reshape(32, 2, 40, 2).mean((1, 3))
        return np.hypot(ndimage.convolve(z, prewitt), ndimage.convolve(z, prewitt.T))[1:-1, 1:-1]

    for i in range(2):
        a, b = magnitude(output[i]), magnitude(image[i, ..., 0].astype(np.float64))
        similarity = (2 * a * b + 170 / 255**2) / (a**2 + b**2 + 170 / 255**2)
        assert float(artefacts.gms(output[..., None], image)[i]) == pytest.approx(similarity.mean(), abs=1e-5)
        assert float(artefacts.gmsd(output[..., None], image)[i]) == pytest.approx(similarity.std(), abs=1e-5)


@pytest.mark.parametrize("side", [64, 63, 50])  # 1/2 and 1/4 between two bins as well
def test_checkerboards_are_found_at_their_own_stride(image, side):
    image = image[:, :side, : side + 5]
    two, four = _grid(image, 2, 0.02), _grid(image, 4, 0.05)
    assert np.all(artefacts.checkerboard2(two, image) > 5)
    assert np.all(artefacts.checkerboard4(four, image) > 3)
    np.testing.assert_allclose(artefacts.checkerboard4(two, image), 1, atol=0.15)


def test_blur_is_no_checkerboard_and_white_noise_has_no_line(image):
    assert np.all(np.asarray(artefacts.checkerboard2(_blur(image, 0.7), image)) < 1.5)
    noise = np.random.default_rng(0).normal(size=(16, 64, 64, 1)).astype(np.float32)
    for stride in (2, 4):
        assert np.mean(artefacts.checkerboard_energy(noise, stride=stride)) == pytest.approx(1, abs=0.1)
