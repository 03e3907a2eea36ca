"""RRDBNet, the generator of ESRGAN (Wang et al. 2018, section 3.1) and Real-ESRGAN, in BasicSR's layout.

`[B, H, W, C]` to `[B, scale*H, scale*W, out_channels]`, not clipped. BasicSR's weights take images in [0, 1]; trained here,
its images are in [-1, 1] like all others. 16,697,987 parameters with 23 blocks, 64 features, 32 of growth and 3 channels at
scale 4.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from medjax.models.blocks import leaky_relu
from medjax.models.conv import Conv, UpsampleConv, he_init
from medjax.models.enlarge import DirectTail, corrected
from medjax.models.restorer import pixel_unshuffle
from medjax.types import Array, ConfigError

UNSHUFFLE = {8: 1, 4: 1, 2: 2, 1: 4}  # scale -> the pixel-unshuffle before the trunk


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


class RRDBNet(nn.Module):
    """`blocks` RRDBs on the low-resolution grid, then nearest-neighbour enlargements by 2 with convolutions. float32 out.

    scale: 4, or 8 with a third enlargement (BasicSR has none); at 2 and 1 a pixel-unshuffle goes before, and H and W are
    multiples of 2 and 4. base: the enlargement that is corrected, bicubic or bilinear; none as published. With one, an
    untrained network gives the enlargement itself. direct: a light tail, one convolution and one pixel shuffle in place of
    those on the finer grids. remat: blocks are computed again in the backward pass, and their insides are not kept; the
    parameters are the same.
    """

    out_channels: int = 1
    features: int = 64
    blocks: int = 23
    growth: int = 32
    scale: int = 4
    base: str = "none"
    direct: bool = False
    remat: bool = False
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        del train  # no norm and no dropout
        if self.scale not in UNSHUFFLE:
            raise ConfigError(f"RRDBNet enlarges by 8, 4, 2 or 1, not {self.scale}")
        factor, steps = UNSHUFFLE[self.scale], _steps(self.scale)
        if x.shape[1] % factor or x.shape[2] % factor:
            raise ConfigError(f"RRDBNet at scale {self.scale} takes multiples of {factor}, not {x.shape[1]}x{x.shape[2]}")
        make = lambda name: Conv(self.features, kernel_init=he_init(), dtype=self.dtype, name=name)  # noqa: E731
        first = make("conv_first")(pixel_unshuffle(x, factor))
        block, h = nn.remat(RRDB) if self.remat else RRDB, first
        for i in range(self.blocks):
            h = block(self.growth, self.dtype, name=f"body_{i}")(h)
        h = first + make("conv_body")(h)
        last = he_init() if self.base == "none" else nn.initializers.zeros
        if self.direct:
            h = DirectTail(self.out_channels, 2 ** len(steps), last, self.dtype, name="tail")(h)
        else:
            for name in steps:
                up = UpsampleConv(self.features, kernel_init=he_init(), dtype=self.dtype, name=name)
                h = leaky_relu(up(h))
            h = leaky_relu(make("conv_hr")(h))
            h = Conv(self.out_channels, kernel_init=last, dtype=self.dtype, name="conv_last")(h)
        return corrected(h, x, scale=self.scale, base=self.base)


def _steps(scale: int) -> tuple[str, ...]:
    """The convolutions behind the enlargements by 2: the trunk's grid is enlarged by 4, at scale 8 by 8."""
    return ("conv_up1", "conv_up2", "conv_up3")[: 3 if scale == 8 else 2]


def table(*, blocks: int = 23, scale: int = 4, **_: object) -> dict[str, str]:
    """Flax module -> BasicSR's name."""
    plain = ("conv_first", "conv_body", *_steps(scale), "conv_hr", "conv_last")
    parts = [(f"rdb{j}", f"conv{k}") for j in range(1, 4) for k in range(1, 6)]
    body = {f"body_{i}/{rdb}/{conv}": f"body.{i}.{rdb}.{conv}" for i in range(blocks) for rdb, conv in parts}
    return {name: name for name in plain} | body
