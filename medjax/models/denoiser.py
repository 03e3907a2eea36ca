"""The U-Net denoiser of diffusion (Ho et al. 2020, appendix B; Nichol and Dhariwal 2021, section 3), with a condition.

x_t `[B, H, W, C]` with a condition `[B, H, W, K]` beside it as further channels, and times `[B]`, to a prediction `[B, H, W,
out_channels]`, float32. An untrained network predicts 0: its last convolution starts there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from medjax.models.attention import make_attention
from medjax.models.blocks import Dropout, GroupNorm, at_least_float32
from medjax.models.conv import Conv, UpsampleConv, he_init
from medjax.models.restorer import pixel_shuffle, pixel_unshuffle
from medjax.types import Array, ConfigError

_LINEAR = he_init(0.5)  # variance 1 / fan_in
_ZEROS = nn.initializers.zeros


def time_embedding(t: Array, size: int, *, longest: float = 10_000.0) -> Array:
    """Cosines and sines of `t` `[B]` at size / 2 wavelengths from 2 pi to 2 pi `longest` (Vaswani et al. 2017), `[B, size]`."""
    half = size // 2
    rates = jnp.exp(-math.log(longest) * jnp.arange(half) / half)
    angles = t[:, None].astype(jnp.float32) * rates
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


class TimedBlock(nn.Module):
    """Residual block: norm, SiLU, 3x3, twice; the second norm is scaled and shifted by the time. The identity at first where
    the width stays.
    """

    features: int
    dropout: float = 0.0
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array, embedding: Array) -> Array:
        make = lambda size, init, name: Conv(self.features, size, kernel_init=init, dtype=self.dtype, name=name)  # noqa: E731
        h = make(3, _LINEAR, "conv_0")(nn.silu(GroupNorm(name="norm_0")(x, train=False)))
        told = nn.Dense(2 * self.features, kernel_init=_ZEROS, dtype=self.dtype, name="time")(nn.silu(embedding))
        h = GroupNorm(name="norm_1")(h, tuple(jnp.split(told, 2, axis=-1)), train=False)
        h = make(3, _ZEROS, "conv_1")(Dropout(self.dropout)(nn.silu(h)))
        return h + (x if x.shape[-1] == self.features else make(1, _LINEAR, "skip")(x))


class Denoiser(nn.Module):
    """U-Net of `blocks` residual blocks down and `blocks` + 1 up at each level, level i on maps of 1 / (unshuffle 2**i).

    multipliers: widths of the levels in units of `features`. attention_levels: levels (0 is the finest) whose blocks are
    followed by attention of `attention_kind`; where there are some, the middle has it too. unshuffle: how many pixels along a
    side go into one position of the finest level. remat: blocks are computed again in the backward pass; the parameters are
    the same. Raises ConfigError for sizes that the halvings do not divide, and for levels that there are not.
    """

    out_channels: int = 1
    features: int = 64
    multipliers: Sequence[int] = (1, 2, 4, 4)
    blocks: int = 2
    attention_levels: Sequence[int] = ()
    attention_kind: str = "transformer"
    unshuffle: int = 1
    dropout: float = 0.0
    remat: bool = False
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array, t: Array, condition: Array | None = None, *, train: bool = False) -> Array:
        del train  # the norms keep no statistics; a dropout key turns dropout on
        self._check(x, condition)
        x = x if condition is None else jnp.concatenate([x, condition], axis=-1)
        hidden = nn.Dense(4 * self.features, name="time_0")(time_embedding(t, self.features))
        embedding = nn.Dense(4 * self.features, name="time_1")(nn.silu(hidden))
        block = nn.remat(TimedBlock) if self.remat else TimedBlock
        make = lambda width, strides, name: Conv(width, 3, strides, 1, kernel_init=_LINEAR, dtype=self.dtype, name=name)  # noqa: E731
        widths = [self.features * m for m in self.multipliers]

        def refined(h: Array, level: int, name: str, *, attend: bool) -> Array:
            h = block(widths[level], self.dropout, self.dtype, name=name)(h, embedding)
            named = {"dtype": self.dtype, "module_name": f"attention_{name}"}
            return make_attention(self.attention_kind, **named)(h) if attend else h

        h = make(self.features, 1, "first")(pixel_unshuffle(x, self.unshuffle))
        skips = [h]
        for level in range(len(widths)):
            if level:
                h = make(widths[level], 2, f"halve_{level}")(h)
                skips.append(h)
            for i in range(self.blocks):
                h = refined(h, level, f"down_{level}_{i}", attend=level in self.attention_levels)
                skips.append(h)
        h = refined(h, -1, "middle_0", attend=len(self.attention_levels) > 0)
        h = refined(h, -1, "middle_1", attend=False)
        for level in reversed(range(len(widths))):
            for i in range(self.blocks + 1):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = refined(h, level, f"up_{level}_{i}", attend=level in self.attention_levels)
            if level:
                up = UpsampleConv(widths[level - 1], kernel_init=_LINEAR, dtype=self.dtype, name=f"double_{level}")
                h = up(h)
        h = nn.silu(GroupNorm(name="last_norm")(h, train=False))
        h = Conv(self.out_channels * self.unshuffle**2, kernel_init=_ZEROS, dtype=self.dtype, name="last")(h)
        return at_least_float32(pixel_shuffle(h, self.unshuffle))

    def _check(self, x: Array, condition: Array | None) -> None:
        levels, (height, width) = len(self.multipliers), x.shape[1:3]
        multiple = self.unshuffle * 2 ** (levels - 1)
        if height % multiple or width % multiple:
            raise ConfigError(f"a denoiser of {levels} levels takes sizes that are multiples of {multiple}, not {height}x{width}")
        if condition is not None and condition.shape[:3] != x.shape[:3]:
            raise ConfigError(f"a denoiser's condition is as large as its image, {height}x{width}, not {condition.shape[1:3]}")
        wrong = [level for level in self.attention_levels if not 0 <= level < levels]
        if wrong:
            raise ConfigError(f"no level {wrong[0]} for attention in a denoiser of levels 0 to {levels - 1}")
