"""A conditional GAN: images of given labels from noise, without pairs.

The generator is called `generator(z, condition)`, the discriminator `discriminator(images, condition)`, where a condition is a
dict of the batch's columns `{name: [B]}`. The real images are `batch["target"]`; a generated image has no target of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax

from medjax import losses
from medjax.objective import Metrics, Objective, Player
from medjax.objectives.adversarial import Critic, Scores, adversarial
from medjax.rng import named, per_image
from medjax.state import Net, TrainState
from medjax.types import Array, Batch, Key


def latents(key: Key, index: Array, *, size: int) -> Array:
    """z ~ N(0, I), `[B, size]`: that of image `index` is a function of the key and of its number alone."""
    return jax.vmap(lambda k: jax.random.normal(k, (size,)))(per_image(named(key, "latent"), index))


def cgan(
    generator: Player,
    discriminator: Player,
    *,
    columns: Sequence[str] = ("label",),
    latent: int = 128,
    adversary: losses.Adversary | None = None,
    discriminator_weight: float = 1.0,
    auxiliary: Callable[[Scores, Batch], Array] | None = None,
    auxiliary_weight: float = 1.0,
    guide: Callable[[Array, Batch], Array] | None = None,
    guide_weight: float = 1.0,
    feature_matching_weight: float = 0.0,
    augment: Callable[[Array, Key], Array] = lambda images, keys: images,
    gradient_penalty: Callable[[Critic, Array], Array] | None = None,
    microbatch: int = 0,
) -> Objective:
    """Conditional GAN (Mirza and Osindero 2014, eq. 2), by default with the non-saturating loss.

    Args:
      columns: the batch's columns that both networks are told.
      latent: length of z. In training every place in a batch draws its own; `predict` and `sample` are one draw, image
        `index` that of (key, index), and read `index` and the columns alone.
      auxiliary: as for `adversarial`; `class_loss` for a discriminator with heads.
      guide: as for `adversarial`; the cross-entropy of a classifier trained before, where D is blind to what tells classes apart.

    The rest is as for `adversarial`. `evaluate` also gives, of each image, `d_real` and `d_fake`: 1 where D tells the real image,
    and the one generated of its condition, for what it is. Far from the training's values, D knows its images by heart.
    """
    condition = lambda batch: {name: batch[name] for name in columns}  # noqa: E731
    game = adversarial(
        generator,
        discriminator,
        adversary=adversary or losses.vanilla(),
        inputs=lambda batch, key: (latents(key, batch["index"], size=latent), condition(batch)),
        seen=lambda images, batch: (images, condition(batch)),
        discriminator_weight=discriminator_weight,
        auxiliary=auxiliary,
        auxiliary_weight=auxiliary_weight,
        guide=guide,
        guide_weight=guide_weight,
        feature_matching_weight=feature_matching_weight,
        augment=augment,
        gradient_penalty=gradient_penalty,
        microbatch=microbatch,
    )

    def step(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        # A repeated image (a small class, oversampled) must not repeat its z: places in the batch are numbered instead.
        return game.step(state, {**batch, "index": jnp.arange(len(batch["index"]))}, key)

    def evaluate(state: TrainState, batch: Batch, key: Key) -> Metrics:
        net, fake = state.nets["discriminator"], game.predict(state, batch, key)["target"]
        p_real, p_fake = (probability(discriminator, net, x, condition(batch)) for x in (batch["target"], fake))
        accuracy = {"d_real": (p_real > 0.5).astype(jnp.float32), "d_fake": (p_fake <= 0.5).astype(jnp.float32)}
        return {**game.evaluate(state, batch, key), **accuracy}

    return Objective(game.init, step, game.predict, game.predict, evaluate)


def probability(discriminator: Player, net: Net, images: Array, condition: dict[str, Array]) -> Array:
    """`[B]`: the sigmoid of D's mean logit for `images` `[B, H, W, C]` in [-1, 1], without dropout and augmentation.

    A probability that an image is real where D was trained with a vanilla adversary; with another it is a score in 0 to 1.
    """
    scores, _ = discriminator.apply(net.params, net.stats, images, condition)
    return jax.nn.sigmoid(sum(s[-1].mean((1, 2, 3)) for s in scores) / len(scores))


def class_loss(scores: Scores, batch: Batch, *, columns: Sequence[str]) -> Array:
    """`[B]`: how badly the heads of an "auxiliary" discriminator tell each column: cross-entropy of whole numbers, squared
    error of real ones, summed over `columns`, which are in the order of the heads (Odena et al. 2017, eq. 3).
    """
    answers = scores[0][-1 - len(columns) : -1]
    total = jnp.zeros(len(answers[0]))
    for name, answer in zip(columns, answers, strict=True):
        answer, truth = answer[:, 0, 0], batch[name]
        if jnp.issubdtype(truth.dtype, jnp.integer):
            total += optax.softmax_cross_entropy_with_integer_labels(answer, truth)
        else:
            total += jnp.square(answer[:, 0] - truth)
    return total
