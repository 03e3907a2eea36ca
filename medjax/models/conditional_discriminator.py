"""A discriminator that is told, or asked, what an image shows: three ways of conditioning in one network.

Images `[B, H, W, C]` in [-1, 1] and a condition `{column: [B]}` to `[[*maps, logits]]`, logits float32 `[B, 1, 1, 1]` without a
sigmoid. With "auxiliary" the last maps before the logits are the heads of the columns, `[B, 1, 1, values]`, in the order of
`sizes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from medjax.models.blocks import Dropout, at_least_float32, leaky_relu, make_norm
from medjax.models.cgan import Conditioner, Sizes, check_condition, num_stages
from medjax.models.conv import he_init
from medjax.models.resnet import local_contrast
from medjax.models.spectral import NormalisedConv, NormalisedDense
from medjax.types import Array, ConfigError

CONDITIONINGS = ("projection", "concatenation", "auxiliary")


class ConditionalDiscriminator(nn.Module):
    """Stride-2 convolutions (4x4, DCGAN's) down to 4x4 maps with LeakyReLU 0.2 and dropout, a dense layer, a logit.

    conditioning: "projection" adds the inner product of the image's features with the embedded condition (Miyato and Koyama
    2018, eq. 7; over the root of its length); "concatenation" lays the embedded condition beside the image's channels
    (Mirza and Osindero 2014); "auxiliary" shows D the image alone and asks it for the condition (AC-GAN, Odena et al. 2017).
    contrast: above 0, the image's `local_contrast` over so many pixels beside it, in which a faint finding is as large as a
    bright rib. spectral: every kernel under spectral norm. minibatch_std: one more map that tells how much the batch varies
    (Karras et al. 2018, section 3). remat: every size's convolution, norm, dropout and activation are computed again in the
    backward pass.
    """

    sizes: Sizes
    image_size: int = 128
    features: int = 64
    most_features: int = 512
    hidden: int = 256
    embedding: int = 32
    conditioning: str = "projection"
    contrast: float = 0.0
    norm: str = "none"
    dropout: float = 0.3
    spectral: bool = False
    minibatch_std: bool = False
    remat: bool = False
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, images: Array, condition: Mapping[str, Array], *, train: bool = False) -> list[list[Array]]:
        if self.conditioning not in CONDITIONINGS:
            raise ConfigError(f"conditioning is one of {', '.join(CONDITIONINGS)}, not {self.conditioning!r}")
        if images.shape[1:3] != (self.image_size, self.image_size):
            raise ConfigError(f"a discriminator of {self.image_size} pixels cannot take {images.shape[1]}x{images.shape[2]}")
        check_condition(self.sizes, condition)
        h = jnp.concatenate([images, local_contrast(images, self.contrast)], -1) if self.contrast else images
        maps = self._maps(self._beside(h, condition) if self.conditioning == "concatenation" and self.sizes else h, train)
        h = MinibatchStd(name="minibatch_std")(maps[-1], train=train) if self.minibatch_std else maps[-1]
        dense = partial(NormalisedDense, spectral=self.spectral, kernel_init=he_init(0.5))
        code = leaky_relu(dense(self.hidden, kernel_init=he_init(), name="dense")(h.reshape(h.shape[0], -1), train=train))
        logits = dense(1, name="logits")(code, train=train)
        if self.conditioning == "projection" and self.sizes:
            embedded = Conditioner(self.sizes, self.embedding, name="condition")(condition)
            projected = dense(self.hidden, use_bias=False, name="projection")(embedded, train=train)
            # Over the root of the length, as StyleGAN2-ADA has it: else the projection drowns the unconditional logit.
            logits = logits + jnp.sum(projected * code, -1, keepdims=True) / self.hidden**0.5
        asked = self.sizes if self.conditioning == "auxiliary" else ()
        answers = [dense(max(count, 1), name=f"class_{name}")(code, train=train) for name, count in asked]
        return [[*maps, *(each[:, None, None] for each in (*answers, logits))]]

    def _beside(self, images: Array, condition: Mapping[str, Array]) -> Array:
        """The image with its embedded condition as constant channels."""
        embedded = Conditioner(self.sizes, self.embedding, name="condition")(condition)[:, None, None]
        return jnp.concatenate([images, jnp.broadcast_to(embedded, (*images.shape[:3], embedded.shape[-1]))], -1)

    def _maps(self, h: Array, train: bool) -> list[Array]:
        """The activated maps of every size, the last 4x4; the first convolution has no norm."""
        maps = []
        for stage in range(num_stages(self.image_size)):
            halve = lambda own, h, stage=stage: own._halved(h, stage, train)  # noqa: E731
            h = (nn.remat(halve) if self.remat else halve)(self, h)
            maps.append(h)
        return maps

    def _halved(self, h: Array, stage: int, train: bool) -> Array:
        width = min(self.features * 2**stage, self.most_features)
        h = NormalisedConv(width, 4, 2, 1, self.spectral, he_init(), self.dtype, name=f"conv_{stage}")(h, train=train)
        h = make_norm(self.norm if stage else "none", module_name=f"norm_{stage}")(h, train=train)
        return Dropout(self.dropout)(leaky_relu(h))


class MinibatchStd(nn.Module):
    """Maps `[B, H, W, C]` and a constant channel: the standard deviation over the batch, averaged over positions and channels.

    At test time the channel is the running average of that number (collection `batch_stats`), so that an image's result does not
    depend on its neighbours.
    """

    momentum: float = 0.9

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        running = self.variable("batch_stats", "spread", jnp.zeros, ())
        spread = running.value
        if train:
            x32 = at_least_float32(x)
            spread = jnp.sqrt(jnp.square(x32 - x32.mean(0)).mean(0) + 1e-8).mean()
            if not self.is_initializing():
                running.value = self.momentum * running.value + (1 - self.momentum) * spread
        return jnp.concatenate([x, jnp.broadcast_to(spread, (*x.shape[:3], 1)).astype(x.dtype)], -1)
