"""The conditional GAN: networks against numpy, what a draw depends on, and the options of its step."""

from __future__ import annotations

from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import leaves

from medjax import losses, objectives
from medjax.images import diffaugment
from medjax.models.cgan import Generator
from medjax.models.conditional_discriminator import ConditionalDiscriminator, MinibatchStd
from medjax.models.spectral import NormalisedConv, SpectralNorm
from medjax.objective import Player, train_step, with_ema
from medjax.objectives.adversarial import adversarial, alone
from medjax.objectives.cgan import class_loss, latents, probability
from medjax.types import ConfigError

pytestmark = pytest.mark.usefixtures("quick_compile")

KEY = jax.random.key(7)
SIZES = (("label", 3), ("age", 0))
SMALL = {"image_size": 16, "features": 4, "most_features": 8, "embedding": 4}


def batch_of(count=4, seed=0):
    """Squares whose brightness is the label's; index is not the place in the batch."""
    rng = np.random.default_rng(seed)
    label = np.arange(count, dtype=np.int32) % 3
    target = np.full((count, 16, 16, 1), -0.8, np.float32) + 0.05 * rng.normal(size=(count, 16, 16, 1)).astype(np.float32)
    target[:, 4:12, 4:12] += 0.5 * label[:, None, None, None]
    age = rng.uniform(0, 1, count).astype(np.float32)
    return {"target": target, "label": label, "age": age, "index": np.arange(count, dtype=np.int32) + 10}


BATCH = batch_of()


def generator(tx=None, **options):
    return Player(Generator(SIZES, **{**SMALL, **options}), tx or optax.adam(2e-3, b1=0.5))


def discriminator(tx=None, **options):
    return Player(ConditionalDiscriminator(SIZES, **{**SMALL, "hidden": 8, **options}), tx or optax.adam(2e-3, b1=0.5))


def condition(batch):
    return {name: batch[name] for name, _ in SIZES}


def started(player, *inputs):
    """The net's first parameters, by one compiled program instead of one for every operation."""
    return jax.jit(lambda *given: player.init(KEY, *given))(*inputs)


def applied(player, net, *inputs, **options):
    """(output, statistics) of the net, compiled likewise."""
    return jax.jit(lambda *given: player.apply(net.params, net.stats, *given, **options))(*inputs)


# ------------------------------------------------------------------------------------------------ spectral norm


def test_power_iteration_converges_to_the_largest_singular_value():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 6)).astype(np.float32)
    module = SpectralNorm()
    variables = module.init(jax.random.key(0), kernel, train=False)
    step = jax.jit(lambda v: module.apply(v, kernel, train=True, mutable=["spectral"]))
    sigma = np.linalg.svd(kernel.reshape(-1, 6), compute_uv=False)
    first, _ = step(variables)
    for _ in range(200):
        out, variables = step(variables)
    np.testing.assert_allclose(out, kernel / sigma[0], rtol=1e-4)
    assert np.linalg.norm(np.asarray(first).reshape(-1, 6), 2) >= 1  # from below: the estimate never exceeds the norm
    still = module.apply(variables, kernel, train=False)
    np.testing.assert_allclose(still, out, rtol=1e-5)
    scaled = jax.tree.map(lambda u: 0.3 * u, variables)  # as an average of vectors would be
    np.testing.assert_allclose(module.apply(scaled, kernel, train=False), still, rtol=1e-5)


def test_a_test_pass_leaves_the_vector_and_a_training_pass_moves_it_through_player_apply():
    player = Player(NormalisedConv(4, 4, 2, 1, True))
    x = jnp.ones((1, 6, 6, 2))
    module = player.module
    variables = dict(module.init(jax.random.key(0), x, train=False))
    params = variables.pop("params")
    assert set(variables) == {"spectral"}
    _, kept = player.apply(params, variables, x)
    _, moved = player.apply(params, variables, x, train=True)
    assert np.array_equal(*(next(iter(leaves(s).values())) for s in (variables, kept)))
    assert not np.array_equal(*(next(iter(leaves(s).values())) for s in (variables, moved)))


def test_the_gradient_through_the_norm_is_the_published_one():
    """Miyato et al. 2018, eq. 12: (G - <G, W / sigma> u v^T) / sigma for the cotangent G of the normalised kernel."""
    rng = np.random.default_rng(0)
    kernel, cotangent = (rng.normal(size=(5, 4)).astype(np.float32) for _ in range(2))
    module = SpectralNorm()
    left, values, right = np.linalg.svd(kernel)
    variables = {"spectral": {"u": jnp.asarray(right[0])}}
    found = jax.grad(lambda k: jnp.sum(cotangent * module.apply(variables, k, train=False)))(kernel)
    expected = (cotangent - np.sum(cotangent * kernel / values[0]) * np.outer(left[:, 0], right[0])) / values[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


# ------------------------------------------------------------------------------------------------ networks


def test_generator_makes_images_of_its_size_within_the_range():
    player = generator(image_size=32, features=2)
    net = started(player, jnp.zeros((3, 5)), condition(batch_of(3)))
    assert {k: v["kernel"].shape for k, v in net.params.items() if k.startswith("up")} == {
        "up_1": (4, 4, 8, 8), "up_2": (4, 4, 4, 8), "up_3": (4, 4, 2, 4),
    }  # fmt: skip
    out, stats = applied(player, net, 30 * jnp.ones((3, 5)), condition(batch_of(3)), train=True)
    assert out.shape == (3, 32, 32, 1) and out.dtype == jnp.float32 and np.abs(out).max() <= 1
    assert set(stats) == {"batch_stats"}


def test_published_sizes():
    """DCGAN's widths at 128 and 256 pixels: 6 and 7 levels, 512 channels at most."""
    for size, levels in ((64, 4), (128, 5), (256, 6)):
        shapes = jax.eval_shape(
            Generator((("label", 3),), image_size=size).init, KEY, jnp.zeros((1, 128)), {"label": jnp.zeros(1, jnp.int32)}
        )["params"]
        assert shapes["first"]["kernel"].shape == (160, 16 * 512) and f"up_{levels}" in shapes
        assert shapes["last"]["kernel"].shape == (3, 3, 32, 1) and f"up_{levels + 1}" not in shapes


@pytest.mark.parametrize("size", [4, 20, 48])
def test_other_sizes_are_an_error(size):
    with pytest.raises(ConfigError, match=f"8, 16, 32, 64, 128, 256, 512, ... pixels, not of {size}"):
        jax.eval_shape(generator(image_size=size).init, KEY, jnp.zeros((1, 5)), condition(BATCH))


def test_networks_name_the_columns_they_miss():
    with pytest.raises(ConfigError, match="conditioned on age, label, and was given label"):
        jax.eval_shape(generator().init, KEY, jnp.zeros((4, 5)), {"label": BATCH["label"]})
    with pytest.raises(ConfigError, match="conditioned on age, label, and was given age, label, sex"):
        jax.eval_shape(discriminator().init, KEY, BATCH["target"], {**condition(BATCH), "sex": BATCH["label"]})
    with pytest.raises(ConfigError, match="conditioning is one of projection, concatenation, auxiliary, not 'sum'"):
        jax.eval_shape(discriminator(conditioning="sum").init, KEY, BATCH["target"], condition(BATCH))
    with pytest.raises(ConfigError, match="a discriminator of 32 pixels cannot take 16x16"):
        jax.eval_shape(discriminator(image_size=32).init, KEY, BATCH["target"], condition(BATCH))


def embedded(params, batch):
    """The condition as the networks embed it."""
    table, dense = params["condition"]["label"]["embedding"], params["condition"]["age"]
    return np.concatenate([table[batch["label"]], batch["age"][:, None] @ dense["kernel"] + dense["bias"]], -1)


def leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def test_projection_is_the_inner_product_of_features_and_condition():
    """Miyato and Koyama 2018, eq. 7, by hand from the last maps on."""
    player = discriminator()
    net = started(player, BATCH["target"], condition(BATCH))
    p = jax.tree.map(np.asarray, net.params)
    ((*maps, logits),), _ = applied(player, net, BATCH["target"], condition(BATCH))
    code = leaky(np.asarray(maps[-1]).reshape(4, -1) @ p["dense"]["kernel"] + p["dense"]["bias"])
    expected = code @ p["logits"]["kernel"] + p["logits"]["bias"]
    expected += np.sum((embedded(p, BATCH) @ p["projection"]["kernel"]) * code, -1, keepdims=True) / np.sqrt(8)
    assert logits.shape == (4, 1, 1, 1) and [m.shape[1] for m in maps] == [8, 4]
    np.testing.assert_allclose(np.asarray(logits)[:, 0, 0], expected, atol=1e-6)


def test_concatenation_lays_the_condition_beside_the_image():
    player = discriminator(conditioning="concatenation")
    net = started(player, BATCH["target"], condition(BATCH))
    p = jax.tree.map(np.asarray, net.params)
    (maps,), _ = applied(player, net, BATCH["target"], condition(BATCH))
    wide = np.broadcast_to(embedded(p, BATCH)[:, None, None], (4, 16, 16, 8))
    first = nn.Conv(4, (4, 4), (2, 2), ((1, 1), (1, 1))).apply(
        {"params": p["conv_0"]}, np.concatenate([BATCH["target"], wide], -1)
    )
    np.testing.assert_allclose(maps[0], leaky(np.asarray(first)), atol=1e-6)
    assert p["conv_0"]["kernel"].shape == (4, 4, 9, 4) and "projection" not in p


def test_auxiliary_asks_for_every_column_and_is_told_none():
    player = discriminator(conditioning="auxiliary")
    net = started(player, BATCH["target"], condition(BATCH))
    (maps,), _ = applied(player, net, BATCH["target"], condition(BATCH))
    assert [m.shape[1:] for m in maps[-3:]] == [(1, 1, 3), (1, 1, 1), (1, 1, 1)]
    other = {"label": BATCH["label"][::-1], "age": 1 - BATCH["age"]}
    (again,), _ = applied(player, net, BATCH["target"], other)
    np.testing.assert_array_equal(maps[-1], again[-1])


def test_class_loss_equals_numpy():
    rng = np.random.default_rng(0)
    label, age = rng.normal(size=(4, 1, 1, 3)), rng.normal(size=(4, 1, 1, 1))
    scores = [[rng.normal(size=(4, 2, 2, 5)), label, age, rng.normal(size=(4, 1, 1, 1))]]
    found = class_loss(scores, BATCH, columns=("label", "age"))
    share = np.exp(label[:, 0, 0]) / np.exp(label[:, 0, 0]).sum(-1, keepdims=True)
    expected = -np.log(share[np.arange(4), BATCH["label"]]) + np.square(age[:, 0, 0, 0] - BATCH["age"])
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_minibatch_std_is_that_of_the_batch_in_training_and_a_memory_of_it_later():
    module, x = MinibatchStd(), np.random.default_rng(0).normal(size=(4, 2, 2, 3)).astype(np.float32)
    variables = module.init(KEY, x, train=False)
    out, stats = module.apply(variables, x, train=True, mutable=["batch_stats"])
    spread = x.std(0).mean()
    np.testing.assert_allclose(out[..., 3], spread, rtol=1e-5)
    np.testing.assert_array_equal(out[..., :3], x)
    for batch in (x, x[:1]):
        np.testing.assert_allclose(module.apply(stats, batch, train=False)[..., 3], 0.1 * spread, rtol=1e-5)
    gradient = jax.grad(lambda x: module.apply(stats, x, train=True, mutable=["batch_stats"])[0][..., 3].sum())(x * 0)
    assert np.isfinite(gradient).all()  # at a batch of equal images


# ------------------------------------------------------------------------------------------------ draws


def test_a_draw_depends_on_key_and_index_alone():
    """Not on its neighbours, its place, the batch's size or a target; another label is another image of the same z."""
    objective = objectives.cgan(generator(), discriminator(), columns=("label", "age"), latent=8)
    state = jax.jit(objective.init)(KEY, BATCH)
    asked = {k: v for k, v in BATCH.items() if k != "target"}
    assert objective.sample is objective.predict
    draw = jax.jit(objective.predict)
    images = np.asarray(draw(state, asked, KEY)["target"])
    swapped = np.asarray(draw(state, {k: v[[2, 0]] for k, v in asked.items()}, KEY)["target"])
    np.testing.assert_allclose(swapped, images[[2, 0]], atol=1e-5)
    assert np.abs(images - np.asarray(draw(state, asked, jax.random.key(1))["target"])).max() > 1e-4
    relabelled = np.asarray(draw(state, {**asked, "label": (asked["label"] + 1) % 3}, KEY)["target"])
    assert np.all(np.abs(images - relabelled).max((1, 2, 3)) > 0)
    z = np.asarray(latents(KEY, np.arange(2000), size=8))
    assert abs(z.mean()) < 0.03 and z.std() == pytest.approx(1, abs=0.03) and abs(np.corrcoef(z[:-1, 0], z[1:, 0])[0, 1]) < 0.1


def test_in_training_a_repeated_image_repeats_no_noise():
    """Of a class oversampled fifteen times a batch may hold one record twice."""
    objective = objectives.cgan(generator(), discriminator(), columns=("label", "age"), latent=8)
    state = jax.jit(objective.init)(KEY, BATCH)
    step = jax.jit(objective.step)
    first, _ = step(state, BATCH, KEY)
    same, _ = step(state, {**BATCH, "index": np.zeros(4, np.int32)}, KEY)
    for name, value in leaves(first).items():
        np.testing.assert_array_equal(leaves(same)[name], value, err_msg=name)


def test_probability_is_the_sigmoid_of_the_logit():
    player = discriminator(dropout=0.5)
    net = started(player, BATCH["target"], condition(BATCH))
    ((*_, logits),), _ = applied(player, net, BATCH["target"], condition(BATCH))
    found = np.asarray(jax.jit(partial(probability, player, net))(BATCH["target"], condition(BATCH)))
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-np.asarray(logits).ravel())), rtol=1e-5)


# ------------------------------------------------------------------------------------------------ the step


CASES = {
    "published": (generator, partial(discriminator, conditioning="concatenation", dropout=0.3), {}),
    "hinge spectral penalty augment": (
        partial(generator, conditional_norm=True, norm="instance"),
        partial(discriminator, spectral=True, minibatch_std=True),
        {
            "adversary": losses.hinge(),
            "gradient_penalty": losses.r1(0.5),
            "augment": lambda images, keys: diffaugment(keys, images),
        },
    ),
    "auxiliary": (
        partial(generator, norm="none"),
        partial(discriminator, conditioning="auxiliary", norm="batch", contrast=2.0),
        {"auxiliary": partial(class_loss, columns=("label", "age")), "auxiliary_weight": 0.5},
    ),
    "relativistic features": (generator, discriminator, {
        "adversary": losses.relativistic_average(), "feature_matching_weight": 1.0,
    }),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_every_form_trains_alike_twice_and_stays_finite(name):
    make_g, make_d, options = CASES[name]
    objective = with_ema(objectives.cgan(make_g(), make_d(), columns=("label", "age"), latent=8, **options), 0.9)
    init, step, runs = jax.jit(objective.init), jax.jit(train_step(objective)), []
    for _ in range(2):
        state, terms = init(KEY, BATCH), []
        first = leaves(state)
        for _ in range(5):
            state, metrics = step(state, BATCH, KEY)
            terms.append(jax.device_get(metrics))
        runs.append(leaves(state))
    assert step._cache_size() == 1
    for path, value in runs[0].items():
        np.testing.assert_array_equal(runs[1][path], value, err_msg=path)
        assert np.isfinite(value).all(), path
        assert "opt_state" in path or "kernel" not in path or not np.array_equal(value, first[path]), f"{path} stood still"
    assert all(np.isfinite(list(t.values())).all() for t in terms)
    parts = [k for k in terms[0] if k in ("g_gan", "g_class", "g_features")]
    assert all(float(t["g_loss"]) == pytest.approx(sum(float(t[k]) for k in parts), rel=1e-5) for t in terms)
    values = jax.eval_shape(objective.evaluate, state, BATCH, KEY)
    assert {v.shape for v in values.values()} == {(4,)} and set(values) <= set(terms[0]) and {"d_real", "d_fake"} <= set(values)


class Level(nn.Module):
    """A generator of flat images, or a discriminator that gives the mean of an image times a weight."""

    judges: bool

    @nn.compact
    def __call__(self, x, *, train=False):
        w = self.param("w", nn.initializers.ones, ())
        return [[w * x.mean((1, 2, 3), keepdims=True)]] if self.judges else w * jnp.ones_like(x)


def test_a_guide_moves_the_generator_alone_through_the_augmentation():
    """G makes w, doubled by the augmentation; its loss is the label's multiple of what the guide sees: dL/dw = 0.5 * 2 * mean."""
    guide = lambda images, batch: batch["label"] * images.mean((1, 2, 3))  # noqa: E731
    objective = adversarial(
        Player(Level(False), optax.sgd(1.0)),
        Player(Level(True), optax.sgd(0.0)),
        adversary=losses.Adversary(lambda real, fake: 0.0 * fake.mean(), lambda real, fake: real.mean()),
        seen=alone,
        guide=guide,
        guide_weight=0.5,
        augment=lambda images, keys: 2 * images,
    )
    batch = {name: jnp.ones((2, 4, 4, 1)) for name in ("source", "target")} | {"index": jnp.arange(2), "label": jnp.array([1, 3])}
    state = objective.init(KEY, batch)
    moved, metrics = objective.step(state, batch, KEY)
    assert float(metrics["g_guide"]) == float(metrics["g_loss"]) == 0.5 * 2 * 2
    assert float(moved.nets["generator"].params["w"]) == 1 - 0.5 * 2 * 2
    chex.assert_trees_all_equal(moved.nets["discriminator"], state.nets["discriminator"])
    np.testing.assert_array_equal(objective.evaluate(state, batch, KEY)["g_guide"], [0.5, 1.5])


def test_augmentation_is_drawn_apart_for_real_fake_and_generator_and_carries_gradients():
    """G makes 1s, real images are 1s, D is the mean: what D says is what the augmentation multiplied by."""
    adversary = losses.Adversary(lambda real, fake: -fake.mean(), lambda real, fake: 100 * real.mean() + fake.mean())
    uniform = jax.vmap(lambda key: jax.random.uniform(key, (1, 1, 1), minval=1.0, maxval=2.0))
    scale = lambda images, keys: images * uniform(keys)  # noqa: E731
    objective = adversarial(
        Player(Level(False), optax.sgd(1.0)),
        Player(Level(True), optax.sgd(0.0)),
        adversary=adversary,
        seen=alone,
        augment=scale,
    )
    batch = {"source": jnp.ones((2, 4, 4, 1)), "target": jnp.ones((2, 4, 4, 1)), "index": jnp.arange(2)}
    state = objective.init(KEY, batch)
    moved, metrics = objective.step(state, batch, KEY)
    g = -float(metrics["g_gan"])
    both = float(metrics["d_loss"])  # 100 a + b with a, b in 1 to 2
    assert 1 < g < 2 and 101 < both < 202
    a_if_equal = both / 101
    assert abs(a_if_equal - g) > 1e-3, "the generator's pass has a draw of its own"
    alike = adversarial(
        Player(Level(False), optax.sgd(1.0)), Player(Level(True), optax.sgd(0.0)),
        adversary=losses.Adversary(adversary.generator, lambda real, fake: real.mean() - fake.mean()), seen=alone, augment=scale,
    )  # fmt: skip
    assert abs(float(alike.step(state, batch, KEY)[1]["d_loss"])) > 1e-3, "real and fake have draws of their own"
    w = float(moved.nets["generator"].params["w"])
    assert w == pytest.approx(1 + g, rel=1e-5), "d(-w g)/dw = -g, so one step of rate 1 adds g"
    assert float(objective.evaluate(state, batch, KEY)["g_gan"][0]) == -1, "no augmentation at test time"


def test_penalty_is_taken_at_the_real_images_as_d_saw_them():
    """D is w times the mean of 16 pixels: its gradient has norm w / 4 whatever the image, R1 is gamma / 2 * w^2 / 16."""
    objective = adversarial(
        Player(Level(False), optax.sgd(0.0)), Player(Level(True), optax.sgd(1.0)),
        adversary=losses.Adversary(lambda real, fake: fake.mean() * 0, lambda real, fake: real.mean() * 0),
        seen=alone, gradient_penalty=losses.r1(8.0),
    )  # fmt: skip
    batch = {"source": jnp.ones((2, 4, 4, 1)), "target": jnp.ones((2, 4, 4, 1)), "index": jnp.arange(2)}
    moved, metrics = objective.step(objective.init(KEY, batch), batch, KEY)
    assert float(metrics["d_penalty"]) == pytest.approx(4 / 16)
    assert float(moved.nets["discriminator"].params["w"]) == pytest.approx(1 - 8 / 16)
    doubled = adversarial(
        Player(Level(False)), Player(Level(True)), adversary=losses.vanilla(), seen=alone,
        gradient_penalty=lambda critic, images: critic(images).sum() + 100 * images.mean(),
        augment=lambda images, keys: 2 * images,
    )  # fmt: skip
    _, metrics = doubled.step(doubled.init(KEY, batch), batch, KEY)
    assert float(metrics["d_penalty"]) == 2 + 2 + 200, "two images of 2s, each with a logit of its own"


def test_a_perceptual_term_is_one_more_comparison():
    options = {"adversary": losses.vanilla(), "seen": alone, "reconstruction_weight": 3.0}
    make = lambda **more: adversarial(Player(Level(False)), Player(Level(True)), **options, **more)  # noqa: E731
    batch = {"source": jnp.ones((2, 4, 4, 1)), "target": jnp.zeros((2, 4, 4, 1)) + jnp.array([0.0, 0.5])[:, None, None, None]}
    batch["index"] = jnp.arange(2)
    plain, more = make(), make(perceptual=losses.l2, perceptual_weight=10.0)
    state = plain.init(KEY, batch)
    _, terms = more.step(state, batch, KEY)
    assert float(terms["g_perceptual"]) == pytest.approx(10 * (1 + 0.25) / 2)
    assert float(terms["g_loss"]) == pytest.approx(float(plain.step(state, batch, KEY)[1]["g_loss"] + terms["g_perceptual"]))
    np.testing.assert_allclose(more.evaluate(state, batch, KEY)["g_perceptual"], [10, 2.5])
    with pytest.raises(ConfigError, match="a perceptual weight of 10.0 needs a perceptual loss"):
        make(perceptual_weight=10.0)
