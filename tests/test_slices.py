"""Slices lie as radiologists look at them, on one canvas, and go back to where they came from; heads are found and mapped."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from heads import RADII, contrasts, grid, places

from medjax.data import intensities, slices
from medjax.formats.volume import plain, to_ras
from medjax.types import ConfigError, DataError

CODES = ["".join(c) for p in itertools.permutations(("RL", "AP", "SI")) for c in itertools.product(*p)]


def volume(codes="RAS", spacing=2.0, side=96.0, offset=(0.0, 0.0, 0.0), draw=lambda points: contrasts(points)["T1"]):
    shape, affine = grid(spacing, side, codes, offset)
    return plain(draw(places(shape, affine)), affine)


def marked(points):
    """1 everywhere, 5 in the patient's right, 6 in front, 7 at the top."""
    x, y, z = np.moveaxis(points, -1, 0)
    return 1 + 4 * (x > 30) * (abs(y) < 9) * (abs(z) < 9) + 5 * (y > 30) * (abs(x) < 9) * (abs(z) < 9) + 6.0 * (z > 30) * (
        abs(x) < 9
    ) * (abs(y) < 9)


def test_display_is_radiological():
    ras = to_ras(volume(draw=marked))
    edge = {"top": (2, 24), "left": (24, 2), "bottom": (-3, 24), "right": (24, -3)}
    expected = {
        "axial": {"top": 6, "left": 5, "bottom": 1, "right": 1},  # front up, the patient's right on the left
        "coronal": {"top": 7, "left": 5, "bottom": 1, "right": 1},
        "sagittal": {"top": 7, "left": 6, "bottom": 1, "right": 1},  # looking to the left
    }
    for plane, seen in expected.items():
        plan = slices.slice_plan(ras, plane=plane)
        image = slices.cut(ras.values, plan, 24)
        assert image.shape == (48, 48) and {side: image[at] for side, at in edge.items()} == seen


def test_all_48_voxel_orders_give_the_same_slices():
    assert len(set(CODES)) == 48
    first = None
    for codes in CODES:
        ras = to_ras(volume(codes, (2.0, 3.0, 4.0) if codes == "RAS" else tuple(_spacing(codes)), 48.0, (5, -3, 8)))
        cut = [slices.cut(ras.values, slices.slice_plan(ras, plane=plane, centre=(5, -3, 8)), 5) for plane in slices.PLANES]
        first = first or cut
        for a, b in zip(first, cut, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-3)


def _spacing(codes):
    return [next(mm for pair, mm in (("RL", 2.0), ("AP", 3.0), ("SI", 4.0)) if code in pair) for code in codes]


@pytest.mark.parametrize("plane", slices.PLANES)
def test_paste_inverts_cut(plane):
    ras = to_ras(volume("LPS", side=88.0, offset=(3.0, 1.0, -2.0)))
    rng = np.random.default_rng(0)
    values = rng.random(ras.values.shape, dtype=np.float32)
    wide = slices.slice_plan(ras, plane=plane, fov_mm=120, centre=(6, -5, 1))
    out = np.full(values.shape, np.nan, np.float32)
    for k in range(values.shape[wide.axis]):
        slices.paste(out, slices.cut(values, wide, k), wide, k)
    np.testing.assert_array_equal(out, values)  # no value is interpolated, none is lost
    narrow = slices.slice_plan(ras, plane=plane, fov_mm=40, centre=(6, -5, 1))
    out = np.full(values.shape, -1, np.float32)
    slices.paste(out, slices.cut(values, narrow, 9), narrow, 9)
    pasted = np.moveaxis(out, narrow.axis, 0)[9]
    assert (pasted >= 0).sum() == narrow.side**2 and (np.moveaxis(out, narrow.axis, 0)[8] == -1).all()
    np.testing.assert_array_equal(pasted[pasted >= 0], np.moveaxis(values, narrow.axis, 0)[9][pasted >= 0])


def test_unequal_spacings_become_square_pixels():
    """A coronal slice of thick slices: a ramp along the coarse axis stays one, there and back."""
    ras = to_ras(volume(spacing=(1.0, 1.0, 4.0), side=80.0, draw=lambda p: p[..., 2] + 50 + 0 * p[..., 0]))
    plan = slices.slice_plan(ras, plane="coronal", fov_mm=64)
    assert plan.pixel_mm == 1 and plan.side == 64
    image = slices.cut(ras.values, plan, 40)
    np.testing.assert_allclose(np.diff(image[:, 30]), -1, atol=1e-3)
    out = np.full(ras.values.shape, np.nan, np.float32)
    slices.paste(out, image, plan, 40)
    seen = ~np.isnan(out[:, 40])
    np.testing.assert_allclose(out[:, 40][seen], ras.values[:, 40][seen], atol=1e-2)
    assert seen.sum() >= 64 * 14


def test_positions_are_millimetres_from_the_centre():
    ras = to_ras(volume("LPS", spacing=2.5, side=100.0, offset=(10.0, 20.0, 30.0)))
    plan = slices.slice_plan(ras, plane="axial", centre=(10, 20, 40))
    world = ras.affine[2, 3] + 2.5 * np.arange(40)
    np.testing.assert_allclose(plan.positions, world - 40)
    choose = lambda **options: plan.positions[slices.choose_slices(plan, **options)]
    assert np.abs(choose(range_mm=(-5, 12))).max() <= 12 and len(choose(range_mm=(-5, 12))) == 7
    stepped = choose(range_mm=(-33, 30), step_mm=10)
    np.testing.assert_allclose(stepped, [-30, -20, -10, 0, 10, 20, 30], atol=1.26)
    assert set(choose(range_mm=(-15, 15), step_mm=10)) <= set(stepped)  # the range moves no slice
    assert len(choose(range_mm=(-500, 500), step_mm=10)) == 11  # -60 to 40: only where the volume is
    assert slices.choose_slices(plan, index_range=(38, 50)) == [38, 39]
    assert len(choose()) == 40


def test_context_repeats_the_ends():
    ras = to_ras(volume(side=32.0))
    plan = slices.slice_plan(ras)
    values = np.arange(16, dtype=np.float32) * np.ones((16, 16, 1), np.float32)
    assert slices.stack(values, plan, 0, context=2)[8, 8].tolist() == [0, 0, 0, 1, 2]
    assert slices.stack(values, plan, 15, context=1)[8, 8].tolist() == [14, 15, 15]


def test_plans_that_cannot_be():
    ras = to_ras(volume(side=32.0))
    with pytest.raises(ConfigError, match="oblique"):
        slices.slice_plan(ras, plane="oblique")
    with pytest.raises(DataError, match="outside"):
        slices.slice_plan(ras, centre=(0, 0, 500))
    with pytest.raises(DataError, match="pixels wide"):
        slices.slice_plan(ras, fov_mm=5)


def with_skull(points):
    """A head with skin over a dark skull, noise in the air, and a neck below."""
    rng = np.random.default_rng(0)
    ellipsoid = ((points / RADII) ** 2).sum(-1)
    neck = (np.hypot(points[..., 0], points[..., 1]) < 18) & (points[..., 2] < 0)
    head = 700.0 * (ellipsoid < 1.3) * ~((ellipsoid > 0.95) & (ellipsoid < 1.1)) + 400 * (neck & (ellipsoid >= 1.3))
    return head + np.abs(rng.normal(0, 12, head.shape))


def test_a_stripped_head_is_its_support():
    whole = volume(offset=(7.0, -4.0, 3.0))
    hole = whole.values.copy()
    hole[20:26, 22:26, 22:26] = 0  # black fluid inside is still head
    mask, method = intensities.head_mask(hole, (2, 2, 2))
    assert method == "support" and (mask == (whole.values != 0)).all()
    head = intensities.read_head(whole)
    np.testing.assert_allclose(head.centre, (0, 0, 0), atol=2)
    np.testing.assert_allclose(head.extent, 2 * RADII, atol=4)


def test_a_head_with_skull_is_found_and_its_neck_left_out_of_the_box():
    ras = to_ras(volume("PSR", side=240.0, offset=(0, 0, -60), draw=with_skull))
    mask, method = intensities.head_mask(ras.values, ras.spacing)
    inside = ((places(ras.values.shape, ras.affine) / RADII) ** 2).sum(-1) < 1.3
    assert method == "otsu" and mask[inside].mean() > 0.97 and mask[ras.values < 60][:1000].mean() < 0.05
    centre, extent = intensities.head_box(mask, ras.affine)
    top = RADII[2] * np.sqrt(1.3)
    assert centre[2] == pytest.approx(top - intensities.HEAD_MM / 2, abs=5) and extent[2] == pytest.approx(160, abs=4)


def test_percentiles_become_0_and_1_and_back():
    ras = to_ras(volume())
    head = intensities.read_head(ras)
    inside = ras.values[ras.values != 0]
    assert (head.low, head.high) == (0, pytest.approx(np.percentile(inside, 99.5)))
    unit = head.unit()
    assert unit.dtype == np.float32 and (unit[ras.values == 0] == 0).all() and unit.max() == 1
    np.testing.assert_allclose(intensities.from_unit_range(unit, head.low, head.high), ras.values.clip(0, head.high), atol=1e-3)
    lifted = intensities.read_head(ras, percentiles=(5, 95))
    assert lifted.low == pytest.approx(np.percentile(inside, 5))
    inner = lifted.unit()[ras.values != 0]
    assert (inner == 0).mean() == pytest.approx(0.05, abs=0.01) and (inner == 1).mean() == pytest.approx(0.05, abs=0.01)
    with pytest.raises(DataError, match="no contrast"):
        intensities.percentile_window(np.zeros((4, 4, 4)), np.ones((4, 4, 4), bool), (0, 99))
