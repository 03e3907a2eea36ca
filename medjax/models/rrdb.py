"""RRDBNet, the generator of ESRGAN (Wang et al. 2018, section 3.1) and Real-ESRGAN, in BasicSR's layout.

As published the network works on images in [0, 1] and is not clipped: `[B, H, W, C]` to `[B, scale*H, scale*W,
out_channels]`. 16,697,987 parameters with 23 blocks, 64 features, 32 of growth and 3 channels at scale 4.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from medjax.models.blocks import leaky_relu
from medjax.models.conv import Conv, he_init
from medjax.models.restorer import pixel_unshuffle
from medjax.types import Array, ConfigError

UNSHUFFLE = {4: 1, 2: 2, 1: 4}  # scale -> the pixel-unshuffle before the trunk, which always enlarges by 4


class DenseBlock(nn.Module):
    """Five densely connected convolutions; x + 0.2 times the last."""

    growth: int = 32
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        maps = [x]
        for i in range(1, 5):
            layer = Conv(self.growth, kernel_init=he_init(0.01), dtype=self.dtype, name=f"conv{i}")
            maps.append(leaky_relu(layer(jnp.concatenate(maps, -1))))
        last = Conv(x.shape[-1], kernel_init=he_init(0.01), dtype=self.dtype, name="conv5")(jnp.concatenate(maps, -1))
        return x + 0.2 * last.astype(x.dtype)


class RRDB(nn.Module):
    """Three dense blocks in a residual block: x + 0.2 times their result."""

    growth: int = 32
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        h = x
        for i in range(1, 4):
            h = DenseBlock(self.growth, self.dtype, name=f"rdb{i}")(h)
        return x + 0.2 * h


def enlarge(x: Array, factor: int = 2) -> Array:
    """Every pixel repeated `factor` times along both axes."""
    return jnp.repeat(jnp.repeat(x, factor, axis=1), factor, axis=2)


class RRDBNet(nn.Module):
    """`blocks` RRDBs on the low-resolution grid, then two nearest-neighbour enlargements with convolutions. float32 out.

    scale: 4; at 2 and 1 a pixel-unshuffle goes before, and H and W are multiples of 2 and 4.
    """

    out_channels: int = 1
    features: int = 64
    blocks: int = 23
    growth: int = 32
    scale: int = 4
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        del train  # no norm and no dropout
        if self.scale not in UNSHUFFLE:
            raise ConfigError(f"RRDBNet enlarges by 4, 2 or 1, not {self.scale}")
        factor = UNSHUFFLE[self.scale]
        if x.shape[1] % factor or x.shape[2] % factor:
            raise ConfigError(f"RRDBNet at scale {self.scale} takes multiples of {factor}, not {x.shape[1]}x{x.shape[2]}")
        make = lambda name, features=self.features: Conv(  # noqa: E731
            features, kernel_init=he_init(), dtype=self.dtype, name=name
        )
        first = make("conv_first")(pixel_unshuffle(x, factor))
        h = first
        for i in range(self.blocks):
            h = RRDB(self.growth, self.dtype, name=f"body_{i}")(h)
        h = first + make("conv_body")(h)
        for name in ("conv_up1", "conv_up2"):
            h = leaky_relu(make(name)(enlarge(h)))
        h = leaky_relu(make("conv_hr")(h))
        return make("conv_last", self.out_channels)(h).astype(jnp.float32)


def table(*, blocks: int = 23, **_: object) -> dict[str, str]:
    """Flax module -> BasicSR's name."""
    plain = ("conv_first", "conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last")
    parts = [(f"rdb{j}", f"conv{k}") for j in range(1, 4) for k in range(1, 6)]
    body = {f"body_{i}/{rdb}/{conv}": f"body.{i}.{rdb}.{conv}" for i in range(blocks) for rdb, conv in parts}
    return {name: name for name in plain} | body
