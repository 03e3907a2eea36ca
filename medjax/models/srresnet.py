"""SRResNet (Ledig et al. 2017, section 2.1.1) without batch norm: MSRResNet in BasicSR's layout.

`[B, H, W, C]` to `[B, scale*H, scale*W, out_channels]`, not clipped; it learns what to add to the bilinear enlargement.
BasicSR's weights take images in [0, 1]; trained here, its images are in [-1, 1] like all others. 1,517,571 parameters with
16 blocks, 64 features and 3 channels at scale 4.
"""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from medjax.models.conv import Conv, he_init
from medjax.models.enlarge import DirectTail, corrected
from medjax.models.restorer import pixel_shuffle
from medjax.types import Array, ConfigError

_leaky_relu = partial(nn.leaky_relu, negative_slope=0.1)
STEPS = {2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}  # scale -> the pixel shuffles


class Block(nn.Module):
    """x + conv(relu(conv(x)))."""

    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        features = x.shape[-1]
        h = nn.relu(Conv(features, kernel_init=he_init(0.01), dtype=self.dtype, name="conv1")(x))
        return x + Conv(features, kernel_init=he_init(0.01), dtype=self.dtype, name="conv2")(h)


class SRResNet(nn.Module):
    """`blocks` residual blocks on the low-resolution grid, pixel shuffles, two convolutions. float32 out.

    scale: 2, 3, 4 or 8. base: the enlargement that is corrected: bilinear as published, bicubic, or none. direct: a light
    tail, one convolution and one pixel shuffle by the whole scale, in place of the steps and of the convolutions on the fine
    grid, which cost as much as 18 blocks at scale 4. remat: blocks are computed again in the backward pass, and their
    insides are not kept; the parameters are the same.
    """

    out_channels: int = 1
    features: int = 64
    blocks: int = 16
    scale: int = 4
    base: str = "bilinear"
    direct: bool = False
    remat: bool = False
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        del train  # no norm and no dropout
        if self.scale not in STEPS:
            raise ConfigError(f"SRResNet enlarges by 2, 3, 4 or 8, not {self.scale}")
        small = he_init(0.01)
        make = lambda name, features=self.features: Conv(features, kernel_init=small, dtype=self.dtype, name=name)  # noqa: E731
        h = _leaky_relu(make("conv_first")(x))
        block = nn.remat(Block) if self.remat else Block
        for i in range(self.blocks):
            h = block(self.dtype, name=f"body_{i}")(h)
        if self.direct:
            h = DirectTail(self.out_channels, self.scale, small, self.dtype, name="tail")(h)
        else:
            for i, factor in enumerate(STEPS[self.scale], start=1):
                h = _leaky_relu(pixel_shuffle(make(f"upconv{i}", self.features * factor**2)(h), factor))
            h = make("conv_last", self.out_channels)(_leaky_relu(make("conv_hr")(h)))
        return corrected(h, x, scale=self.scale, base=self.base)


def table(*, blocks: int = 16, scale: int = 4, **_: object) -> dict[str, str]:
    """Flax module -> BasicSR's name."""
    plain = ["conv_first", "conv_hr", "conv_last", *(f"upconv{i + 1}" for i in range(len(STEPS[scale])))]
    body = {f"body_{i}/conv{k}": f"body.{i}.conv{k}" for i in range(blocks) for k in (1, 2)}
    return {name: name for name in plain} | body
