"""Losses against arithmetic done by hand or in numpy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax import losses
from medjax.types import ConfigError

pytestmark = pytest.mark.usefixtures("quick_compile")

RNG = np.random.default_rng(0)
PREDICTION, TARGET = RNG.normal(size=(2, 3, 4, 5, 1)).astype(np.float32)
D = PREDICTION.astype(np.float64) - TARGET


@pytest.mark.parametrize(
    "name, expected",
    [
        ("l1", np.abs(D).mean((1, 2, 3))),
        ("l2", (D**2).mean((1, 2, 3))),
        ("charbonnier", np.sqrt(D**2 + 1e-6).mean((1, 2, 3))),
    ],
)
def test_regression_losses_per_image(name, expected):
    np.testing.assert_allclose(losses.regression(name)(PREDICTION, TARGET), expected, rtol=1e-5)


def test_charbonnier_is_smooth_at_zero_and_l1_far_away():
    gradient = jax.grad(lambda d: losses.charbonnier(d[None], jnp.zeros((1, 1)), epsilon=0.1).sum())
    assert float(gradient(jnp.zeros(1))[0]) == 0.0
    assert float(gradient(jnp.full(1, 5.0))[0]) == pytest.approx(1.0, abs=1e-3)
    assert float(losses.charbonnier(jnp.zeros((1, 4)), jnp.zeros((1, 4)), epsilon=0.1)[0]) == pytest.approx(0.1)


REAL, FAKE = np.array([[2.0, -1.0]], np.float32), np.array([[0.5, -3.0]], np.float32)


def softplus(x):
    return np.log1p(np.exp(x))


@pytest.mark.parametrize(
    "name, generator, discriminator",
    [
        # Logits 2, -1 on real and 0.5, -3 on fake.
        ("vanilla", (softplus(-0.5) + softplus(3)) / 2, (softplus(-2) + softplus(1)) / 2 + (softplus(0.5) + softplus(-3)) / 2),
        ("lsgan", (0.25 + 16) / 2, (1 + 4) / 2 + (0.25 + 9) / 2),
        ("hinge", 1.25, (0 + 2) / 2 + (1.5 + 0) / 2),
    ],
)
def test_adversaries_at_known_logits(name, generator, discriminator):
    adversary = losses.adversary(name)
    assert float(adversary.generator(REAL, FAKE)) == pytest.approx(generator, rel=1e-6)
    assert float(adversary.discriminator(REAL, FAKE)) == pytest.approx(discriminator, rel=1e-6)


@pytest.mark.parametrize("name", sorted(losses.ADVERSARIES))
def test_adversaries_pull_in_opposite_directions(name):
    """D pushes fake logits down and real ones up; G pushes fake ones up; and none of it overflows."""
    adversary = losses.adversary(name)
    pull_g = jax.jit(jax.grad(adversary.generator, 1))
    pull_d = jax.jit(jax.grad(adversary.discriminator, (0, 1)))
    unsure = jnp.full((1, 1), 0.1)
    real, fake = pull_d(unsure, unsure)
    assert float(pull_g(unsure, unsure)[0, 0]) < 0 and float(real[0, 0]) < 0 < float(fake[0, 0])
    for value in (-200.0, 200.0):
        logits = jnp.full((1, 1), value)
        assert np.isfinite([pull_g(logits, logits), *pull_d(logits, logits)]).all()


def test_an_undecided_vanilla_discriminator_costs_two_log_two():
    zero = jnp.zeros((2, 3))
    assert float(losses.vanilla().discriminator(zero, zero)) == pytest.approx(2 * np.log(2), rel=1e-6)
    assert float(losses.vanilla().generator(zero, zero)) == pytest.approx(np.log(2), rel=1e-6)


@pytest.mark.parametrize("find, name", [(losses.regression, "l3"), (losses.adversary, "wgan")])
def test_unknown_names_list_the_known_ones(find, name):
    with pytest.raises(ConfigError, match=f"{name}.*known: "):
        find(name)


KERNEL = np.random.default_rng(1).normal(size=(3, 3, 1, 4)).astype(np.float32)


def maps(images):
    """A network of one convolution, tapped before and after its activation, and again at half the size."""
    conv = jax.lax.conv_general_dilated(images, KERNEL, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return {"conv": conv, "relu": jax.nn.relu(conv), "half": jax.nn.relu(conv)[:, ::2, ::2]}


IMAGES = np.random.default_rng(2).uniform(-1, 1, size=(2, 3, 8, 10, 1)).astype(np.float32)


def by_hand(image):
    image = (image.astype(np.float64) + 1) / 2
    windows = np.lib.stride_tricks.sliding_window_view(image[..., 0], (3, 3), axis=(1, 2))
    return np.einsum("bhwij,ijc->bhwc", windows, KERNEL[:, :, 0])


@pytest.mark.parametrize("distance, compared", [("l1", np.abs), ("l2", np.square)])
def test_perceptual_is_the_weighted_sum_of_its_layers(distance, compared):
    a, b = by_hand(IMAGES[0]), by_hand(IMAGES[1])
    expected = 2 * compared(a - b).mean((1, 2, 3)) + 0.5 * compared(np.maximum(a, 0) - np.maximum(b, 0)).mean((1, 2, 3))
    loss = losses.perceptual(maps, {"conv": 2.0, "relu": 0.5}, distance=distance)
    np.testing.assert_allclose(jax.jit(loss)(*IMAGES), expected, rtol=1e-5)


def test_before_and_after_the_activation_differ_and_equal_images_cost_nothing():
    before, after = (losses.perceptual(maps, {name: 1.0}) for name in ("conv", "relu"))
    assert (np.asarray(before(*IMAGES)) > np.asarray(after(*IMAGES))).all()
    assert not np.asarray(before(IMAGES[0], IMAGES[0])).any()


def test_perceptual_pulls_the_prediction_and_not_the_target():
    loss = losses.perceptual(maps, {"conv": 1.0}, distance="l2")
    pull = jax.grad(lambda x, y: loss(x, y).sum(), (0, 1))
    prediction, target = pull(*map(jnp.asarray, IMAGES))
    assert float(jnp.abs(prediction).max()) > 0 and float(jnp.abs(target).max()) == 0
    step = 1e-3 * prediction / jnp.abs(prediction).max()
    assert float(loss(IMAGES[0] - step, IMAGES[1]).sum()) < float(loss(*IMAGES).sum())
    outside = pull(jnp.full((1, 8, 10, 1), 1.2), jnp.zeros((1, 8, 10, 1)))[0]
    assert float(jnp.abs(outside).max()) > 0  # beyond white it is still pulled back


def test_perceptual_of_bad_layers():
    with pytest.raises(ConfigError, match="'relu9_9'.*it has conv, relu, half"):
        losses.perceptual(maps, {"relu9_9": 1.0})(*IMAGES)
    for layers in ({}, {"conv": -1.0}, {"conv": float("nan")}):
        with pytest.raises(ConfigError, match="at least 0"):
            losses.perceptual(maps, layers)
    with pytest.raises(ConfigError, match="known: "):
        losses.perceptual(maps, {"conv": 1.0}, distance="l7")
