"""Every objective through the same properties, on nets of a few thousand parameters at 16 pixels."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import leaves

from medjax import losses, objectives
from medjax.models.discriminators import MultiScale, PatchGAN
from medjax.models.restorer import Restorer
from medjax.models.unet import UNet
from medjax.objective import Objective, Player, train_step, with_ema, with_transform
from medjax.objectives.adversarial import adversarial, alone, feature_matching

pytestmark = pytest.mark.usefixtures("quick_compile")

STEPS, DECAY = 24, 0.5
KEY = jax.random.key(7)


def batch_of(count, seed=0):
    """Smooth targets and noisy sources; `index` is not the place in the batch."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:16, 0:16] / 16
    waves = [np.sin(6 * (x * a + y * b)) * 0.7 for a, b in rng.uniform(-1, 1, (count, 2))]
    target = np.stack(waves)[..., None].astype(np.float32)
    source = np.clip(target + 0.2 * rng.normal(size=target.shape), -1, 1).astype(np.float32)
    return {"source": source, "target": target, "index": np.arange(count, dtype=np.int32) + 10}


BATCH = batch_of(2)


def unet(**options):
    return Player(UNet(features=4, levels=2, predict_norm="batch", **options), optax.adam(2e-3, b1=0.5))


def critic(module=PatchGAN):
    options = {"scales": 2} if module is MultiScale else {}
    return Player(module(features=4, layers=1, **options), optax.adam(1e-3, b1=0.5))


def restorer():
    return Player(Restorer((4,), (1,)), optax.adam(5e-3))


def relativistic():
    """A pair that reads real and fake at once (Jolicoeur-Martineau 2018)."""
    return losses.Adversary(
        generator=lambda real, fake: jax.nn.softplus(-(fake - real.mean())).mean() + jax.nn.softplus(real - fake.mean()).mean(),
        discriminator=lambda real, fake: (
            jax.nn.softplus(-(real - fake.mean())).mean() + jax.nn.softplus(fake - real.mean()).mean()
        ),
        uses_real=True,
    )


def r1(critic, images):
    """Mescheder et al. 2018: squared gradient of D at real images."""
    return 0.5 * jnp.square(jax.grad(lambda x: critic(x).sum())(images)).sum((1, 2, 3)).mean()


def darker(batch, key):
    return {**batch, "source": batch["source"] * jax.random.uniform(key, (), minval=0.8, maxval=1.0)}


class Case(NamedTuple):
    objective: Objective
    nets: tuple[str, ...]
    falls: str  # the term that has to fall on one batch
    random: bool = True  # whether a sample differs from the prediction


def both(objective, falls="g_reconstruction", random=True):
    return Case(objective, ("discriminator", "generator"), falls, random)


def make_cases():
    own = ("generator",)
    return {
        "vanilla ema": both(with_ema(objectives.pix2pix(unet(), critic()), DECAY)),
        "lsgan": both(objectives.pix2pix(unet(), critic(), adversary=losses.lsgan())),
        "hinge": both(objectives.pix2pix(restorer(), critic(), adversary=losses.hinge()), random=False),
        "multi-scale features": both(objectives.pix2pix(unet(), critic(MultiScale), feature_matching_weight=10.0)),
        "relativistic penalty augment": both(
            adversarial(
                restorer(),
                critic(),
                adversary=relativistic(),
                seen=alone,
                reconstruction_weight=10.0,
                augment=lambda images, keys: images + 0.1 * jax.vmap(jax.random.normal)(keys)[:, None, None, None],
                gradient_penalty=r1,
            ),
            random=False,
        ),
        "l1": Case(objectives.supervised(restorer()), own, "g_loss", False),
        "l2 bfloat16": Case(objectives.supervised(unet(dtype=jnp.bfloat16), loss=losses.l2), own, "g_loss"),
        "charbonnier transform": Case(
            with_transform(objectives.supervised(restorer(), loss=losses.charbonnier), darker), own, "g_loss", False
        ),
    }


CASES = make_cases()


class Run(NamedTuple):
    case: Case
    states: list  # before the first step and after each
    metrics: list
    again: object  # the state after three steps of a second, identical run
    step: object
    predict: object
    sample: object


_RUNS: dict[str, Run] = {}


@pytest.fixture(params=sorted(CASES))
def run(request) -> Run:
    """Two identical runs of an objective, made once."""
    name = request.param
    if name not in _RUNS:
        case = CASES[name]
        init, step = jax.jit(case.objective.init), jax.jit(train_step(case.objective))
        first = init(KEY, BATCH)
        states, metrics = [first], []
        for _ in range(STEPS):
            state, terms = step(states[-1], BATCH, KEY)
            states.append(state)
            metrics.append(jax.device_get(terms))
        again = init(KEY, BATCH)
        for _ in range(3):
            again, _ = step(again, BATCH, KEY)
        predict, sample = jax.jit(case.objective.predict), jax.jit(case.objective.sample)
        _RUNS[name] = Run(case, states, metrics, again, step, predict, sample)
    return _RUNS[name]


def test_compiles_once_and_keeps_its_structure(run):
    assert run.step._cache_size() == 1
    before, after = leaves(run.states[0]), leaves(run.states[-1])
    assert {k: (v.shape, v.dtype) for k, v in before.items()} == {k: (v.shape, v.dtype) for k, v in after.items()}
    assert int(run.states[-1].step) == STEPS


def test_each_listed_net_moves_and_there_is_no_other(run):
    assert tuple(sorted(run.states[0].nets)) == run.case.nets
    for name, net in run.states[0].nets.items():
        moved = run.states[1].nets[name]
        for part in ("params", "stats", "opt_state"):
            for path, value in leaves(getattr(net, part)).items():
                if path.endswith("['bias']") or not value.size:
                    continue  # a bias may stand still, as one before a norm or behind weights of zero
                same = np.array_equal(value, leaves(getattr(run.states[-1].nets[name], part))[path])
                assert not same, f"{name} {part} {path} did not move"
        assert not np.array_equal(*(np.concatenate([x.ravel() for x in jax.tree.leaves(n.params)]) for n in (net, moved)))


def test_everything_is_finite(run):
    for terms in run.metrics:
        assert all(np.isfinite(v).all() and np.ndim(v) == 0 for v in terms.values())
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(jax.device_get(run.states[-1])))


def test_the_loss_falls_on_one_batch(run):
    values = [float(terms[run.case.falls]) for terms in run.metrics]
    assert np.mean(values[-5:]) < 0.8 * np.mean(values[:3])


def test_two_runs_are_equal_to_the_bit(run):
    first, second = leaves(run.states[3]), leaves(run.again)
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


def test_the_order_of_calls_does_not_matter_but_the_step_does(run):
    """The key of a step is folded with its number: another step, another draw, even from the same state."""
    if not run.case.random:
        pytest.skip("nothing is random")
    at = [run.step(run.states[0]._replace(step=jnp.asarray(i, jnp.int32)), BATCH, KEY)[1] for i in (1, 0)]
    assert float(at[0]["g_loss"]) != float(at[1]["g_loss"])
    assert float(at[1]["g_loss"]) == float(run.metrics[0]["g_loss"])


def test_predictions_are_keyed_like_the_batch_and_need_no_target(run):
    visible = {k: BATCH[k] for k in ("source", "index")}
    for fn in (run.predict, run.sample):
        out = fn(run.states[-1], visible, KEY)
        assert set(out) <= set(BATCH) - {"index"}
        assert out["target"].shape == BATCH["target"].shape and out["target"].dtype == jnp.float32
    again = run.predict(run.states[-1], visible, jax.random.key(99))["target"]
    np.testing.assert_array_equal(run.predict(run.states[-1], visible, KEY)["target"], again)


def test_predictions_and_samples_do_not_depend_on_neighbours(run):
    visible = {k: BATCH[k] for k in ("source", "index")}
    other = {"source": np.stack([BATCH["source"][1], -BATCH["source"][0]]), "index": np.array([11, 5], np.int32)}
    for fn in (run.predict, run.sample):
        one, two = (fn(run.states[-1], b, KEY)["target"] for b in (visible, other))
        np.testing.assert_allclose(one[1], two[0], atol=2e-5)


def test_samples_vary_with_the_key_where_something_is_random(run):
    visible = {k: BATCH[k] for k in ("source", "index")}
    draws = [np.asarray(run.sample(run.states[-1], visible, jax.random.key(i))["target"]) for i in (1, 2)]
    if run.case.random:
        assert np.abs(draws[0] - draws[1]).max() > 1e-4
    else:
        np.testing.assert_array_equal(*draws)
        np.testing.assert_allclose(draws[0], run.predict(run.states[-1], visible, KEY)["target"], atol=1e-5)


def test_validation_values_are_per_image(run):
    values = jax.eval_shape(run.case.objective.evaluate, run.states[-1], BATCH, KEY)
    assert {v.shape for v in values.values()} == {(2,)} and set(values) <= set(run.metrics[0])


# ------------------------------------------------------------------------------------------------ one by one


@pytest.mark.parametrize("run", ["vanilla ema"], indirect=True)
def test_ema_follows_its_formula_and_is_what_predicts(run):
    """e += (1 - min(decay, (1 + t) / (10 + t))) * (p - e), parameters and statistics."""
    average = leaves(run.states[0].ema["generator"])
    for t, state in enumerate(run.states[1:9]):
        rate = 1 - min(DECAY, (1 + t) / (10 + t))
        new = leaves((state.nets["generator"].params, state.nets["generator"].stats))
        average = {k: e + rate * (new[k] - e) for k, e in average.items()}
    for name, value in leaves(state.ema["generator"]).items():
        np.testing.assert_allclose(value, average[name], atol=1e-6, err_msg=name)
    assert set(state.ema) == {"generator"}
    params, stats = state.ema["generator"]
    module = unet().module
    expected = jax.jit(module.apply)({"params": params, **stats}, BATCH["source"])
    visible = {k: BATCH[k] for k in ("source", "index")}
    np.testing.assert_allclose(run.predict(state, visible, KEY)["target"], expected, atol=1e-5)


def test_the_shared_forward_gives_the_gradients_of_the_two_pass_formulation():
    """D by its own loss on a held fake; then G by jax.grad through a second forward pass and the updated D."""
    g, d = (Player(p.module, optax.sgd(1.0)) for p in (unet(), critic()))
    objective = objectives.pix2pix(g, d, reconstruction_weight=10.0)
    state = jax.jit(objective.init)(KEY, BATCH)
    moved, metrics = jax.jit(objective.step)(state, BATCH, KEY)
    from medjax.rng import named

    source, target = BATCH["source"], BATCH["target"]

    def forward(params):
        return g.apply(params, state.nets["generator"].stats, source, train=True, rng=named(KEY, "dropout"))[0]

    def logits(params, stats, image):
        out, stats = d.apply(params, stats, jnp.concatenate([source, image], -1), train=True)
        return out[0][-1], stats

    def by_hand(g_params, d_params):
        fake = forward(g_params)

        def d_loss(p):
            real, stats = logits(p, state.nets["discriminator"].stats, target)
            out, stats = logits(p, stats, fake)
            return 0.5 * (jax.nn.softplus(-real).mean() + jax.nn.softplus(out).mean()), stats

        d_grad, d_stats = jax.grad(d_loss, has_aux=True)(d_params)
        new_d = jax.tree.map(lambda p, q: p - q, d_params, d_grad)

        def g_loss(p):
            fake = forward(p)
            out, _ = logits(new_d, d_stats, fake)
            return jax.nn.softplus(-out).mean() + 10.0 * jnp.abs(fake - target).mean()

        value, g_grad = jax.value_and_grad(g_loss)(g_params)
        return value, jax.tree.map(lambda p, q: p - q, g_params, g_grad), new_d, d_stats

    value, new_g, new_d, d_stats = jax.jit(by_hand)(state.nets["generator"].params, state.nets["discriminator"].params)
    assert float(metrics["g_loss"]) == pytest.approx(float(value), rel=1e-5)
    for ours, theirs in ((moved.nets["generator"].params, new_g), (moved.nets["discriminator"].params, new_d)):
        for name, value in leaves(ours).items():
            np.testing.assert_allclose(value, leaves(theirs)[name], atol=2e-5, err_msg=name)
    for name, value in leaves(moved.nets["discriminator"].stats).items():
        np.testing.assert_allclose(value, leaves(d_stats)[name], atol=1e-6, err_msg=name)


def test_terms_add_up_and_accuracies_are_shares(run):
    for terms in run.metrics:
        parts = [terms[k] for k in ("g_gan", "g_reconstruction", "g_features") if k in terms]
        assert not parts or float(terms["g_loss"]) == pytest.approx(float(sum(parts)), rel=1e-5)
        assert all(0 <= terms[k] <= 1 for k in ("d_real", "d_fake") if k in terms)


@pytest.mark.parametrize("run", ["lsgan"], indirect=True)
def test_validation_values_equal_numpy(run):
    """The L1 part and the adversary's, of each image by itself, D at its running statistics."""
    state = run.states[-1]
    values = jax.jit(run.case.objective.evaluate)(state, BATCH, KEY)
    fake = np.asarray(run.predict(state, {k: BATCH[k] for k in ("source", "index")}, KEY)["target"])
    l1 = 100 * np.abs(fake - BATCH["target"]).mean((1, 2, 3))
    np.testing.assert_allclose(values["g_reconstruction"], l1, rtol=1e-4)
    d = state.nets["discriminator"]
    seen = np.concatenate([BATCH["source"], fake], -1)
    logits = np.asarray(jax.jit(critic().module.apply)({"params": d.params, **d.stats}, seen)[0][-1])
    np.testing.assert_allclose(values["g_gan"], np.square(logits - 1).mean((1, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(values["g_loss"], values["g_gan"] + values["g_reconstruction"], rtol=1e-6)


def test_gamma_of_every_attention_is_reported():
    objective = objectives.supervised(unet(image_size=16, attention_at=("encoder:8", "decoder:8")))
    state = jax.eval_shape(objective.init, KEY, BATCH)
    _, metrics = jax.eval_shape(objective.step, state, BATCH, KEY)
    found = {k: v.shape for k, v in metrics.items() if k.startswith("gamma/")}
    assert found == {"gamma/attention_encoder_8": (), "gamma/attention_decoder_8": ()}


def test_feature_matching_leaves_the_logits_out():
    real = [[jnp.zeros((1, 2)), jnp.zeros((1, 3)), jnp.zeros((1, 1))]] * 2
    fake = [[jnp.ones((1, 2)), 3 * jnp.ones((1, 3)), 100 * jnp.ones((1, 1))]] * 2
    assert float(feature_matching(real, fake)) == 2.0


def test_transform_changes_training_alone():
    plain = objectives.supervised(restorer())
    doubled = with_transform(plain, lambda batch, key: {**batch, "target": 2 * batch["target"]})
    state = jax.jit(plain.init)(KEY, BATCH)  # untrained, the restorer is the identity
    losses_ = [float(jax.jit(o.step)(state, BATCH, KEY)[1]["g_loss"]) for o in (plain, doubled)]
    by_hand = [np.abs(BATCH["source"] - scale * BATCH["target"]).mean() for scale in (1, 2)]
    np.testing.assert_allclose(losses_, by_hand, rtol=1e-5)
    assert doubled.predict is plain.predict and doubled.evaluate is plain.evaluate
