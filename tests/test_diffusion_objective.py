"""Conditional diffusion as an objective: its loss, what its predictions depend on, and what it refuses."""

from __future__ import annotations

import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medjax import diffusion, objectives
from medjax.objective import Player, train_step, with_ema
from medjax.types import ConfigError

pytestmark = pytest.mark.usefixtures("quick_compile")

KEY = jax.random.key(11)
SCHEDULE = diffusion.linear(50, first=2e-3, last=0.3)
RNG = np.random.default_rng(4)


def batch_of(count):
    target = RNG.uniform(-0.8, 0.8, (count, 1, 1, 1)) + 0.1 * RNG.normal(size=(count, 8, 8, 1))
    source = 0.5 * target + 0.1 * RNG.normal(size=target.shape)
    return {
        "source": np.float32(source.clip(-1, 1)),
        "target": np.float32(target.clip(-1, 1)),
        "index": np.arange(count, dtype=np.int32) + 20,
    }


BATCH = batch_of(4)


class Small(nn.Module):
    """A denoiser of two convolutions that is told the time as a map: the U-Net has tests of its own."""

    @nn.compact
    def __call__(self, x, t, condition, *, train=False):
        when = jnp.broadcast_to(t[:, None, None, None] / 50, x.shape)
        h = nn.silu(nn.Conv(16, (3, 3))(jnp.concatenate([x, condition, when], -1)))
        return nn.Conv(1, (3, 3), kernel_init=nn.initializers.zeros)(h)


def player():
    return Player(Small(), optax.adam(1e-2))


def made(**options):
    return objectives.diffusion(player(), **{"schedule": SCHEDULE, "steps": 4, **options})


@pytest.fixture(scope="module")
def run():
    """An objective with an average, its states before and after 30 steps on one batch, and its losses."""
    objective = with_ema(made(prediction="v", weighting="min_snr", sampler="dpm2m", samples=2), 0.9, ("denoiser",))
    state = first = jax.jit(objective.init)(KEY, BATCH)
    step, losses = jax.jit(train_step(objective)), []
    for _ in range(30):
        state, metrics = step(state, BATCH, KEY)
        losses.append(float(metrics["loss"]))
    return objective, first, state, losses


def test_the_loss_of_a_denoiser_that_predicts_nothing_is_that_of_its_target():
    """Untrained it gives 0: for epsilon the mean square of noise, 1."""
    objective = made()
    state = jax.jit(objective.init)(KEY, BATCH)
    _, metrics = jax.jit(train_step(objective))(state, BATCH, KEY)
    assert float(metrics["loss"]) == pytest.approx(1, abs=0.25)
    plain = made(prediction="x0", weighting="min_snr")
    found = jax.jit(plain.evaluate)(state, BATCH, KEY)["loss"]
    times = ((np.arange(8) + 0.5) / 8 * 50).astype(int)
    alpha_bar = np.cumprod(1 - np.linspace(2e-3, 0.3, 50))[times]
    weights = np.minimum(alpha_bar / (1 - alpha_bar), 5).mean()
    np.testing.assert_allclose(found, weights * (BATCH["target"].astype(np.float64) ** 2).mean((1, 2, 3)), rtol=1e-4)


def test_the_loss_falls_and_validation_follows(run):
    objective, first, last, losses = run
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])
    before, after = (jax.jit(objective.evaluate)(state, BATCH, KEY)["loss"] for state in (first, last))
    assert after.shape == (4,) and (after < before).all()


def test_validation_is_the_same_for_an_image_whatever_its_neighbours(run):
    objective, _, state, _ = run
    evaluate = jax.jit(objective.evaluate)
    one = {name: value[2:3] for name, value in BATCH.items()}
    np.testing.assert_allclose(evaluate(state, one, KEY)["loss"], evaluate(state, BATCH, KEY)["loss"][2:3], rtol=1e-4)


def test_a_prediction_is_the_mean_of_draws_of_the_average(run):
    """Each image's own, whatever its neighbours; the source decides, and the target is not read."""
    objective, _, state, _ = run
    predict, sample = jax.jit(objective.predict), jax.jit(objective.sample)
    seen = {name: BATCH[name] for name in ("source", "index")}
    found = predict(state, seen, KEY)["target"]
    draws = [sample(state, seen, jax.random.fold_in(KEY, i))["target"] for i in range(2)]
    assert np.abs(draws[0] - draws[1]).max() > 1e-3 and np.abs(found).max() <= 1
    np.testing.assert_allclose(found, (draws[0] + draws[1]) / 2, atol=1e-5)
    np.testing.assert_allclose(predict(state, {k: v[1:2] for k, v in seen.items()}, KEY)["target"], found[1:2], atol=1e-4)
    averaged = state._replace(nets={"denoiser": state.nets["denoiser"]._replace(params=state.ema["denoiser"][0])}, ema={})
    plain = made(prediction="v", weighting="min_snr", sampler="dpm2m", samples=2)
    np.testing.assert_allclose(jax.jit(plain.predict)(averaged, seen, KEY)["target"], found, atol=1e-5)


def test_microbatches_take_the_same_step():
    states = []
    for part in (0, 2):
        objective = objectives.diffusion(player(), schedule=SCHEDULE, steps=4, microbatch=part)
        state = jax.jit(objective.init)(KEY, BATCH)
        states.append(jax.jit(train_step(objective))(state, BATCH, KEY))
    (whole, loss), (parts, mean) = states
    assert float(mean["loss"]) == pytest.approx(float(loss["loss"]), rel=1e-5)
    close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4)
    jax.tree.map(close, whole.nets["denoiser"].params, parts.nets["denoiser"].params)


class Echo:
    """A denoiser that says its condition is the image."""

    def apply(self, params, stats, x, t, condition, **_):
        return condition, stats


def test_what_the_denoiser_is_shown_and_where_it_starts():
    """With a denoiser that believes its condition the draw is the condition; with one that believes x_t, the start image."""
    state = jax.jit(made().init)(KEY, BATCH)
    enhance = lambda x: -x
    options = dict(schedule=SCHEDULE, prediction="x0", steps=2, enhance=enhance)
    seen = {name: BATCH[name] for name in ("source", "index")}
    for which, shown in (("source", BATCH["source"]), ("enhanced", -BATCH["source"])):
        objective = objectives.diffusion(Echo(), trained_on=which, condition=which, **options)
        np.testing.assert_allclose(jax.jit(objective.sample)(state, seen, KEY)["target"], shown, atol=1e-6)
    trusting = type("Trusting", (Echo,), {"apply": lambda self, params, stats, x, t, condition, **_: (x, stats)})()
    for make, sign in ((enhance, -1), (None, 1)):
        objective = objectives.diffusion(trusting, start=2, **{**options, "enhance": make})
        drawn = jax.jit(objective.sample)(state, seen, KEY)["target"]
        assert np.abs(drawn - sign * BATCH["source"]).max() < 0.4


def test_a_condition_that_was_not_trained_on_is_told():
    with pytest.warns(UserWarning, match="trained on the condition 'source' and shown 'enhanced' at inference"):
        made(enhance=lambda x: x, condition="enhanced")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made(enhance=lambda x: x, condition="enhanced", trained_on="enhanced")


def test_bad_options_are_told():
    for options, told in (
        (dict(steps=51), "51 sampling steps cannot be taken where the diffusion has 50"),
        (dict(start=60), "start at step 60: this diffusion has 50"),
        (dict(sampler="heun"), "unknown sampler 'heun'"),
        (dict(prediction="score"), "unknown prediction"),
        (dict(weighting="p2"), "unknown loss weighting"),
        (dict(samples=0), "at least 1 sample, not 0"),
        (dict(condition="target"), "one of source, enhanced, not 'target'"),
        (dict(condition="enhanced"), "needs an enhancer"),
    ):
        with pytest.raises(ConfigError, match=told):
            made(**options)
