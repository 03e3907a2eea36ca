"""Differentiable augmentation: what each transform does to pixels and to gradients, and whose draw is whose."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.images import POLICY, TRANSFORMS, adjust, cut_out, diffaugment, translate
from medjax.types import ConfigError

pytestmark = pytest.mark.usefixtures("quick_compile")

KEY = jax.random.key(3)
SIDE = 16


def numbered(count=6):
    """Images whose pixels all have names: 1, 2, 3, ..., so that one can see where each went."""
    return np.broadcast_to(1 + np.arange(SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE, 1), (count, SIDE, SIDE, 1))


def test_translation_moves_content_and_lets_zero_in():
    image = numbered(1)[0]
    for down, right in ((0, 0), (2, -1), (-2, 2)):
        expected = np.zeros_like(image)
        rows, columns = (slice(max(d, 0), SIDE + min(d, 0)) for d in (down, right))
        back = tuple(slice(max(-d, 0), SIDE + min(-d, 0)) for d in (down, right))
        expected[rows, columns] = image[back]
        np.testing.assert_array_equal(translate(image, jnp.array([down, right]), most=(2, 2)), expected)


def test_cutout_takes_exactly_its_box_and_no_more_than_lies_inside():
    for corner, area in (((3, 4), 48), ((0, 0), 48), ((-3, -4), 3 * 4), ((13, 15), 3)):
        cut = np.asarray(cut_out(numbered(1)[0], jnp.array(corner), size=(6, 8)))
        rows, columns = (slice(max(c, 0), max(c + n, 0)) for c, n in zip(corner, (6, 8), strict=True))
        assert (cut == 0).sum() == area and not cut[rows, columns].any()


def test_intensity_is_a_gain_about_the_mean_and_an_offset():
    image = numbered(1)[0]
    found = adjust(image, jnp.float32(0.25), jnp.float32(1.5))
    np.testing.assert_allclose(found, 1.5 * (image - image.mean()) + image.mean() + 0.25, rtol=1e-6)
    assert float(found.mean()) == pytest.approx(image.mean() + 0.25, rel=1e-6)


def test_draws_stay_within_their_bounds_and_reach_them():
    """Of 2000 images: shifts of -2 to 2 pixels, boxes of 8 x 8 less what lies outside, gains 0.5 to 1.5, offsets -0.5 to 0.5."""
    many = numbered(2000)
    moved = np.asarray(jax.jit(lambda x: diffaugment(KEY, x, policy=("translation",)))(many))[:, 8, 8, 0] - 1
    shifts = np.stack(np.divmod(moved, SIDE), 1) - 8
    assert np.all(np.bincount((shifts[:, 0] + 2).astype(int), minlength=5) > 300) and np.abs(shifts).max() == 2
    areas = (np.asarray(jax.jit(lambda x: diffaugment(KEY, x, policy=("cutout",)))(many)) == 0).sum((1, 2, 3))
    assert areas.max() == 64 and areas.min() == 16  # centred on a corner a quarter of it lies inside
    wave = np.tile(np.array([-0.5, 0.5], np.float32), SIDE * SIDE // 2).reshape(1, SIDE, SIDE, 1).repeat(2000, 0)
    changed = np.asarray(jax.jit(lambda x: diffaugment(KEY, x, policy=("intensity",)))(wave))
    gain, offset = np.ptp(changed, axis=(1, 2, 3)), changed.mean((1, 2, 3))
    assert 0.5 <= gain.min() < 0.52 and 1.48 < gain.max() <= 1.5 and gain.mean() == pytest.approx(1, abs=0.03)
    assert -0.5 <= offset.min() < -0.48 and 0.48 < offset.max() <= 0.5


def test_every_image_and_every_key_has_its_own_draw():
    images = numbered()
    one, again, two = (np.asarray(diffaugment(k, images)) for k in (KEY, KEY, jax.random.key(4)))
    np.testing.assert_array_equal(one, again)
    assert all(np.any(one[0] != image) for image in one[1:]) and np.all(np.any(one != two, axis=(1, 2, 3)))
    np.testing.assert_allclose(np.asarray(diffaugment(KEY, images[:2])), one[:2], rtol=1e-6)


def test_a_transform_draws_the_same_whatever_else_is_in_the_policy():
    images = np.ones((6, SIDE, SIDE, 1), np.float32)
    cut = lambda *policy: np.asarray(diffaugment(KEY, images, policy=policy)) == 0  # noqa: E731
    np.testing.assert_array_equal(cut("cutout"), cut("intensity", "cutout"))
    assert cut("translation", "cutout").sum() > cut("cutout").sum()


@pytest.mark.parametrize("policy", [("translation",), ("cutout",), ("translation", "cutout")])
def test_the_gradient_is_that_of_the_transform_drawn(policy):
    """What moved a pixel moves the gradient back; what was cut or pushed out gets none."""
    images, rng = numbered(), np.random.default_rng(0)
    weights = rng.normal(size=images.shape).astype(np.float32)
    where = np.asarray(diffaugment(KEY, images, policy=policy)).astype(int)
    expected = np.zeros((len(images), SIDE * SIDE + 1), np.float32)
    for i in range(len(images)):
        np.add.at(expected[i], where[i].ravel(), weights[i].ravel())
    found = jax.jit(jax.grad(lambda x: jnp.sum(weights * diffaugment(KEY, x, policy=policy))))(images)
    np.testing.assert_allclose(found, expected[:, 1:].reshape(images.shape), rtol=1e-6)
    assert 0 < (expected[:, 1:] == 0).sum() < images.size


def test_the_gradient_of_intensity():
    """y = c (x - mean x) + mean x + b, so J^T w = c (w - mean w) + mean w."""
    rng = np.random.default_rng(0)
    images, weights = (rng.normal(size=(3, SIDE, SIDE, 1)).astype(np.float32) for _ in range(2))
    changed = np.asarray(diffaugment(KEY, images, policy=("intensity",)))
    gain = (changed.std((1, 2, 3)) / images.std((1, 2, 3)))[:, None, None, None]
    mean = weights.mean((1, 2, 3), keepdims=True)
    found = jax.grad(lambda x: jnp.sum(weights * diffaugment(KEY, x, policy=("intensity",))))(images)
    np.testing.assert_allclose(found, gain * (weights - mean) + mean, atol=1e-5)


def test_jit_shape_type_and_the_empty_policy():
    images = numbered()
    out = jax.jit(lambda k, x: diffaugment(k, x))(KEY, images)
    assert out.shape == images.shape and out.dtype == jnp.float32 and set(POLICY) == set(TRANSFORMS)
    np.testing.assert_allclose(out, diffaugment(KEY, images), rtol=1e-5)
    assert diffaugment(KEY, images, policy=()) is images


def test_an_unknown_transform_is_an_error_with_the_known_ones():
    with pytest.raises(ConfigError, match="'flip'; there are translation, intensity, cutout"):
        diffaugment(KEY, numbered(), policy=("translation", "flip"))
