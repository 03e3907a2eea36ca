"""Diversity, nearest neighbours and the sliced Wasserstein distance, against brute force and scipy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from medjax.metrics import diversity, ms_ssim, sliced
from medjax.types import DataError

pytestmark = pytest.mark.usefixtures("quick_compile")


def closeness(a, b):
    return 1 - np.abs(a - b).mean((1, 2, 3))


def pictures(n, seed=0, side=32):
    rng = np.random.default_rng(seed)
    waves = np.sin(np.arange(side) * rng.uniform(0.1, 0.9, (n, 1)))
    grey = 0.5 + 0.4 * waves[:, :, None] * waves[:, None, ::-1] + 0.05 * rng.normal(size=(n, side, side))
    return grey[..., None].astype(np.float32)


# ------------------------------------------------------------------------------------------------ pairs


def test_pairs_are_different_and_independent_as_long_as_they_can_be():
    for n, count in ((10, 5), (11, 5), (10, 45), (10, 99), (3, 3), (2, 7)):
        pairs = diversity.random_pairs(n, count)
        assert len(pairs) == min(count, n * (n - 1) // 2)
        assert len({tuple(p) for p in pairs.tolist()}) == len(pairs) and np.all(pairs[:, 0] < pairs[:, 1]) and pairs.max() < n
        if count <= n // 2:
            assert len(np.unique(pairs)) == 2 * count
    np.testing.assert_array_equal(diversity.random_pairs(50, 20, seed=1), diversity.random_pairs(50, 20, seed=1))
    assert np.any(diversity.random_pairs(50, 20, seed=1) != diversity.random_pairs(50, 20, seed=2))
    with pytest.raises(DataError, match="two images or more are needed to compare, not 1"):
        diversity.random_pairs(1, 3)


def test_similarity_of_all_pairs_equals_brute_force():
    images = pictures(9)
    found = diversity.pair_similarity(images, pairs=1000, measure=closeness)
    expected = [1 - np.abs(a - b).mean() for a, b in itertools.combinations(images.astype(np.float64), 2)]
    np.testing.assert_allclose(np.sort(found), np.sort(expected), rtol=1e-5)
    ours = diversity.pair_similarity(images, pairs=4)
    pairs = diversity.random_pairs(9, 4)
    np.testing.assert_allclose(ours, ms_ssim(images[pairs[:, 0]], images[pairs[:, 1]]), rtol=1e-5)


def test_a_collapsed_class_has_similarity_one_and_the_others_their_own():
    images, labels = pictures(30), np.repeat([0, 1, 2], (14, 15, 1))
    images[:14] = images[0]
    found = diversity.class_similarity(images, labels, measure=closeness, pairs=300)
    assert set(found) == {0, 1}  # one image has no pair
    assert found[0]["mean"] == 1 and found[0]["n"] == 14 * 13 // 2 and found[1]["n"] == 15 * 14 // 2
    expected = [1 - np.abs(a - b).mean() for a, b in itertools.combinations(images[14:29].astype(np.float64), 2)]
    assert found[1]["mean"] == pytest.approx(np.mean(expected), rel=1e-5)
    assert found[1]["ci95"][0] < found[1]["mean"] < found[1]["ci95"][1] < 1


# ------------------------------------------------------------------------------------------------ neighbours


def test_nearest_equals_brute_force():
    rng = np.random.default_rng(0)
    vectors, among = rng.normal(size=(40, 7)), rng.normal(size=(60, 7)) + 100
    index, distance = diversity.nearest(vectors, among)
    table = np.sqrt(np.square(vectors[:, None] - among).mean(-1))
    np.testing.assert_array_equal(index, table.argmin(1))
    np.testing.assert_allclose(distance, table.min(1), rtol=1e-12)


def test_a_copy_is_found_at_distance_zero():
    among = np.random.default_rng(0).normal(size=(50, 30)) * 1e-3 + 1e3
    index, distance = diversity.nearest(among[[7, 49]], among)
    assert index.tolist() == [7, 49] and not distance.any()
    with pytest.raises(DataError, match=r"not \(2, 30\) and \(50, 29\)"):
        diversity.nearest(among[:2], among[:, :29])


def test_memorisation_tells_copies_from_new_images():
    rng = np.random.default_rng(0)
    train, held_out, new = (rng.normal(size=(n, 5)) for n in (200, 300, 300))
    copies = train[rng.integers(200, size=100)] + 1e-6
    copied, fresh = (diversity.memorisation(x, train, held_out) for x in (copies, new))
    assert copied["ratio"] < 1e-4 and copied["closer"] == 1
    assert fresh["ratio"] == pytest.approx(1, abs=0.15) and fresh["closer"] == pytest.approx(0.05, abs=0.05)
    table = np.sqrt(np.square(held_out[:, None] - train).mean(-1)).min(1)
    assert fresh["held_out"]["mean"] == pytest.approx(table.mean()) and fresh["held_out"]["n"] == 300
    np.testing.assert_array_equal(copied["index"], diversity.nearest(copies, train)[0])
    with pytest.raises(DataError, match="no generated or no held-out image"):
        diversity.memorisation(copies, train, held_out[:0])


def test_pixels_are_means_over_boxes():
    image = np.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_allclose(diversity.pixels(image, side=2), [[2.5, 4.5, 10.5, 12.5]])
    with pytest.raises(DataError, match="4x4 cannot be averaged to 3x3"):
        diversity.pixels(image, side=3)


# ------------------------------------------------------------------------------------------------ sliced Wasserstein


def test_pyramid_adds_up_to_the_image():
    images = pictures(3, side=64)
    levels = sliced.pyramid(images)
    assert [level.shape[1] for level in levels] == [64, 32, 16]
    whole = levels[-1]
    for band in levels[-2::-1]:
        whole = band + sliced.enlarged(whole)
    np.testing.assert_allclose(whole, images, atol=1e-6)
    flat = sliced.pyramid(np.full((1, 64, 64, 1), 0.3, np.float32))
    np.testing.assert_allclose(flat[-1], 0.3, rtol=1e-6)
    assert np.abs(flat[0]).max() < 1e-6


def test_patches_are_pieces_of_their_maps():
    maps = pictures(2, side=16)
    found = sliced.descriptors(maps, np.random.default_rng(0), count=3).reshape(2, 3, 7, 7)
    windows = np.lib.stride_tricks.sliding_window_view(maps[..., 0], (7, 7), axis=(1, 2)).reshape(2, -1, 49)
    for image in range(2):
        for patch in found[image]:
            assert np.any(np.all(windows[image] == patch.ravel(), axis=1))


@pytest.mark.parametrize("count", [40, 57])
def test_distance_of_projections_equals_scipy(count):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(400, 3)).astype(np.float32), rng.gamma(2, size=(10 * count, 3)).astype(np.float32)
    ways = np.random.default_rng(5).normal(size=(3, 8)).astype(np.float32)
    ways /= np.linalg.norm(ways, axis=0)
    expected = np.mean([wasserstein_distance(a @ way, b @ way) for way in ways.T])
    found = sliced._distance(a, b, np.random.default_rng(5), 8)
    assert found == pytest.approx(expected, rel=1e-4 if count == 40 else 0.02)


def test_swd_is_zero_for_equal_sets_and_falls_apart_by_scale():
    real, other = pictures(60, seed=0, side=64), pictures(60, seed=1, side=64)
    assert sliced.sliced_wasserstein(real, real.copy(), seed=3)["swd"] == 0
    base = sliced.sliced_wasserstein(other, real)
    assert set(base) == {"swd", "swd/64", "swd/32", "swd/16"} and base == sliced.sliced_wasserstein(other, real)
    rough = sliced.sliced_wasserstein(other + 0.1 * np.random.default_rng(0).normal(size=other.shape), real)
    dark = sliced.sliced_wasserstein(other - 0.2, real)
    assert rough["swd/64"] > 3 * base["swd/64"] and rough["swd/64"] > 3 * rough["swd/16"]
    assert dark["swd/16"] > base["swd/16"] + 0.1 and dark["swd/64"] == pytest.approx(base["swd/64"], abs=0.02)


def test_swd_of_nothing_and_of_unlike_shapes():
    real = pictures(4)
    for other in (real[:0], real[:, :16, :16]):
        with pytest.raises(DataError, match="two sets of images of one shape"):
            sliced.sliced_wasserstein(other, real)
    with pytest.raises(DataError, match="images of 16 pixels or more"):
        sliced.sliced_wasserstein(real[:, :8, :8], real[:, :8, :8])
