"""Methods as objectives, and the published systems as named constructors over them."""

from __future__ import annotations

from collections.abc import Callable

from medjax import losses
from medjax.objective import Objective, Player
from medjax.objectives.adversarial import adversarial
from medjax.objectives.cgan import cgan
from medjax.objectives.classification import classification
from medjax.objectives.cyclegan import cyclegan
from medjax.objectives.diffusion import diffusion
from medjax.objectives.superres import esrgan, srgan
from medjax.objectives.supervised import supervised
from medjax.types import Array


def pix2pix(
    generator: Player,
    discriminator: Player,
    *,
    adversary: losses.Adversary | None = None,
    reconstruction: Callable[[Array, Array], Array] = losses.l1,
    reconstruction_weight: float = 100.0,
    feature_matching_weight: float = 0.0,
    perceptual: Callable[[Array, Array], Array] | None = None,
    perceptual_weight: float = 0.0,
    microbatch: int = 0,
) -> Objective:
    """pix2pix (Isola et al. 2017, eq. 4): conditional GAN plus 100 * L1; D's objective is halved as published.

    perceptual: `(prediction, target) -> [B]`, a further term of G, such as `losses.perceptual`; see `adversarial`.
    microbatch: images whose activations are held at once, as in `descend`; 0: the whole batch.
    """
    return adversarial(
        generator,
        discriminator,
        adversary=adversary or losses.vanilla(),
        discriminator_weight=0.5,
        reconstruction=reconstruction,
        reconstruction_weight=reconstruction_weight,
        feature_matching_weight=feature_matching_weight,
        perceptual=perceptual,
        perceptual_weight=perceptual_weight,
        microbatch=microbatch,
    )


__all__ = ["adversarial", "cgan", "classification", "cyclegan", "diffusion", "esrgan", "pix2pix", "srgan", "supervised"]
