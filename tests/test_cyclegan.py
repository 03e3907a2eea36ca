"""CycleGAN's objective: every term's gradient against arithmetic by hand, the order of its steps, micro-batches, predictions."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import leaves

from medjax import losses
from medjax.objective import Player, train_step
from medjax.objectives import cyclegan
from medjax.types import ConfigError

pytestmark = pytest.mark.usefixtures("quick_compile")

KEY = jax.random.key(0)
BATCH = {
    "a": np.linspace(0.1, 0.4, 24, dtype=np.float32).reshape(2, 3, 4, 1),
    "b": np.linspace(0.9, 0.3, 24, dtype=np.float32).reshape(2, 3, 4, 1),
}
A, B = (BATCH[side].astype(np.float64) for side in "ab")
P, Q, U, V = 1.5, 0.9, 0.7, -0.4  # g_ab, g_ba, d_a, d_b


class Times(nn.Module):
    """A generator of one number, by which images are multiplied."""

    factor: float

    @nn.compact
    def __call__(self, x, *, train=False):
        return self.param("factor", nn.initializers.constant(self.factor), ()) * x


class Logit(Times):
    """A discriminator of one number: a pixel's logit is its value times it."""

    @nn.compact
    def __call__(self, x, *, train=False):
        return [[self.param("factor", nn.initializers.constant(self.factor), ()) * x]]


def game(**options):
    """Plain gradient descent at a rate of 1, so that a step is minus the gradient."""
    players = [Player(make(value), optax.sgd(1.0)) for make, value in ((Times, P), (Times, Q), (Logit, U), (Logit, V))]
    return cyclegan(*players, **{"pool": 0, "cycle_weight": 0.0, "adversary": SILENT, **options})


SILENT = losses.Adversary(lambda real, fake: 0.0 * fake.mean(), lambda real, fake: 0.0 * fake.mean())


def slopes(**options):
    """{net: gradient}, and the metrics of one step."""
    objective = game(**options)
    state = objective.init(KEY, BATCH)
    moved, metrics = jax.jit(objective.step)(state, BATCH, KEY)
    factors = [{name: float(net.params["factor"]) for name, net in s.nets.items()} for s in (state, moved)]
    return {name: factors[0][name] - factors[1][name] for name in factors[0]}, {k: float(v) for k, v in metrics.items()}


def test_the_cycle():
    """|q p a - a| + |p q b - b| with p q = 1.35: the slopes are +-(mean a + mean b) times the other factor."""
    found, metrics = slopes(cycle_weight=10.0)
    both = 10 * (A.mean() + B.mean())
    assert found == pytest.approx({"g_ab": Q * both, "g_ba": P * both, "d_a": 0, "d_b": 0}, abs=1e-5)
    assert metrics["g_cycle_a"] == pytest.approx(10 * (P * Q - 1) * A.mean(), rel=1e-5)
    assert metrics["g_loss"] == pytest.approx((P * Q - 1) * both, rel=1e-5)


def test_identity():
    """|q a - a| + |p b - b|: each generator is held at images that are already of its own side."""
    found, metrics = slopes(identity_weight=2.0)
    assert found == pytest.approx({"g_ab": 2 * B.mean(), "g_ba": -2 * A.mean(), "d_a": 0, "d_b": 0}, abs=1e-5)
    assert metrics["g_identity_b"] == pytest.approx(2 * (P - 1) * B.mean(), rel=1e-5)


def test_least_squares():
    """Generators against the discriminators as they were; these against what the generators made before they moved."""
    found, metrics = slopes(adversary=None)
    low, high = Q * B, P * A  # what the generators make
    expected = {
        "g_ab": np.mean(2 * (V * high - 1) * V * A),
        "g_ba": np.mean(2 * (U * low - 1) * U * B),
        "d_a": 0.5 * (np.mean(2 * (U * A - 1) * A) + np.mean(2 * U * low * low)),
        "d_b": 0.5 * (np.mean(2 * (V * B - 1) * B) + np.mean(2 * V * high * high)),
    }
    assert found == pytest.approx(expected, abs=1e-5)
    assert metrics["d_a_loss"] == pytest.approx(0.5 * (np.mean((U * A - 1) ** 2) + np.mean((U * low) ** 2)), rel=1e-5)
    shares = {"d_a_real": U * A > 0.5, "d_a_fake": U * low <= 0.5, "d_b_real": V * B > 0.5, "d_b_fake": V * high <= 0.5}
    expected = {name: told.mean() for name, told in shares.items()}
    assert {name: metrics[name] for name in shares} == pytest.approx(expected, abs=1e-6)


def test_the_log_loss_as_it_is_written():
    """min over G of E log(1 - D(G)), max over D of E log D + E log(1 - D(G)), D a sigmoid."""
    found, metrics = slopes(adversary=losses.minimax(), discriminator_weight=1.0)
    sigmoid = lambda x: 1 / (1 + np.exp(-x))
    low, high = Q * B, P * A
    expected = {
        "g_ab": np.mean(-sigmoid(V * high) * V * A),
        "g_ba": np.mean(-sigmoid(U * low) * U * B),
        "d_a": np.mean(-sigmoid(-U * A) * A) + np.mean(sigmoid(U * low) * low),
        "d_b": np.mean(-sigmoid(-V * B) * B) + np.mean(sigmoid(V * high) * high),
    }
    assert found == pytest.approx(expected, abs=1e-5)
    value = np.mean(np.log(1 - sigmoid(V * high))) + np.mean(np.log(1 - sigmoid(U * low)))
    assert metrics["g_loss"] == pytest.approx(value, rel=1e-5)


def structure(x, y):
    """The structure term of one pair of images [11, 11] in float64: one window."""
    offsets = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    weights = np.outer(offsets, offsets) / offsets.sum() ** 2
    x, y, c = (x + 1) / 2, (y + 1) / 2, 0.03**2 / 2
    mx, my = (weights * x).sum(), (weights * y).sum()
    vx, vy, cov = (weights * (x - mx) ** 2).sum(), (weights * (y - my) ** 2).sum(), (weights * (x - mx) * (y - my)).sum()
    return (cov + c) / (np.sqrt((vx + 1e-6) * (vy + 1e-6)) + c)


def test_structure_and_illumination():
    """The published terms in float64; contrast and brightness change no structure; flat images have finite gradients."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1, 1, (2, 11, 11, 1)), rng.uniform(-1, 1, (2, 11, 11, 1))
    x, y = x.astype(np.float32), y.astype(np.float32)
    expected = [1 - structure(x[i, ..., 0], y[i, ..., 0]) for i in range(2)]
    of_pair = jax.jit(losses.structure)
    np.testing.assert_allclose(of_pair(x, y), expected, atol=1e-5)
    assert (of_pair(0.35 * y + 0.2, 0.5 * y) < 2e-3).all()
    both = lambda p: losses.structure(p, y).sum() + losses.illumination(p).sum()
    assert np.isfinite(jax.jit(jax.grad(both))(jnp.zeros_like(y))).all()
    steps = np.kron([[0.0, 1.0], [0.5, -0.5]], np.ones((4, 4)))[None, ..., None].astype(np.float32)  # in [-1, 1]
    uneven = jax.jit(losses.illumination, static_argnames="tiles")
    assert float(uneven(steps, tiles=(2,))[0]) == pytest.approx(np.abs([-0.125, 0.375, 0.125, -0.375]).mean())
    assert float(uneven(np.full((1, 9, 10, 1), 0.3, np.float32), tiles=(4,))[0]) == pytest.approx(0, abs=1e-6)
    with pytest.raises(ConfigError, match="larger images"):
        losses.illumination(steps, tiles=(9,))
    with pytest.raises(ConfigError, match="11 pixels"):
        losses.structure(steps, steps)


def test_stillgan_terms_join_the_loss():
    batch = {side: np.random.default_rng(i).uniform(-1, 1, (2, 11, 11, 1)).astype(np.float32) for i, side in enumerate("ab")}
    objective = game(structure_weight=5.0, illumination_weight=1.0)
    _, metrics = jax.jit(objective.step)(objective.init(KEY, batch), batch, KEY)
    of_pair = jax.jit(losses.structure)
    expected = {"g_illumination": jax.jit(losses.illumination)(P * batch["a"]).mean()}
    expected |= {f"g_structure_{s}": 5 * of_pair(f * batch[s], batch[s]).mean() for s, f in (("a", P), ("b", Q))}
    assert {name: float(metrics[name]) for name in expected} == pytest.approx(
        {k: float(v) for k, v in expected.items()}, rel=1e-4
    )


def test_the_discriminators_are_shown_the_pool():
    """With a pool of one: the first fake fills it, the second is shown or the first instead; what is kept says which."""
    objective = game(adversary=None, pool=1)
    state = objective.init(KEY, BATCH)
    moved, metrics = jax.jit(objective.step)(state, BATCH, KEY)
    held = {side: np.asarray(pool.images[0]) for side, pool in moved.extra["pool"].items()}
    fakes = {"a": Q * BATCH["b"], "b": P * BATCH["a"]}
    for side, factor in (("a", U), ("b", V)):
        assert int(moved.extra["pool"][side].count) == 1
        second = not np.allclose(held[side], fakes[side][0])  # stored, so that the first was shown twice
        shown = fakes[side][[0, 0]] if second else fakes[side]
        expected = 0.5 * (np.mean((factor * BATCH[side] - 1) ** 2) + np.mean((factor * shown) ** 2))
        assert float(metrics[f"d_{side}_loss"]) == pytest.approx(expected, rel=1e-5)


def test_micro_batches_and_a_chain_of_steps():
    """Two parts give what one batch gives, pool included; under jit the state keeps its structure."""
    whole, parts = ({"cycle_weight": 10.0, "adversary": None, "pool": 3, "microbatch": m} for m in (0, 1))
    states, rows = [], []
    for options in (whole, parts):
        objective, step = game(**options), None
        state, step = objective.init(KEY, BATCH), jax.jit(train_step(objective))
        for _ in range(2):
            state, metrics = step(state, BATCH, KEY)
        states.append(leaves(state))
        rows.append({k: float(v) for k, v in metrics.items()})
    assert states[0].keys() == states[1].keys() and rows[0] == pytest.approx(rows[1], rel=1e-4)
    for name, value in states[0].items():
        np.testing.assert_allclose(states[1][name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_predictions_and_values_are_keyed_like_the_batch():
    objective = game(cycle_weight=10.0, adversary=None)
    state, index = objective.init(KEY, BATCH), np.arange(2, dtype=np.int32)
    both = objective.predict(state, {**BATCH, "index": index}, KEY)
    assert set(both) == {"a", "b", "cycle_a", "cycle_b"}
    np.testing.assert_allclose(both["b"], P * BATCH["a"], rtol=1e-6)
    np.testing.assert_allclose(both["a"], Q * BATCH["b"], rtol=1e-6)
    np.testing.assert_allclose(both["cycle_b"], P * Q * BATCH["b"], rtol=1e-6)
    one = objective.predict(state, {"source": BATCH["a"], "index": index}, KEY)
    assert set(one) == {"target"} and np.array_equal(one["target"], both["b"])
    drawn = objective.sample(state, {"source": BATCH["a"], "index": index}, KEY)
    np.testing.assert_allclose(drawn["target"], one["target"], rtol=1e-6)
    values = objective.evaluate(state, {**BATCH, "index": index}, KEY)
    assert set(values) == {"g_cycle_a", "g_cycle_b", "g_gan_ab", "g_gan_ba"}
    np.testing.assert_allclose(values["g_cycle_a"], 10 * (P * Q - 1) * A.mean((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(values["g_gan_ab"], ((V * P * A - 1) ** 2).mean((1, 2, 3)), rtol=1e-5)
    alone = objective.evaluate(state, {"source": BATCH["a"], "index": index}, KEY)
    assert set(alone) == {"g_cycle_a", "g_gan_ab"} and np.array_equal(alone["g_cycle_a"], values["g_cycle_a"])
