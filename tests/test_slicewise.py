"""Slices through a model and back: the identity comes back, every slice once, and memory holds one batch."""

from __future__ import annotations

import numpy as np
import pytest

from medjax.slicewise import through_slices
from medjax.types import DataError


def smooth(count=7, side=48, channels=1):
    y, x = np.mgrid[:side, :side] / side
    slices = [0.5 + 0.4 * np.sin(3 * x + 0.3 * k) * np.cos(2 * y) for k in range(count)]
    return np.stack(slices).astype(np.float32)[..., None].repeat(channels, axis=-1)


def run(predict, volume, **options):
    out = np.full(volume.shape[:3], np.nan, np.float32)
    paste = lambda k, image: out.__setitem__(k, image)  # noqa: E731
    through_slices(predict, lambda k: volume[k], paste, range(len(volume)), batch_size=3, **options)
    return out


@pytest.mark.parametrize("change", [True, False])
def test_identity_comes_back_and_shapes_stay_one(change):
    volume, shapes = smooth(channels=3), set()

    def predict(x):
        shapes.add(x.shape)
        return x[..., 1:2]

    out = run(predict, volume, size=32, change=change)
    np.testing.assert_allclose(out, volume[..., 1], atol=1e-6 if change else 0.01)
    assert shapes == {(3, 32, 32, 3)}


def test_change_is_added_at_full_resolution():
    volume = smooth()
    volume[:, ::2] += 0.05  # detail that the coarse grid cannot hold
    out = run(lambda x: x - 0.2, volume, size=16, change=True)
    np.testing.assert_allclose(out, np.clip(volume[..., 0] - 0.1, 0, 1), atol=0.02)


def test_no_slice_depends_on_its_batch():
    volume = smooth(count=5)
    whole = run(lambda x: x**2, volume, size=32)
    single = np.empty_like(whole[:1])
    through_slices(lambda x: x**2, lambda k: volume[k], lambda k, i: single.__setitem__(0, i), [4], size=32, batch_size=3)
    np.testing.assert_array_equal(single[0], whole[4])


def test_an_output_that_is_not_finite_is_told():
    with pytest.raises(DataError, match="not finite"):
        run(lambda x: x * np.nan, smooth(), size=32)
