"""What super-resolution networks share: the image they correct, and the enlargements inside them.

Maps are `[B, H, W, C]`.
"""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.models.blocks import at_least_float32
from medjax.models.conv import Conv
from medjax.models.restorer import pixel_shuffle
from medjax.types import Array, ConfigError

BASES = {"none": None, "bilinear": "linear", "bicubic": "cubic"}  # name -> jax.image's


def corrected(correction: Array, x: Array, *, scale: int, base: str) -> Array:
    """`correction` `[B, scale*H, scale*W, C]` added to the enlargement of `x` `[B, H, W, C]`, float32.

    base: `bicubic` (Keys, a = -0.5, windows cut at the border: Pillow's), `bilinear`, or `none` for the correction alone. Of
    neighbouring slices as channels the middle ones are enlarged. Raises ConfigError for another name.
    """
    if base not in BASES:
        raise ConfigError(f"a network corrects an enlargement of the kind {', '.join(BASES)}, not {base!r}")
    correction = at_least_float32(correction)
    if base == "none":
        return correction
    first = max(0, (x.shape[-1] - correction.shape[-1]) // 2)
    x = at_least_float32(x[..., first : first + correction.shape[-1]])
    size = (x.shape[0], scale * x.shape[1], scale * x.shape[2], x.shape[3])
    return correction + jax.image.resize(x, size, BASES[base])


class DirectTail(nn.Module):
    """One convolution on the coarse grid, one pixel shuffle by `factor` (Shi et al. 2016, ESPCN): no work on the fine grid."""

    out_channels: int
    factor: int
    kernel_init: Callable
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        conv = Conv(self.out_channels * self.factor**2, kernel_init=self.kernel_init, dtype=self.dtype, name="conv")
        return pixel_shuffle(conv(x), self.factor)
