"""How far the anatomy moved: invariance to contrast, exact answers for known shifts and masks, fields of phantoms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medjax.data.phantom import radiograph
from medjax.metrics import anatomy, lungs
from medjax.types import DataError


@pytest.fixture(scope="module")
def phantoms():
    """Three patients at a normal dose and at a fiftieth of it, 64 pixels."""
    return [[radiograph(5, i, size=64, dose=d) for i in (0, 4, 8)] for d in (1.0, 0.02)]


@pytest.fixture(scope="module")
def images(phantoms):
    return np.stack([p.image for p in phantoms[0]])[..., None] / 65535.0


def correlate(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


def test_contrast_is_not_movement(images):
    for output in (images, 0.3 + 0.5 * images):
        found = anatomy.moved(images, output)
        for name in ("edge", "gradient", "direction", "dice", "area_ratio", "score"):
            np.testing.assert_allclose(found[name], 1, atol=1e-9, err_msg=name)
        np.testing.assert_allclose(found["shift"], 0, atol=1e-9)
    upside = anatomy.moved(images, 1 - images)
    np.testing.assert_allclose(upside["edge"], -1, atol=1e-9)
    np.testing.assert_allclose(upside["gradient"], 1, atol=1e-9)
    np.testing.assert_allclose(upside["direction"], -1, atol=1e-9)


def test_correlations_against_numpy(images):
    a, b = images[0, ..., 0], ndimage.shift(images[0, ..., 0], (2, 1), mode="nearest")
    sigma = 1.0  # 0.015 of 64 pixels is less
    laplace = [ndimage.gaussian_laplace(x, sigma) for x in (a, b)]
    assert anatomy.edge_correlation(a[None], b[None])[0] == pytest.approx(correlate(*laplace), abs=1e-12)
    steep = [ndimage.gaussian_gradient_magnitude(x, sigma) for x in (a, b)]
    assert anatomy.gradient_correlation(a[None], b[None])[0] == pytest.approx(correlate(*steep), abs=1e-12)
    ramp = np.tile(np.arange(32.0) / 32, (1, 32, 1))
    assert abs(anatomy.gradient_direction(ramp, ramp.transpose(0, 2, 1))[0]) < 1e-9, "gradients at right angles"


def test_structure_that_moves_or_is_made_costs_more_than_noise(phantoms, images):
    noisy = np.stack([p.image for p in phantoms[1]])[..., None] / 65535.0
    outputs = [noisy, np.roll(images, 1, 2), np.roll(images, 3, 2), np.roll(images, 1, 0)]  # the last: of other patients
    scores = [anatomy.moved(images, output)["score"] for output in outputs]
    assert scores[0].min() > 0.97 and (scores[1] > scores[2] + 0.1).all()
    assert max(scores[1].max(), scores[3].max()) < 0.9
    found = anatomy.moved(images, np.stack([noisy[0], outputs[2][1], outputs[1][2]]))
    assert anatomy.worst(found, 2) == [1, 2]


def test_flat_images_and_lost_lungs_are_counted_and_nothing_is_nan(images):
    flat = np.full_like(images[:1], 0.5)
    found = anatomy.moved(np.concatenate([images[:1], flat, flat]), np.concatenate([flat, images[:1], flat]))
    for name in ("edge", "gradient", "direction"):
        np.testing.assert_array_equal(found[name], [0, 0, 1], err_msg=name)
    np.testing.assert_array_equal(found["dice"], [0, np.nan, np.nan])
    np.testing.assert_array_equal(found["area_ratio"], [0, np.nan, np.nan])
    np.testing.assert_allclose(found["score"], [0, 0, 1])
    told = anatomy.summarise(found)
    assert told["without_lungs"] == {"input": 2, "output": 1} and told["n"] == 3
    assert told["dice"]["n"] == 1 and told["shift"]["mean"] is None and told["score"]["n"] == 3


def test_movement_of_known_fields():
    before = np.zeros((1, 40, 50), bool)
    before[0, 10:20, 5:15] = True
    after = np.roll(before, (3, 4), (1, 2))
    found = lungs.movement(before, after)
    assert found["shift"][0] == pytest.approx(5) and found["shift_share"][0] == pytest.approx(0.1)
    assert found["dice"][0] == pytest.approx(2 * 7 * 6 / 200) and found["area_ratio"][0] == 1
    half = before.copy()
    half[0, 15:] = False
    assert lungs.movement(before, half)["area_ratio"][0] == 0.5


def test_fields_of_phantoms(phantoms, images):
    truth = np.stack([p.lungs for p in phantoms[0]])
    found = lungs.fields(images)
    np.testing.assert_array_less(0.78, lungs.movement(truth, found)["dice"])
    low = lungs.fields(np.stack([p.image for p in phantoms[1]]) / 65535.0)
    np.testing.assert_array_less(0.93, lungs.movement(found, low)["dice"])
    larger = lungs.fields(ndimage.zoom(images[..., 0], (1, 2, 2), order=1))
    np.testing.assert_array_less(0.93, lungs.movement(found.repeat(2, 1).repeat(2, 2), larger)["dice"])
    known = anatomy.moved(images, images, fields=truth)
    np.testing.assert_allclose(known["dice"], lungs.movement(truth, found)["dice"])
    rows, columns = np.indices((64, 64))
    one = np.where(np.hypot(rows - 32, columns - 32) < 12, 0.2, 0.8)
    assert not lungs.fields(np.stack([one, columns / 64])).any(), "one dark disc and a ramp are no pair of lungs"
    assert lungs.fields(np.zeros((0, 64, 64))).shape == (0, 64, 64)


def test_what_cannot_be_measured():
    with pytest.raises(DataError, match=r"not \[8, 8\]"):
        anatomy.moved(np.zeros((8, 8)), np.zeros((8, 8)))
    with pytest.raises(DataError, match="not images of one size"):
        anatomy.moved(np.zeros((1, 8, 8)), np.zeros((1, 8, 9)))
    with pytest.raises(DataError, match="output 1 .* not finite"):
        anatomy.moved(np.zeros((2, 8, 8)), np.stack([np.zeros((8, 8)), np.full((8, 8), np.nan)]))
