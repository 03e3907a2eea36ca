"""Rotation, zoom and elastic deformation: by the stated amount, the same on every image of an example, before it is degraded."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medjax.data import augment, pipeline
from medjax.data.augment import Warp, displaced, random_warp
from medjax.data.degrade import Degradation, downsample
from medjax.data.records import Record, Source
from medjax.rng import generator
from medjax.types import ConfigError, DataError, to_unit

SIDE = 64


def blob(row, column, sigma=3.0, side=SIDE):
    y, x = np.mgrid[:side, :side]
    return np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * sigma**2)).astype(np.float32)[..., None]


def centre(image):
    return np.array(ndimage.center_of_mass(image[..., 0]))


def angle(image, middle=(SIDE - 1) / 2):
    """Degrees of a blob about the middle of the image, from the right, rows growing downwards."""
    y, x = centre(image) - middle
    return np.degrees(np.arctan2(-y, x))


def test_a_rotation_turns_about_the_middle_within_its_limits():
    """The field's own angle is measured on a blob to the right of the middle; distances are kept."""
    image, turned = blob(31.5, 48.0), []
    for seed in range(60):
        out = random_warp({"target": image}, generator(seed), Warp(rotate=15.0))["target"]
        turned.append(angle(out))
        assert np.linalg.norm(centre(out) - 31.5) == pytest.approx(16.5, abs=0.05)
    assert -15 <= min(turned) < -10 and 10 < max(turned) <= 15 and abs(np.mean(turned)) < 4


def test_a_rotation_equals_scipys():
    rng = generator(5)
    degrees = generator(5).uniform(-15, 15)
    image = ndimage.gaussian_filter(np.random.default_rng(0).random((SIDE, SIDE)), 2).astype(np.float32)[..., None]
    found = random_warp({"target": image}, rng, Warp(rotate=15.0))["target"][..., 0]
    by_scipy = ndimage.rotate(image[..., 0], degrees, reshape=False, order=3, mode="mirror")
    other = ndimage.rotate(image[..., 0], -degrees, reshape=False, order=3, mode="mirror")
    assert min(abs(found - by_scipy).max(), abs(found - other).max()) < 1e-5


def test_a_zoom_scales_distances_from_the_middle():
    image, sizes = blob(31.5, 44.0), []
    for seed in range(60):
        out = random_warp({"target": image}, generator(seed), Warp(zoom=0.2))["target"]
        y, x = centre(out)
        assert y == pytest.approx(31.5, abs=0.02)
        sizes.append((x - 31.5) / 12.5)
    assert 0.79 < min(sizes) < 0.87 and 1.13 < max(sizes) < 1.21


@pytest.mark.parametrize("alpha, sigma", [(2.0, 8.0), (0.5, 3.0)])
def test_an_elastic_field_has_the_stated_size_and_smoothness(alpha, sigma):
    shape = (96, 128)
    still = np.mgrid[: shape[0], : shape[1]]
    fields = [displaced(shape, generator(seed), Warp(alpha=alpha, sigma=sigma)) - still for seed in range(8)]
    for field in fields:
        assert np.sqrt(np.mean(field**2)) == pytest.approx(alpha, rel=1e-5)
    assert abs(fields[0] - fields[1]).max() > alpha

    def alike(distance):
        """Correlation of displacements `distance` pixels apart: exp(-d^2 / (4 sigma^2)) of smoothed white noise."""
        return np.mean([np.corrcoef(f[:, :, :-distance].ravel(), f[:, :, distance:].ravel())[0, 1] for f in fields])

    assert alike(round(sigma)) == pytest.approx(np.exp(-0.25), abs=0.1) and alike(round(3.5 * sigma)) < 0.35


def test_every_image_of_an_example_is_deformed_alike():
    disc = (blob(25, 40, 6.0) > 0.5).astype(np.float32)
    soft = 0.9 * blob(25, 40, 6.0)
    images = {"source": np.concatenate([soft * 0.5, soft], -1), "target": soft, "region": disc}
    out = random_warp(images, generator(1), Warp(rotate=15.0, zoom=0.1, alpha=2.0, sigma=8.0))
    np.testing.assert_array_equal(out["source"][..., 1:], out["target"])
    np.testing.assert_allclose(out["source"][..., :1] * 2, out["target"], atol=1e-6)
    assert set(np.unique(out["region"])) == {0.0, 1.0} and abs(out["target"] - soft).max() > 0.1
    assert ((out["target"] > 0.45) == (out["region"] == 1)).mean() > 0.98
    assert all(x.dtype == np.float32 and x.min() >= 0 and x.max() <= 1 for x in out.values())
    with pytest.raises(DataError, match="deformed alike"):
        random_warp({"source": disc[:32], "target": disc}, generator(0), Warp(rotate=1.0))


def test_nothing_is_deformed_by_zeros_and_wrong_amounts_are_refused():
    assert not Warp() and Warp(zoom=0.1) and Warp(alpha=1.0)
    np.testing.assert_array_equal(displaced((5, 6), generator(0), Warp()), np.mgrid[:5, :6])
    for wrong in ({"rotate": -1.0}, {"zoom": 1.0}, {"alpha": -0.1}, {"sigma": 0.0}):
        with pytest.raises(ConfigError, match="they are"):
            Warp(**wrong)


@pytest.fixture
def source():
    records = tuple(Record(f"{i}.png", str(i)) for i in range(4))
    return Source("made", records, lambda i: {"target": blob(20 + 5 * i, 30, 5.0)})


def test_targets_are_deformed_and_then_degraded(source):
    """What the network is given is the reduction of what it is to give."""
    reduced = Degradation(("downsample",), {"downsample": {"factor": 4}})
    options = {"batch_size": 2, "image_size": SIDE, "crop_size": None, "degradation": reduced, "flip": False, "seed": 2}
    warp = Warp(rotate=15.0, zoom=0.1, alpha=1.0, sigma=8.0)
    for batch, _ in zip(pipeline.train_batches(source, range(4), warp=warp, **options)(0), range(4), strict=False):
        for small, target, i in zip(batch["source"], batch["target"], batch["index"], strict=True):
            np.testing.assert_allclose(to_unit(small), downsample(to_unit(target), None, factor=4), atol=1e-6)
            assert abs(to_unit(target) - source.load(int(i))["target"]).max() > 0.05


def test_deformed_batches_continue_to_the_bit_and_move_no_crop(source):
    options = {"batch_size": 2, "image_size": SIDE, "crop_size": 32, "degradation": Degradation(), "seed": 2}
    warped = pipeline.train_batches(source, range(4), warp=Warp(rotate=10.0, alpha=1.0), **options)
    again = pipeline.train_batches(source, range(4), warp=Warp(rotate=10.0, alpha=1.0), **options, threads=0, cache_bytes=0)
    whole = [batch for batch, _ in zip(warped(0), range(5), strict=False)]
    for a, b in zip(whole[2:], again(2), strict=False):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
    hardly = next(pipeline.train_batches(source, range(4), warp=Warp(rotate=1e-4), **options)(0))
    plain = next(pipeline.train_batches(source, range(4), **options)(0))
    np.testing.assert_allclose(hardly["target"], plain["target"], atol=1e-3)


def test_crops_of_unlike_sizes_show_one_place():
    fine = np.arange(64 * 48, dtype=np.float32).reshape(64, 48, 1)
    coarse = fine[::4, ::4]
    for seed in range(20):
        out = augment.random_crop({"source": coarse, "target": fine}, generator(seed), size=16, align=2)
        assert out["source"].shape == (4, 4, 1) and out["target"].shape == (16, 16, 1)
        np.testing.assert_array_equal(out["target"][::4, ::4], out["source"])
