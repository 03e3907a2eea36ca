"""A small fully convolutional residual restorer: the honest L1 baseline, and the generator of the `small` configs.

Images `[B, H, W, C]` in [-1, 1] of any height and width; the output is the input plus a learnt correction, so an
untrained network is the identity. A pixel-unshuffle (Shi et al. 2016, eq. 4, inverted) puts the work on a grid of half
the resolution, where a U-shaped stack of residual blocks without norm (Lim et al. 2017, EDSR) removes noise, blur and
compression blocks; the full-resolution skip carries the detail.
"""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from medjax.models.blocks import at_least_float32
from medjax.models.conv import Conv, he_init
from medjax.types import Array, ConfigError


def pixel_unshuffle(x: Array, factor: int) -> Array:
    """`[B, H, W, C]` -> `[B, H/f, W/f, C*f*f]`; H and W must be multiples of `factor`."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // factor, factor, width // factor, factor, channels)
    return x.transpose(0, 1, 3, 5, 2, 4).reshape(batch, height // factor, width // factor, channels * factor**2)


def pixel_shuffle(x: Array, factor: int) -> Array:
    """`[B, H, W, C*f*f]` -> `[B, H*f, W*f, C]` (Shi et al. 2016, eq. 4; PyTorch's channel order)."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, channels // factor**2, factor, factor)
    return x.transpose(0, 1, 4, 2, 5, 3).reshape(batch, height * factor, width * factor, channels // factor**2)


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), no norm (EDSR)."""

    features: int
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        h = nn.relu(Conv(self.features, kernel_init=he_init(), dtype=self.dtype)(x))
        return x + Conv(self.features, kernel_init=he_init(0.1), dtype=self.dtype)(h)


class Restorer(nn.Module):
    """`[B, H, W, C]` in, `[B, H, W, out_channels]` out: the middle channels, corrected.

    `features[i]` channels and `blocks[i]` residual blocks at level i. Level 0 works at 1/`unshuffle` of the resolution and
    each further level at half of the one before. Any size goes in: images are edge-padded to a multiple of the coarsest
    stride and cropped again. float32 out.
    """

    features: Sequence[int] = (32, 64, 96)
    blocks: Sequence[int] = (2, 2, 2)
    unshuffle: int = 2
    out_channels: int = 1
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        del train  # no norm and no dropout: the same function in training and at test
        if len(self.blocks) != len(self.features):
            raise ConfigError(f"{len(self.features)} levels of features need as many of blocks, not {len(self.blocks)}")
        height, width = x.shape[1:3]
        stride = self.unshuffle * 2 ** (len(self.features) - 1)
        padded = jnp.pad(x, ((0, 0), (0, -height % stride), (0, -width % stride), (0, 0)), mode="edge")
        h = Conv(self.features[0], kernel_init=he_init(), dtype=self.dtype)(pixel_unshuffle(padded, self.unshuffle))
        skips = []
        for level, (features, blocks) in enumerate(zip(self.features, self.blocks, strict=True)):
            if level:
                skips.append(h)
                h = Conv(features, kernel_init=he_init(), dtype=self.dtype)(pixel_unshuffle(h, 2))
            for _ in range(blocks):
                h = ResidualBlock(features, dtype=self.dtype)(h)
        for features, blocks, skip in zip(self.features[-2::-1], self.blocks[-2::-1], reversed(skips), strict=True):
            h = pixel_shuffle(Conv(4 * features, 1, kernel_init=he_init(), dtype=self.dtype)(h), 2) + skip
            for _ in range(blocks):
                h = ResidualBlock(features, dtype=self.dtype)(h)
        out = Conv(self.out_channels * self.unshuffle**2, kernel_init=nn.initializers.zeros, dtype=self.dtype)(h)
        correction = pixel_shuffle(out, self.unshuffle)[:, :height, :width]
        middle = (x.shape[-1] - self.out_channels) // 2  # of neighbouring slices as channels, the slice itself
        return at_least_float32(x[..., middle : middle + self.out_channels]) + at_least_float32(correction)
