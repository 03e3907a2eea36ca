"""SRResNet (Ledig et al. 2017, section 2.1.1) without batch norm: MSRResNet in BasicSR's layout.

As published the network works on images in [0, 1] and is not clipped: `[B, H, W, C]` to `[B, scale*H, scale*W,
out_channels]`; it learns what to add to the bilinear enlargement. 1,517,571 parameters with 16 blocks, 64 features and 3
channels at scale 4.
"""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.models.conv import Conv, he_init
from medjax.models.restorer import pixel_shuffle
from medjax.types import Array, ConfigError

_leaky_relu = partial(nn.leaky_relu, negative_slope=0.1)
STEPS = {2: (2,), 3: (3,), 4: (2, 2)}  # scale -> the pixel shuffles


class Block(nn.Module):
    """x + conv(relu(conv(x)))."""

    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        features = x.shape[-1]
        h = nn.relu(Conv(features, kernel_init=he_init(0.01), dtype=self.dtype, name="conv1")(x))
        return x + Conv(features, kernel_init=he_init(0.01), dtype=self.dtype, name="conv2")(h)


class SRResNet(nn.Module):
    """`blocks` residual blocks on the low-resolution grid, pixel shuffles, two convolutions. float32 out. scale: 2, 3 or 4."""

    out_channels: int = 1
    features: int = 64
    blocks: int = 16
    scale: int = 4
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        del train  # no norm and no dropout
        if self.scale not in STEPS:
            raise ConfigError(f"SRResNet enlarges by 2, 3 or 4, not {self.scale}")
        make = lambda name, features=self.features: Conv(  # noqa: E731
            features, kernel_init=he_init(0.01), dtype=self.dtype, name=name
        )
        h = _leaky_relu(make("conv_first")(x))
        for i in range(self.blocks):
            h = Block(self.dtype, name=f"body_{i}")(h)
        for i, factor in enumerate(STEPS[self.scale], start=1):
            h = _leaky_relu(pixel_shuffle(make(f"upconv{i}", self.features * factor**2)(h), factor))
        h = make("conv_last", self.out_channels)(_leaky_relu(make("conv_hr")(h))).astype(jnp.float32)
        size = (x.shape[0], self.scale * x.shape[1], self.scale * x.shape[2], x.shape[3])
        return h + jax.image.resize(x.astype(jnp.float32), size, "bilinear")


def table(*, blocks: int = 16, scale: int = 4, **_: object) -> dict[str, str]:
    """Flax module -> BasicSR's name."""
    plain = ["conv_first", "conv_hr", "conv_last", *(f"upconv{i + 1}" for i in range(len(STEPS[scale])))]
    body = {f"body_{i}/conv{k}": f"body.{i}.conv{k}" for i in range(blocks) for k in (1, 2)}
    return {name: name for name in plain} | body
