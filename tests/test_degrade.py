"""Each degradation does to an image what its name and parameters say, and nothing else."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from medjax import formats
from medjax.data import degrade as d
from medjax.data.augment import resize
from medjax.rng import generator
from medjax.types import ConfigError

FLAT = np.full((200, 200, 1), 0.5, np.float32)


def dot(size=33):
    image = np.zeros((size, size, 1), np.float32)
    image[size // 2, size // 2] = 1
    return image


@pytest.mark.parametrize("name", [name for name in d.OPERATIONS if name != "downsample"])  # which leaves fewer pixels
def test_every_operation_is_a_pure_function_of_image_and_generator(name):
    image = np.random.default_rng(0).random((24, 31, 1), dtype=np.float32)
    before = image.copy()
    first, second = (d.degrade(image, generator(3, name), steps=[name]) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(image, before)
    assert first.shape == image.shape and first.dtype == np.float32
    assert first.min() >= 0 and first.max() <= 1 and (first != image).any()


def test_gaussian_noise_has_the_stated_level():
    difference = d.gaussian_noise(FLAT, generator(0), sigma=15.0) - FLAT
    assert difference.std() * 255 == pytest.approx(15, rel=0.02) and abs(difference.mean()) < 0.001


@pytest.mark.parametrize("level", [0.1, 0.8])
def test_poisson_noise_has_variance_level_over_dose(level):
    noisy = d.poisson_noise(np.full((200, 200, 1), level, np.float32), generator(0), dose=50)
    assert noisy.mean() == pytest.approx(level, rel=0.01) and noisy.var() == pytest.approx(level / 50, rel=0.05)


@pytest.mark.parametrize("level", [0.2, 0.7])
def test_low_dose_has_the_noise_of_its_counts(level):
    """The logarithm of N counts has a standard deviation of 1 / sqrt(N), and a mean that is higher by 1 / 2N."""
    noisy = d.low_dose(np.full((200, 200, 1), level, np.float32), generator(0), photons=2000, latitude=3.0)
    counts = 2000 * np.exp(-3 * level)
    assert noisy.std() == pytest.approx(1 / (3 * np.sqrt(counts)), rel=0.02)
    assert noisy.mean() == pytest.approx(level + 1 / (6 * counts), abs=5e-4)
    dark = d.low_dose(np.ones((50, 50, 1), np.float32), generator(0), photons=1.0)
    assert np.isfinite(dark).all(), "no photon at all is no infinity"


def test_binomial_blur_is_the_stated_kernel():
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    np.testing.assert_allclose(d.binomial_blur(dot(3), None)[..., 0], kernel, atol=1e-7)
    image = np.random.default_rng(0).random((20, 30, 1), dtype=np.float32)
    reference = ndimage.convolve(image[..., 0].astype(np.float64), kernel, mode="reflect")
    np.testing.assert_allclose(d.binomial_blur(image, None)[..., 0], reference, atol=1e-6)


def test_blurs_have_the_stated_width_and_keep_the_sum():
    y, x = np.mgrid[-16:17, -16:17]
    blurred = d.gaussian_blur(dot(), None, sigma=2.0)[..., 0]
    assert blurred.sum() == pytest.approx(1, abs=1e-4) and (blurred * x**2).sum() == pytest.approx(4, rel=0.02)
    box = d.box_blur(dot(), None, size=5)[..., 0]
    np.testing.assert_allclose(box[14:19, 14:19], 1 / 25, atol=1e-6)
    for angle, along in ((0, x), (90, y)):
        moved = d.motion_blur(dot(), None, length=9, angle=angle)[..., 0]
        assert moved.sum() == pytest.approx(1, abs=1e-4)
        assert (moved * along**2).sum() == pytest.approx((9**2 - 1) / 12, rel=0.15)
        assert (moved * (x + y - along) ** 2).sum() < 0.2
    np.testing.assert_allclose(d.motion_blur(dot(), None, length=1, angle=30), dot(), atol=1e-6)


def test_jpeg_is_the_encoder():
    image = np.random.default_rng(0).random((40, 40, 1), dtype=np.float32)
    buffer = io.BytesIO()
    Image.fromarray(np.rint(image[..., 0] * 255).astype(np.uint8)).save(buffer, format="JPEG", quality=50)
    np.testing.assert_allclose(d.jpeg(image, None)[..., 0] * 255, np.asarray(Image.open(buffer)), atol=1e-4)


def test_contrast_and_resolution():
    image = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8, 1)
    low = d.contrast(image, None, gain=0.5)
    assert (low.min(), low.max()) == (0.25, 0.75)
    y, x = np.mgrid[:64, :64]
    fine = (0.5 + 0.5 * np.cos(np.pi * x))[..., None].astype(np.float32)
    assert d.down_up(fine, None, factor=4)[8:-8, 8:-8].std() < 0.01
    smooth = (0.5 + 0.5 * np.cos(np.pi * x / 32))[..., None].astype(np.float32)
    assert abs(d.down_up(smooth, None, factor=2) - smooth).max() < 0.02


def test_each_step_is_clipped_and_order_matters():
    white = np.ones((64, 64, 1), np.float32)
    noisy = d.degrade(white, generator(0), steps=["gaussian_noise"])
    blurred = d.degrade(white, generator(0), steps=["gaussian_noise", "binomial_blur"])
    np.testing.assert_array_equal(blurred, np.clip(d.binomial_blur(noisy, None), 0, 1))
    assert blurred.mean() == pytest.approx(1 - 15 / 255 / np.sqrt(2 * np.pi), abs=0.002)  # half of the noise is cut off
    assert (d.degrade(white, generator(0), steps=["binomial_blur", "gaussian_noise"]) != blurred).any()
    np.testing.assert_array_equal(d.degrade(white, generator(0), steps=[]), white)


def test_a_pair_of_numbers_is_a_range():
    levels = [
        d.degrade(FLAT, generator(i), steps=["gaussian_noise"], params={"gaussian_noise": {"sigma": (5, 25)}}).std()
        for i in range(40)
    ]
    assert 5 <= min(levels) * 255 < 10 and 20 < max(levels) * 255 <= 25.5


def test_unknown_steps_and_parameters_are_named():
    with pytest.raises(ConfigError, match="did you mean gaussian_noise"):
        d.Degradation(steps=("gausian_noise",))
    with pytest.raises(ConfigError, match="parameter of jpeg"):
        d.Degradation(params={"jpeg": {"qualty": 3}})
    with pytest.raises(ConfigError, match="blurr"):
        d.degrade(FLAT, generator(0), steps=["blurr"])


def test_paper_degradation_of_real_radiographs(real_data):
    """The study's input row: about 31.7 dB at 256."""
    scores = []
    for i, path in enumerate(formats.list_images(real_data / "cxr_nih" / "images_512")[::6]):
        image = resize(formats.read(path)[0], 256)
        scores.append(-10 * np.log10(np.mean((d.degrade(image, generator(0, i)) - image) ** 2)))
    assert np.mean(scores) == pytest.approx(31.7, abs=0.4)
