"""One generator against one discriminator: the step that every GAN here shares.

The generator's forward pass is run once: D descends on the fake, then G's gradient is pulled back through the same
residuals from the *updated* D. D sees real and fake in two passes, each with its own batch statistics; its running
statistics pass through both, and in G's pass they are dropped. In micro-batches the forward pass is run for D and again for G,
so that nothing is kept between the two.

What a system adds comes in as functions: what G is called with, what D is shown, how images are augmented on D's side,
and the terms beside the adversary's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from medjax import losses
from medjax.objective import Metrics, Objective, Player, apply_gradients, descend, in_parts
from medjax.rng import named, per_image
from medjax.state import Net, TrainState, new_state
from medjax.types import Array, Batch, ConfigError, Key, PyTree

Scores = list[list[Array]]  # per scale: feature maps, the last of them the logits
Compare = Callable[[Array, Array], Array]  # (prediction, target) -> [B]
Critic = Callable[[Array], Array]  # images -> [B], the sum of each one's logits
PASSES = ("d_real", "d_fake", "g_real", "g_fake", "g_guide")  # of training through D and through the guide


class Given(NamedTuple):
    """What a step knows of each image before it is taken, `[B, ...]`: G's inputs, for each pass the key of its augmentation."""

    batch: Batch
    inputs: tuple[PyTree, ...]
    keys: dict[str, Key]


def beside_source(images: Array, batch: Batch) -> tuple[Array, ...]:
    """What a conditional D of image pairs is shown: the source with `images` concatenated behind it along C."""
    return (jnp.concatenate([batch["source"], images], axis=-1),)


def alone(images: Array, batch: Batch) -> tuple[Array, ...]:
    """What an unconditional D is shown: `images` by themselves."""
    del batch
    return (images,)


def adversarial(
    generator: Player,
    discriminator: Player,
    *,
    adversary: losses.Adversary,
    inputs: Callable[[Batch, Key], tuple[PyTree, ...]] = lambda batch, key: (batch["source"],),
    seen: Callable[[Array, Batch], tuple[PyTree, ...]] = beside_source,
    adversarial_weight: float = 1.0,
    discriminator_weight: float = 1.0,
    reconstruction: Compare = losses.l1,
    reconstruction_weight: float = 0.0,
    perceptual: Compare | None = None,
    perceptual_weight: float = 0.0,
    feature_matching_weight: float = 0.0,
    auxiliary: Callable[[Scores, Batch], Array] | None = None,
    auxiliary_weight: float = 1.0,
    guide: Callable[[Array, Batch], Array] | None = None,
    guide_weight: float = 1.0,
    augment: Callable[[Array, Key], Array] = lambda images, keys: images,
    gradient_penalty: Callable[[Critic, Array], Array] | None = None,
    microbatch: int = 0,
) -> Objective:
    """L_G = w_a adversary + w_r reconstruction + w_p perceptual + w_f feature matching; L_D = w_d adversary + penalty.

    Args:
      inputs: `(batch, key)` to what G is called with; the key is for a latent.
      seen: `(images, batch)` to what D is called with, images first; by default the pair of source and image.
      reconstruction, perceptual: `(fake, target) -> [B]`, terms of G alone.
      auxiliary: `(scores, batch) -> [B]`, a loss of D's output that both players descend: D on real images, G on its
        own (AC-GAN, Odena et al. 2017, eq. 2 and 3, where D leaves out the class of what G made).
      guide: `(images, batch) -> [B]`, a loss of G's images by what was trained before, such as the cross-entropy of a classifier;
        a term of G alone, of images augmented as for D, with draws of their own.
      augment: `(images, keys)`, a key `[B]` for each image, differentiable, of the first thing D is called with, in every
        pass of training and never at test time; real and fake have draws of their own, and G's gradient flows through its
        (Zhao et al. 2020, eq. 4-6).
      gradient_penalty: `(critic, images) -> scalar` at the real images as D saw them, added to D's loss; `critic` maps
        images to sums of logits `[B]`, with the statistics after both passes and without dropout.
      microbatch: images whose activations are held at once, as in `descend`; 0: the whole batch. D's step, then G's, is taken
        along the mean gradient of the parts; a relativistic adversary's means are those of a part.

    Raises ConfigError for a perceptual weight without a perceptual loss.
    """
    if perceptual_weight and perceptual is None:
        raise ConfigError(f"a perceptual weight of {perceptual_weight} needs a perceptual loss")
    compared = {"g_reconstruction": (reconstruction_weight, reconstruction), "g_perceptual": (perceptual_weight, perceptual)}
    compared = {name: (weight, fn) for name, (weight, fn) in compared.items() if weight}

    def shown(images: Array, given: Given, name: str) -> tuple[PyTree, ...]:
        """What D is shown in the training pass called `name`."""
        first, *others = seen(images, given.batch)
        return (augment(first, given.keys[name]), *others)

    def judge(params: PyTree, stats: PyTree, what: tuple[PyTree, ...], key: Key) -> tuple[Scores, PyTree]:
        """D's training pass over what it is shown."""
        return discriminator.apply(params, stats, *what, train=True, rng=named(key, "dropout"))

    def discriminator_loss(params: PyTree, stats: PyTree, fake: Array, given: Given, key: Key) -> tuple:
        batch = given.batch
        real_shown = shown(batch["target"], given, "d_real")
        real, stats = judge(params, stats, real_shown, named(key, "d_real"))
        out, stats = judge(params, stats, shown(fake, given, "d_fake"), named(key, "d_fake"))
        terms = {"d_loss": discriminator_weight * over_scales(adversary.discriminator, real, out)}
        if auxiliary is not None:
            terms["d_class"] = auxiliary_weight * auxiliary(real, batch).mean()
        if gradient_penalty is not None:
            first, *others = real_shown
            critic = lambda x: _summed(discriminator.apply(params, stats, x, *others)[0])  # noqa: E731
            terms["d_penalty"] = gradient_penalty(critic, first)
        middle = adversary.threshold
        accuracy = {"d_real": share_real(real, middle), "d_fake": 1 - share_real(out, middle)}
        return sum(terms.values()), ({**terms, **accuracy}, {"discriminator": stats})

    def generator_loss(fake: Array, d: Net, given: Given, key: Key) -> tuple[Array, Metrics]:
        batch = given.batch
        out, _ = judge(d.params, d.stats, shown(fake, given, "g_fake"), named(key, "g_fake"))
        real: Scores = [[jnp.zeros(())]] * len(out)
        if adversary.uses_real or feature_matching_weight:
            real, _ = judge(d.params, d.stats, shown(batch["target"], given, "g_real"), named(key, "g_real"))
            real = jax.lax.stop_gradient(real) if not adversary.uses_real else real
        terms = {"g_gan": adversarial_weight * over_scales(adversary.generator, real, out)}
        terms |= {name: weight * fn(fake, batch["target"]).mean() for name, (weight, fn) in compared.items()}
        if feature_matching_weight:
            terms["g_features"] = feature_matching_weight * feature_matching(real, out)
        if auxiliary is not None:
            terms["g_class"] = auxiliary_weight * auxiliary(out, batch).mean()
        if guide is not None:
            terms["g_guide"] = guide_weight * guide(augment(fake, given.keys["g_guide"]), batch).mean()
        return sum(terms.values()), terms

    def init(key: Key, batch: Batch) -> TrainState:
        g = generator.init(named(key, "generator"), *inputs(batch, key))
        d = discriminator.init(named(key, "discriminator"), *seen(batch["target"], batch))
        return new_state({"generator": g, "discriminator": d})

    def forward(params: PyTree, stats: PyTree, given: Given, key: Key) -> tuple[Array, PyTree]:
        return generator.apply(params, stats, *given.inputs, train=True, rng=named(key, "dropout"))

    def at_once(nets: dict[str, Net], given: Given, key: Key) -> tuple[dict[str, Net], Metrics]:
        """Both steps from one forward pass of G."""
        g = nets["generator"]
        fake, pull, g_stats = jax.vjp(lambda p: forward(p, g.stats, given, key), g.params, has_aux=True)
        held = jax.lax.stop_gradient(fake)
        d_loss = lambda p, s, given, key: discriminator_loss(p["discriminator"], s["discriminator"], held, given, key)  # noqa: E731
        nets, d_terms = descend({"discriminator": discriminator}, nets, d_loss, given, key)
        (g_loss, g_terms), grad = jax.value_and_grad(generator_loss, has_aux=True)(fake, nets["discriminator"], given, key)
        nets = apply_gradients({"generator": generator}, nets, {"generator": pull(grad)[0]}, {"generator": g_stats})
        return nets, {"g_loss": g_loss, **g_terms, **d_terms}

    def in_turn(nets: dict[str, Net], given: Given, key: Key) -> tuple[dict[str, Net], Metrics]:
        """Both steps in micro-batches: D's over all of them, then G's, which makes the same images again."""
        g = nets["generator"]

        def d_loss(params: dict[str, PyTree], stats: dict[str, PyTree], given: Given, key: Key) -> tuple:
            fake = jax.lax.stop_gradient(forward(g.params, g.stats, given, key)[0])
            return discriminator_loss(params["discriminator"], stats["discriminator"], fake, given, key)

        nets, d_terms = descend({"discriminator": discriminator}, nets, d_loss, given, key, microbatch=microbatch)
        d = nets["discriminator"]

        def g_loss(params: dict[str, PyTree], stats: dict[str, PyTree], given: Given, key: Key) -> tuple:
            fake, moved = forward(params["generator"], stats["generator"], given, key)
            loss, terms = generator_loss(fake, d, given, key)
            return loss, ({"g_loss": loss, **terms}, {"generator": moved})

        nets, g_terms = descend({"generator": generator}, nets, g_loss, given, key, microbatch=microbatch)
        return nets, {**g_terms, **d_terms}

    def step(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        place = jnp.arange(len(batch["target"]))
        keys = {name: per_image(named(named(key, name), "augment"), place) for name in PASSES}
        given = Given(batch, inputs(batch, key), keys)
        nets, terms = (in_turn if in_parts(batch, microbatch) else at_once)(state.nets, given, key)
        return state._replace(nets=nets), {**terms, **gammas(nets["generator"].params)}

    def predict(state: TrainState, batch: Batch, key: Key) -> dict[str, Array]:
        g = state.nets["generator"]  # dropout off; the key is that of the inputs
        return {"target": generator.apply(g.params, g.stats, *inputs(batch, key))[0]}

    def sample(state: TrainState, batch: Batch, key: Key) -> dict[str, Array]:
        return {"target": draw(key, generator, state.nets["generator"], inputs(batch, key), batch["index"])}

    def evaluate(state: TrainState, batch: Batch, key: Key) -> Metrics:
        fake = predict(state, batch, key)["target"]
        d = state.nets["discriminator"]
        out, _ = discriminator.apply(d.params, d.stats, *seen(fake, batch))
        real: Scores = [[jnp.zeros((fake.shape[0], 1))]] * len(out)
        if adversary.uses_real:
            real, _ = discriminator.apply(d.params, d.stats, *seen(batch["target"], batch))
        each = jax.vmap(lambda r, f: over_scales(adversary.generator, r, f))
        terms = {"g_gan": adversarial_weight * each([[s[-1]] for s in real], [[s[-1]] for s in out])}
        terms |= {name: weight * fn(fake, batch["target"]) for name, (weight, fn) in compared.items()}
        if auxiliary is not None:
            terms["g_class"] = auxiliary_weight * auxiliary(out, batch)
        if guide is not None:
            terms["g_guide"] = guide_weight * guide(fake, batch)
        return {"g_loss": sum(terms.values()), **terms}

    return Objective(init, step, predict, sample, evaluate)


def draw(key: Key, generator: Player, net: Net, inputs: tuple[PyTree, ...], index: Array) -> Array:
    """One sample per image with dropout on, each from its own key, so that it does not depend on its neighbours."""

    def one(key: Key, *image: PyTree) -> Array:
        out, _ = generator.apply(net.params, net.stats, *jax.tree.map(lambda x: x[None], image), rng=key)
        return out[0]

    return jax.vmap(one)(per_image(named(key, "dropout"), index), *inputs)


def feature_matching(real: Scores, fake: Scores) -> Array:
    """Mean L1 between D's feature maps on real and fake, over layers and scales (Wang et al. 2018, eq. 4), at least float32."""
    wide = lambda maps: [x.astype(jnp.promote_types(x.dtype, jnp.float32)) for x in maps[:-1]]  # noqa: E731
    terms = [jnp.abs(r - f).mean() for a, b in zip(real, fake, strict=True) for r, f in zip(wide(a), wide(b), strict=True)]
    return sum(terms) / len(terms)


def gammas(params: PyTree) -> Metrics:
    """Every attention's gamma by module path: `gamma/<path>`."""
    flat = jax.tree_util.tree_flatten_with_path(params)[0]
    names = {"/".join(p.key for p in path[:-1]): x for path, x in flat if path[-1].key == "gamma" and x.ndim == 0}
    return {f"gamma/{name}": x for name, x in names.items()}


def over_scales(loss: Callable[[Array, Array], Array], real: Scores, fake: Scores) -> Array:
    """The mean over D's scales of a loss of real and fake logits."""
    return sum(loss(r[-1], f[-1]) for r, f in zip(real, fake, strict=True)) / len(fake)


def _summed(scores: Scores) -> Array:
    return sum(s[-1].sum((1, 2, 3)) for s in scores)


def share_real(scores: Scores, threshold: float) -> Array:
    """The share of logits that take images for real, above the adversary's `threshold`, mean over scales."""
    return sum((s[-1] > threshold).mean() for s in scores) / len(scores)
