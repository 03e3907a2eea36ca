"""SRGAN and ESRGAN, second phases of super-resolution: the first is `supervised`, and `warm_start` joins them.

The batch holds `source` `[B, H/s, W/s, C]` and `target` `[B, H, W, C]` in [-1, 1]; the discriminator sees the fine image alone.
A perceptual loss is `losses.perceptual` over VGG19; with a `perceptual_weight` of 0 none is needed, and then a pixel loss has
to hold the image in place.
"""

from __future__ import annotations

from collections.abc import Callable

from medjax import losses
from medjax.objective import Objective, Player
from medjax.objectives.adversarial import adversarial, alone
from medjax.types import Array, Key

Compare = Callable[[Array, Array], Array]  # (prediction, target) -> [B]
Penalty = Callable[[Callable[[Array], Array], Array], Array]  # (critic, images) -> scalar


def srgan(
    generator: Player,
    discriminator: Player,
    *,
    perceptual: Compare | None = None,
    perceptual_weight: float = 0.006,
    adversary: losses.Adversary | None = None,
    adversarial_weight: float = 1e-3,
    reconstruction: Compare = losses.l2,
    reconstruction_weight: float = 0.0,
    gradient_penalty: Penalty | None = None,
    augment: Callable[[Array, Key], Array] = lambda images, keys: images,
    microbatch: int = 0,
) -> Objective:
    """SRGAN (Ledig et al. 2017, eq. 3): the VGG loss plus 1e-3 of a non-saturating adversary; by default no pixel loss.

    perceptual: the squared distance in relu5_4 of VGG19 (eq. 5, SRGAN-VGG54), whose maps the paper divides by 12.75, so that
    their squares weigh 0.006 (section 3.2). Raises ConfigError for a perceptual weight without a perceptual loss.
    """
    return adversarial(
        generator,
        discriminator,
        adversary=adversary or losses.vanilla(),
        seen=alone,
        adversarial_weight=adversarial_weight,
        reconstruction=reconstruction,
        reconstruction_weight=reconstruction_weight,
        perceptual=perceptual,
        perceptual_weight=perceptual_weight,
        gradient_penalty=gradient_penalty,
        augment=augment,
        microbatch=microbatch,
    )


def esrgan(
    generator: Player,
    discriminator: Player,
    *,
    perceptual: Compare | None = None,
    perceptual_weight: float = 1.0,
    adversary: losses.Adversary | None = None,
    adversarial_weight: float = 5e-3,
    reconstruction: Compare = losses.l1,
    reconstruction_weight: float = 1e-2,
    gradient_penalty: Penalty | None = None,
    augment: Callable[[Array, Key], Array] = lambda images, keys: images,
    microbatch: int = 0,
) -> Objective:
    """ESRGAN (Wang et al. 2018, eq. 3): L_percep + 5e-3 of a relativistic average adversary + 1e-2 of L1.

    perceptual: the absolute distance in conv5_4 of VGG19, before the activation. The published weights are of images in
    [0, 1]; over [-1, 1] the same L1 counts twice, which beside the other terms is little. Raises ConfigError for a
    perceptual weight without a perceptual loss.
    """
    return srgan(
        generator,
        discriminator,
        adversary=adversary or losses.relativistic_average(),
        adversarial_weight=adversarial_weight,
        reconstruction=reconstruction,
        reconstruction_weight=reconstruction_weight,
        perceptual=perceptual,
        perceptual_weight=perceptual_weight,
        gradient_penalty=gradient_penalty,
        augment=augment,
        microbatch=microbatch,
    )
