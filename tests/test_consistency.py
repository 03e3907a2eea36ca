"""Consistency between neighbouring slices: by hand, of the truth itself, of flicker and of smoothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medjax.metrics.consistency import change_ratio, error_change, neighbour_change


@pytest.fixture(scope="module")
def volume():
    """Smooth anatomy in 12 slices, and a disc as region."""
    x, y, z = np.meshgrid(np.arange(24), np.arange(24), np.arange(12), indexing="ij")
    values = 0.5 + 0.3 * np.sin(x / 4 + z / 5) * np.cos(y / 5 - z / 7)
    region = (x - 12) ** 2 + (y - 12) ** 2 < 81
    return np.moveaxis(values, 2, 0)[..., None], np.moveaxis(region, 2, 0)[..., None].astype(np.float32)


def test_change_by_hand():
    stack = np.array([[[0.1, 0.9]], [[0.4, 0.2]], [[0.4, 0.0]]])[..., None]
    region = np.array([[[1, 1]], [[1, 0]], [[0, 1]]])[..., None]
    np.testing.assert_allclose(neighbour_change(stack, region), [0.3, np.nan])
    np.testing.assert_allclose(neighbour_change(stack, np.ones_like(region)), [(0.3 + 0.7) / 2, 0.1])
    with pytest.raises(ValueError, match="two slices"):
        neighbour_change(stack[:1], region[:1])


def test_the_truth_is_consistent_and_a_constant_error_is_no_flicker(volume):
    target, region = volume
    assert change_ratio(target, target, region) == pytest.approx(1)
    assert error_change(target, target, region) == 0
    assert change_ratio(target + 0.1, target, region) == pytest.approx(1)
    assert error_change(target + 0.1, target, region) == pytest.approx(0, abs=1e-9)
    assert change_ratio(0.5 * target, target, region) == pytest.approx(0.5)


def test_flicker_and_smoothing_show_in_opposite_ways(volume):
    target, region = volume
    flicker = target + 0.05 * np.where(np.arange(12) % 2, 1, -1)[:, None, None, None]
    still = np.repeat(target.mean(0, keepdims=True), 12, axis=0)
    change = float(np.nanmean(neighbour_change(target, region)))
    assert error_change(flicker, target, region) == pytest.approx(0.1 / change)
    assert change_ratio(flicker, target, region) > 1 > change_ratio(still, target, region) == 0
    assert error_change(still, target, region) == pytest.approx(1)
    # what lies outside the region does not count
    outside = target + 5 * (1 - region) * np.random.default_rng(0).random(target.shape)
    assert change_ratio(outside, target, region) == pytest.approx(1)


def test_no_change_in_the_target_has_no_ratio(volume):
    target, region = volume
    flat = np.full_like(target, 0.5)
    assert math.isnan(change_ratio(target, flat, region))
    assert math.isnan(change_ratio(target, target, np.zeros_like(region)))
