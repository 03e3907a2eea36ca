"""Geometry is the same on every image of an example, loses no depth and names what is too small."""

from __future__ import annotations

import numpy as np
import pytest

from medjax.data import augment
from medjax.rng import generator
from medjax.types import ConfigError, DataError


def coordinates(height=40, width=50):
    image = (np.arange(height * width, dtype=np.float32) / (height * width)).reshape(height, width, 1)
    return {"source": image, "target": image + 0.0}


def test_resize_keeps_16_bit_steps_and_constants():
    flat = np.full((30, 20, 1), 12345 / 65535, np.float32)
    np.testing.assert_allclose(augment.resize(flat, (47, 33)) * 65535, 12345, atol=0.02)
    steps = (np.arange(64, dtype=np.float32) / 65535)[None, :, None].repeat(64, 0)
    assert len(np.unique(augment.resize(steps, (64, 128)).round(7))) > 64


def test_resize_shapes_bounds_and_identity():
    image = np.random.default_rng(0).integers(0, 2, (31, 17, 1)).astype(np.float32)
    assert augment.resize(image, 12).shape == (12, 12, 1)
    assert augment.resize(image, (5, 40)).shape == (5, 40, 1)
    enlarged = augment.resize(image, 64)
    assert enlarged.min() >= 0 and enlarged.max() <= 1 and enlarged.dtype == np.float32
    assert augment.resize(image, (31, 17)) is image
    with pytest.raises(ConfigError, match="lancsos"):
        augment.resize(image, 12, resampler="lancsos")


def test_shrinking_does_not_alias():
    fine = np.tile([0.0, 1.0], 64).astype(np.float32)[None, :, None].repeat(128, 0)
    small = augment.resize(fine, (128, 24))
    assert abs(small[:, 3:-3] - 0.5).max() < 0.02


def test_box_halving_is_the_mean_of_blocks():
    image = np.random.default_rng(0).random((16, 16, 1), dtype=np.float32)
    expected = image.reshape(8, 2, 8, 2).mean((1, 3))
    np.testing.assert_allclose(augment.resize(image, 8, resampler="box")[..., 0], expected, atol=1e-6)


def test_crop_and_flip_are_the_same_on_both_images():
    for seed in range(20):
        rng = generator(seed)
        out = augment.random_flip(augment.random_crop(coordinates(), rng, size=32), rng)
        np.testing.assert_array_equal(out["source"], out["target"])
        assert out["source"].shape == (32, 32, 1)


def test_crops_reach_every_corner_and_respect_alignment():
    corners = {
        tuple(
            np.argwhere(
                coordinates()["source"][..., 0]
                == augment.random_crop(coordinates(), generator(s), size=38)["source"][0, 0, 0]
            )[0]
        )
        for s in range(400)
    }
    assert corners == {(top, left) for top in range(3) for left in range(13)}
    for seed in range(30):
        value = augment.random_crop(coordinates(), generator(seed), size=16, align=8)["source"][0, 0, 0]
        top, left = divmod(round(float(value) * 2000), 50)
        assert top % 8 == 0 and left % 8 == 0


def test_half_of_the_images_are_flipped():
    flips = [augment.random_flip(coordinates(4, 4), generator(s))["target"][0, 0, 0] != 0 for s in range(400)]
    assert 0.42 < np.mean(flips) < 0.58


def test_an_image_smaller_than_the_crop_is_named():
    with pytest.raises(DataError, match=r"chest\.png is 40 x 50, smaller than the crop of 48 x 48"):
        augment.random_crop(coordinates(), generator(0), size=48, name="chest.png")
    assert augment.random_crop(coordinates(40, 40), generator(0), size=40)["target"].shape == (40, 40, 1)


def test_channels_are_resized_one_by_one():
    image = np.random.default_rng(0).random((20, 30, 3), dtype=np.float32)
    for size in (12, (40, 25)):
        together = augment.resize(image, size)
        for c in range(3):
            np.testing.assert_array_equal(together[..., c : c + 1], augment.resize(image[..., c : c + 1], size))


def test_a_region_stays_a_mask_and_follows_the_image():
    y, x = np.mgrid[:60, :60]
    disc = ((x - 20) ** 2 + (y - 35) ** 2 < 15**2).astype(np.float32)[..., None]
    for size in (23, 60, 97):
        found = augment.resize_all({"target": disc * 0.8, "region": disc}, size)
        assert set(np.unique(found["region"])) == {0.0, 1.0} and found["region"].dtype == np.float32
        assert found["region"].mean() == pytest.approx(disc.mean(), rel=0.03)
        assert ((found["target"] > 0.4) == (found["region"] == 1)).mean() > 0.985
    np.testing.assert_array_equal(augment.resize_all({"target": disc * 0.3}, 23)["target"], augment.resize(disc * 0.3, 23))
    checks = (np.indices((8, 8)).sum(0) % 2).astype(np.float32)[..., None]
    checks[0, 1] = 0
    halves = augment.resize_all({"region": checks}, 4)["region"]
    assert halves[0, 0] == 0 and halves.sum() == 15  # half of a pixel's area is enough, a quarter is not
