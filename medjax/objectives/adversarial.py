"""One generator against one discriminator: the step that pix2pix shares with every other GAN here.

The generator's forward pass is run once: D descends on the fake, then G's gradient is pulled back through the same
residuals from the *updated* D. D sees real and fake in two passes, each with its own batch statistics; its running
statistics pass through both, and in G's pass they are dropped.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from medjax import losses
from medjax.objective import Metrics, Objective, Player, apply_gradients, descend
from medjax.rng import named, per_image
from medjax.state import Net, TrainState, new_state
from medjax.types import Array, Batch, ConfigError, Key, PyTree

Scores = list[list[Array]]  # per scale: feature maps, the last of them the logits


def adversarial(
    generator: Player,
    discriminator: Player,
    *,
    adversary: losses.Adversary,
    inputs: Callable[[Batch], tuple[Array, ...]] = lambda batch: (batch["source"],),
    condition: Callable[[Batch], Array | None] = lambda batch: batch["source"],
    adversarial_weight: float = 1.0,
    discriminator_weight: float = 1.0,
    reconstruction: Callable[[Array, Array], Array] = losses.l1,
    reconstruction_weight: float = 0.0,
    perceptual: Callable[[Array, Array], Array] | None = None,
    perceptual_weight: float = 0.0,
    feature_matching_weight: float = 0.0,
    augment: Callable[[Array, Key], Array] = lambda images, key: images,
    gradient_penalty: Callable[[Callable[[Array], Array], Array], Array] | None = None,
) -> Objective:
    """L_G = w_a * adversary + w_r * reconstruction(G(x), y) + w_p * perceptual(G(x), y) + w_f * feature matching;
    L_D = w_d * (real + fake).

    `inputs(batch)` is what G is called with; `condition(batch)` `[B, H, W, C]` is concatenated to what D sees, or None.
    `augment(images, key)` is applied to whatever D sees, real and fake alike. `gradient_penalty(critic, images)` is
    added to D's loss, where `critic` maps images to per-image sums of logits `[B]`.
    """
    if perceptual_weight and perceptual is None:
        raise ConfigError(f"a perceptual weight of {perceptual_weight} needs a perceptual loss")
    team_d = {"discriminator": discriminator}
    compared = {"g_reconstruction": (reconstruction_weight, reconstruction), "g_perceptual": (perceptual_weight, perceptual)}
    compared = {name: (weight, fn) for name, (weight, fn) in compared.items() if weight}

    def seen(images: Array, batch: Batch, key: Key | None = None) -> Array:
        """What D is shown; augmented in training only, where there is a key."""
        beside = condition(batch)
        images = images if beside is None else jnp.concatenate([beside, images], axis=-1)
        return images if key is None else augment(images, named(key, "augment"))

    def init(key: Key, batch: Batch) -> TrainState:
        g = generator.init(named(key, "generator"), *inputs(batch))
        d = discriminator.init(named(key, "discriminator"), seen(batch["target"], batch))
        return new_state({"generator": g, "discriminator": d})

    def discriminator_loss(params: PyTree, stats: PyTree, fake: Array, batch: Batch, key: Key) -> tuple:
        real_seen, fake_seen = seen(batch["target"], batch, key), seen(fake, batch, key)
        real, stats = discriminator.apply(params, stats, real_seen, train=True)
        out, stats = discriminator.apply(params, stats, fake_seen, train=True)
        terms = {"d_loss": discriminator_weight * _mean(adversary.discriminator, real, out)}
        loss = terms["d_loss"]
        if gradient_penalty is not None:
            critic = lambda x: sum(  # noqa: E731
                s[-1].sum((1, 2, 3)) for s in discriminator.apply(params, stats, x, train=False)[0]
            )
            terms["d_penalty"] = gradient_penalty(critic, real_seen)
            loss = loss + terms["d_penalty"]
        accuracy = {"d_real": _share_positive(real), "d_fake": 1 - _share_positive(out)}
        return loss, ({**terms, **accuracy}, {"discriminator": stats})

    def generator_loss(fake: Array, d: Net, batch: Batch, key: Key) -> tuple[Array, Metrics]:
        out, _ = discriminator.apply(d.params, d.stats, seen(fake, batch, key), train=True)
        real: Scores = [[jnp.zeros(())]] * len(out)
        if adversary.uses_real or feature_matching_weight:
            real, _ = discriminator.apply(d.params, d.stats, seen(batch["target"], batch, key), train=True)
            real = jax.lax.stop_gradient(real) if not adversary.uses_real else real
        terms = {"g_gan": adversarial_weight * _mean(adversary.generator, real, out)}
        terms |= {name: weight * fn(fake, batch["target"]).mean() for name, (weight, fn) in compared.items()}
        if feature_matching_weight:
            terms["g_features"] = feature_matching_weight * feature_matching(real, out)
        return sum(terms.values()), terms

    def step(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        g = state.nets["generator"]

        def forward(params: PyTree) -> tuple[Array, PyTree]:
            return generator.apply(params, g.stats, *inputs(batch), train=True, rng=named(key, "dropout"))

        fake, pull, g_stats = jax.vjp(forward, g.params, has_aux=True)
        held = jax.lax.stop_gradient(fake)
        d = state.nets["discriminator"]
        nets, d_terms = descend(
            team_d, state.nets, lambda p: discriminator_loss(p["discriminator"], d.stats, held, batch, key)
        )
        (g_loss, g_terms), grad = jax.value_and_grad(generator_loss, has_aux=True)(
            fake, nets["discriminator"], batch, key
        )
        nets = apply_gradients({"generator": generator}, nets, {"generator": pull(grad)[0]}, {"generator": g_stats})
        metrics = {"g_loss": g_loss, **g_terms, **d_terms, **gammas(nets["generator"].params)}
        return state._replace(nets=nets), metrics

    def predict(state: TrainState, batch: Batch, key: Key) -> dict[str, Array]:
        del key  # the point estimate: dropout off
        g = state.nets["generator"]
        return {"target": generator.apply(g.params, g.stats, *inputs(batch))[0]}

    def sample(state: TrainState, batch: Batch, key: Key) -> dict[str, Array]:
        return {"target": draw(key, generator, state.nets["generator"], inputs(batch), batch["index"])}

    def evaluate(state: TrainState, batch: Batch, key: Key) -> Metrics:
        fake = predict(state, batch, key)["target"]
        d = state.nets["discriminator"]
        out, _ = discriminator.apply(d.params, d.stats, seen(fake, batch))
        real: Scores = [[jnp.zeros((fake.shape[0], 1))]] * len(out)
        if adversary.uses_real:
            real, _ = discriminator.apply(d.params, d.stats, seen(batch["target"], batch))
        each = jax.vmap(lambda r, f: _mean(adversary.generator, r, f))
        terms = {"g_gan": adversarial_weight * each([[s[-1]] for s in real], [[s[-1]] for s in out])}
        terms |= {name: weight * fn(fake, batch["target"]) for name, (weight, fn) in compared.items()}
        return {"g_loss": sum(terms.values()), **terms}

    return Objective(init, step, predict, sample, evaluate)


def draw(key: Key, generator: Player, net: Net, inputs: tuple[Array, ...], index: Array) -> Array:
    """One sample per image with dropout on, each from its own key, so that it does not depend on its neighbours."""

    def one(key: Key, *image: Array) -> Array:
        out, _ = generator.apply(net.params, net.stats, *(x[None] for x in image), rng=key)
        return out[0]

    return jax.vmap(one)(per_image(named(key, "dropout"), index), *inputs)


def feature_matching(real: Scores, fake: Scores) -> Array:
    """Mean L1 between D's feature maps on real and fake, over layers and scales (Wang et al. 2018, eq. 4)."""
    terms = [jnp.abs(r - f).mean() for a, b in zip(real, fake, strict=True) for r, f in zip(a[:-1], b[:-1], strict=True)]
    return sum(terms) / len(terms)


def gammas(params: PyTree) -> Metrics:
    """Every attention's gamma by module path: `gamma/<path>`."""
    flat = jax.tree_util.tree_flatten_with_path(params)[0]
    names = {"/".join(p.key for p in path[:-1]): x for path, x in flat if path[-1].key == "gamma" and x.ndim == 0}
    return {f"gamma/{name}": x for name, x in names.items()}


def _mean(loss: Callable[[Array, Array], Array], real: Scores, fake: Scores) -> Array:
    return sum(loss(r[-1], f[-1]) for r, f in zip(real, fake, strict=True)) / len(fake)


def _share_positive(scores: Scores) -> Array:
    return sum((s[-1] > 0).mean() for s in scores) / len(scores)
