"""Mutual information tells a pair that fits from one that does not, and registration finds the way back."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from heads import contrasts, grid, places, turned
from scipy import stats

from medjax.data import alignment, registration
from medjax.types import ConfigError


def pair(spacing=2.0):
    """T1 and T2 in [0, 1] and the head's mask on one grid, and its affine."""
    shape, affine = grid(spacing)
    found = contrasts(places(shape, affine))
    return found["T1"] / 900, found["T2"] / 1000, found["T1"] > 0, affine


def score(first, second, mask, other=None):
    return alignment.alignment(first, second, mask, mask if other is None else other, (2.0, 2.0, 2.0))


def test_mutual_information_equals_its_definition():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 8, 5000)
    b = (a // 2 + rng.integers(0, 3, 5000)) % 8
    joint = np.histogram2d(a, b, bins=(8, 8))[0]
    expected = (stats.entropy(joint.sum(0)) + stats.entropy(joint.sum(1))) / stats.entropy(joint.ravel())
    nmi = alignment.normalised_mutual_information
    assert nmi(a, b, bins=8) == pytest.approx(expected, rel=1e-12)
    assert nmi(a, 7 - a, bins=8) == pytest.approx(2)  # one determines the other
    assert nmi(a, rng.permutation(a), bins=8) == pytest.approx(1, abs=0.01)
    assert nmi(a[:0], b[:0]) == nmi(np.zeros(9, int), np.zeros(9, int)) == 1


def test_a_pair_that_fits_is_told_from_shifted_ones():
    t1, t2, mask, _ = pair()
    found = score(t1, t2, mask)
    assert found.aligned and found.best == "0" and found.nmi > found.shifted and found.margin > 0.5
    for axis in range(3):
        for voxels in (-3, 3):  # 6 mm
            moved, its = np.roll(t2, voxels, axis), np.roll(mask, voxels, axis)
            assert not score(t1, moved, mask, its).aligned
            back = f"{-2.0 * voxels:+.1f} mm to the {('right', 'front', 'top')[axis]}"
            assert score(t1, moved, mask, its).best == back  # what would bring it home
    near = score(t1, np.roll(t2, -1, 2), mask, np.roll(mask, -1, 2))
    assert near.best == "+2.0 mm to the top"


def test_heads_that_hardly_meet_are_not_aligned():
    t1, t2, mask, _ = pair()
    left, right = mask.copy(), mask.copy()
    left[24:], right[:22] = False, False
    assert not score(t1, t2, left, right).aligned
    assert not score(t1, t2, mask, np.zeros_like(mask)).aligned
    other = contrasts(places(*grid(2.0)), seed=7)["T2"] / 1000  # somebody else's
    assert score(t1, other, mask).nmi < score(t1, t2, mask).nmi - 0.05


def test_resampling_follows_the_affines():
    """A value that is linear in space is linear on every grid."""
    plane = lambda points: points @ [0.3, -0.2, 0.5] + 4
    old_shape, old = grid((1.5, 2.0, 3.0), 120, "PSL")
    shape, new = grid(2.5, 60, "RAS", (3.0, -2.0, 5.0))
    values = plane(places(old_shape, old)).astype(np.float32)
    np.testing.assert_allclose(alignment.resample(values, old, shape, new), plane(places(shape, new)), atol=1e-4)
    move = turned(10, 2, (2, 1, -3))
    there = places(shape, new) @ move[:3, :3].T + move[:3, 3]
    np.testing.assert_allclose(alignment.resample(values, old, shape, new, transform=move), plane(there), atol=1e-4)
    assert alignment.resample(values, old, old_shape, old) is values
    seen = alignment.resample(np.ones(shape, bool), new, old_shape, old)
    inside = (np.abs(places(old_shape, old) - [3.0, -2.0, 5.0]) < 30).all(-1)
    assert seen.dtype == bool and (seen == inside).mean() > 0.97


def test_rigid_registration_finds_a_known_move():
    shape, affine = grid(2.0)
    other_shape, other = grid((2.0, 2.0, 4.0), 96, "LIP", (20.0, -10.0, 30.0))
    move = turned(12, 2, (20, -12, 33)) @ turned(-7, 0, (0, 0, 0))  # head of the first -> head of the second
    fixed = (contrasts(places(shape, affine))["T1"] / 900).astype(np.float32)
    back = np.linalg.inv(move)
    moving = (contrasts(places(other_shape, other) @ back[:3, :3].T + back[:3, 3])["T2"] / 1000).astype(np.float32)
    found = registration.rigid(fixed, affine, moving, other)
    points = np.random.default_rng(0).uniform(-30, 30, (200, 3))
    error = np.linalg.norm((points @ found[:3, :3].T + found[:3, 3]) - (points @ move[:3, :3].T + move[:3, 3]), axis=1)
    assert error.mean() < 0.8 and error.max() < 1.5  # the thinnest voxel is 2 mm
    np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-9)
    np.testing.assert_array_equal(found, registration.rigid(fixed, affine, moving, other))


def test_without_simpleitk_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(ConfigError, match=r"medjax\[registration\]"):
        registration.rigid(np.zeros((8, 8, 8)), np.eye(4), np.zeros((8, 8, 8)), np.eye(4))
