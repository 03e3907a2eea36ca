"""Losses: arrays in, arrays out.

Regression losses take prediction and target `[B, ...]` and give one value per image `[B]`. An adversary is a pair of
functions of logits: `generator(real, fake)` and `discriminator(real, fake)`, each a scalar over all positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from medjax.metrics.quality import K2, gaussian_window
from medjax.types import Array, ConfigError


def _per_image(x: Array) -> Array:
    return x.reshape(x.shape[0], -1).mean(-1)


def l1(prediction: Array, target: Array) -> Array:
    """Mean absolute error of each image, `[B]`."""
    return _per_image(jnp.abs(prediction - target))


def l2(prediction: Array, target: Array) -> Array:
    """Mean squared error of each image, `[B]`."""
    return _per_image(jnp.square(prediction - target))


def charbonnier(prediction: Array, target: Array, *, epsilon: float = 1e-3) -> Array:
    """sqrt(d^2 + epsilon^2), a smooth L1 (Charbonnier et al. 1994; Lai et al. 2017), `[B]`."""
    return _per_image(jnp.sqrt(jnp.square(prediction - target) + epsilon**2))


REGRESSION: dict[str, Callable[[Array, Array], Array]] = {"l1": l1, "l2": l2, "charbonnier": charbonnier}


def regression(name: str) -> Callable[[Array, Array], Array]:
    """The regression loss called `name`. Raises ConfigError for another name."""
    if name not in REGRESSION:
        raise ConfigError(f"unknown loss {name!r}; known: {', '.join(REGRESSION)}")
    return REGRESSION[name]


def perceptual(
    features: Callable[[Array], Mapping[str, Array]], layers: Mapping[str, float], *, distance: str = "l1"
) -> Callable[[Array, Array], Array]:
    """The distance of two images in the maps of a feature network, `(prediction, target) -> [B]` (Johnson et al. 2016, eq. 2).

    Args:
      features: images `[B, H, W, C]` in [0, 1] to `{layer: [B, H, W, C] or [B, D]}`; prediction and target are in [-1, 1]
        and are mapped without clipping, which would stop gradients.
      layers: weight of each layer; a layer's name says whether it is taken before the activation (ESRGAN, Wang et al.
        2018, sec. 3.2: conv5_4) or after it (SRGAN, Ledig et al. 2017, eq. 5: relu5_4).
      distance: one of `REGRESSION`, the mean over a layer's values.

    No gradient flows into the target, and its maps are not kept for the backward pass. Raises ConfigError for no layers,
    a negative weight, an unknown distance, and, when first traced, a layer that the network does not have.
    """
    compared = regression(distance)
    bad = [layer for layer, weight in layers.items() if not (math.isfinite(weight) and weight >= 0)]
    if not layers or bad:
        told = f"the weight {layers[bad[0]]} of layer {bad[0]!r}" if bad else "no layer"
        raise ConfigError(f"a perceptual loss needs layers with weights of at least 0, not {told}")

    def loss(prediction: Array, target: Array) -> Array:
        found = features((prediction + 1) / 2)
        wanted = features(jax.lax.stop_gradient((target + 1) / 2))
        unknown = [layer for layer in layers if layer not in found]
        if unknown:
            raise ConfigError(f"the feature network has no layer {unknown[0]!r}; it has {', '.join(found)}")
        terms = [w * compared(found[layer], jax.lax.stop_gradient(wanted[layer])) for layer, w in layers.items()]
        return jnp.sum(jnp.stack(terms), 0)

    return loss


def structure(prediction: Array, source: Array) -> Array:
    """1 minus the structure term of SSIM, mean over windows, `[B]` (StillGAN: Ma et al. 2021): what an enhancement may change is
    brightness and contrast, not how neighbours vary together.

    Images `[B, H, W, C]` in [-1, 1], H and W at least 11, are compared in [0, 1] as (s_xy + c) / (s_x s_y + c) with Wang's
    Gaussian window (11x11, sigma 1.5), c = K2^2 / 2, over the windows inside the image. Variances have 1e-6 added in the
    denominator, so that gradients stay bounded where a window is flat. Raises ConfigError for smaller images.
    """
    if min(prediction.shape[1:3]) < len(gaussian_window()):
        raise ConfigError(f"the structure loss needs images of 11 pixels or more, not {prediction.shape[1:3]}")
    x, y = (prediction + 1) / 2, (source + 1) / 2
    mean_x, mean_y = _window(x), _window(y)
    var_x, var_y = (jnp.maximum(_window(v * v) - m * m, 0) for v, m in ((x, mean_x), (y, mean_y)))
    covariance, c = _window(x * y) - mean_x * mean_y, K2**2 / 2
    return 1 - _per_image((covariance + c) / (jnp.sqrt((var_x + 1e-6) * (var_y + 1e-6)) + c))


def _window(images: Array) -> Array:
    """The Gaussian mean of every window inside the image, channels apart."""
    weights = gaussian_window().tolist()
    size = len(weights)
    for axis in (1, 2):
        count = images.shape[axis] - size + 1
        images = sum(w * jax.lax.slice_in_dim(images, i, i + count, axis=axis) for i, w in enumerate(weights))
    return images


def illumination(images: Array, *, tiles: Sequence[int] = (8, 4)) -> Array:
    """How unevenly lit images are, `[B]` (StillGAN's illumination regularisation: Ma et al. 2021): the mean distance of the
    means of tiles from the mean of the image, in [0, 1], averaged over grids of `tiles` x `tiles`.

    The published tiles are 48 and 96 pixels of a crop of 384, on fundus images. Of `images` `[B, H, W, C]` in [-1, 1] a side
    that the grid does not divide is cropped in the middle. Raises ConfigError for a grid finer than the image.
    """
    found = []
    for count in tiles:
        height, width = (n // count for n in images.shape[1:3])
        if count < 1 or min(height, width) < 1:
            raise ConfigError(f"illumination over {count} x {count} tiles needs larger images than {images.shape[1:3]}")
        top, left = ((n - count * side) // 2 for n, side in zip(images.shape[1:3], (height, width), strict=True))
        inside = (images[:, top : top + count * height, left : left + count * width] + 1) / 2
        means = inside.reshape(len(images), count, height, count, width, -1).mean((2, 4))
        found.append(_per_image(jnp.abs(means - inside.mean((1, 2))[:, None, None])))
    return sum(found) / len(found)


class Adversary(NamedTuple):
    """A pair of scalar losses over logits of any shape; `uses_real`: whether the generator's needs the real logits; `threshold`:
    the logit halfway between what the discriminator is to say of real and of generated images.
    """

    generator: Callable[[Array, Array], Array]
    discriminator: Callable[[Array, Array], Array]
    uses_real: bool = False
    threshold: float = 0.0


def vanilla() -> Adversary:
    """Non-saturating GAN (Goodfellow et al. 2014): the generator maximises log D(fake); D's loss is eq. 5 of pix2pix."""
    return Adversary(
        generator=lambda real, fake: jax.nn.softplus(-fake).mean(),
        discriminator=lambda real, fake: jax.nn.softplus(-real).mean() + jax.nn.softplus(fake).mean(),
    )


def minimax() -> Adversary:
    """The game as it is written (Goodfellow et al. 2014, eq. 1): the generator minimises log(1 - D(fake)), whose slope vanishes
    where D tells it apart; `vanilla` is the form that trains.
    """
    return vanilla()._replace(generator=lambda real, fake: -jax.nn.softplus(fake).mean())


def lsgan() -> Adversary:
    """Least squares (Mao et al. 2017, eq. 9 with a=0, b=c=1)."""
    return Adversary(
        generator=lambda real, fake: jnp.square(fake - 1).mean(),
        discriminator=lambda real, fake: jnp.square(real - 1).mean() + jnp.square(fake).mean(),
        threshold=0.5,
    )


def hinge() -> Adversary:
    """Hinge (Lim and Ye 2017; SAGAN, Zhang et al. 2019, eq. 4)."""
    return Adversary(
        generator=lambda real, fake: -fake.mean(),
        discriminator=lambda real, fake: jax.nn.relu(1 - real).mean() + jax.nn.relu(1 + fake).mean(),
    )


def relativistic_average(*, of: Adversary | None = None) -> Adversary:
    """Whether real images look more real than generated ones do on average (Jolicoeur-Martineau 2018, sec. 4.2).

    The logits that `of` sees are C(x_r) - E[C(x_f)] and C(x_f) - E[C(x_r)], the means over all positions of the batch; the
    generator's loss is the discriminator's with the two exchanged, so that it reads, and is pulled by, real images too. With
    `of` vanilla (the default) it is ESRGAN's (Wang et al. 2018, eq. 1 to 3), where D_Ra is the sigmoid of that difference;
    with hinge it is RaHinge.
    """
    base = of or vanilla()
    return Adversary(
        generator=lambda real, fake: base.discriminator(fake - real.mean(), real - fake.mean()),
        discriminator=lambda real, fake: base.discriminator(real - fake.mean(), fake - real.mean()),
        uses_real=True,
    )


ADVERSARIES: dict[str, Callable[[], Adversary]] = {
    "vanilla": vanilla,
    "minimax": minimax,
    "lsgan": lsgan,
    "hinge": hinge,
    "relativistic_average": relativistic_average,
    "relativistic_hinge": lambda: relativistic_average(of=hinge()),
}


def adversary(name: str) -> Adversary:
    """The adversary called `name`. Raises ConfigError for another name."""
    if name not in ADVERSARIES:
        raise ConfigError(f"unknown adversary {name!r}; known: {', '.join(ADVERSARIES)}")
    return ADVERSARIES[name]()


def r1(gamma: float) -> Callable[[Callable[[Array], Array], Array], Array]:
    """gamma / 2 * E[|grad D(x)|^2] at real images (Mescheder et al. 2018, eq. 9), as `adversarial` takes a gradient penalty.

    The result is `(critic, images) -> scalar`, where `critic` maps images `[B, ...]` to one logit each `[B]`, none of which
    may depend on another image: the norm is that of each image's own gradient. Raises ConfigError for a negative gamma.
    """
    if not (math.isfinite(gamma) and gamma >= 0):
        raise ConfigError(f"the gradient penalty R1 needs a gamma of at least 0, not {gamma}")

    def penalty(critic: Callable[[Array], Array], images: Array) -> Array:
        gradient = jax.grad(lambda x: critic(x).sum())(images)
        return gamma / 2 * jnp.square(gradient).reshape(len(gradient), -1).sum(-1).mean()

    return penalty
