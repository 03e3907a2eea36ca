"""A network trained elsewhere, behind the contract of this library: `[B, H, W, 1]` in [-1, 1] to the same."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.models.blocks import at_least_float32
from medjax.types import Array, ConfigError

RANGES = ("signed", "unit")


class Adapted(nn.Module):
    """`net` with its own channels, range and scale; its parameters lie where they would without this module.

    channels: of the net's input; a grey image is repeated. Output channels are averaged.
    value_range: `signed` for [-1, 1], `unit` for [0, 1].
    scale: a super-resolution net's enlargement. Its input is then the image reduced by as much (cubic, antialiased), so that
    the output has the input's size: an image that was enlarged by interpolation comes back sharpened.
    multiple: of which the sides must be; others are edge-padded and cropped again.
    enlarges: how many times larger than the input the output is to be: 1, or with scale 1 the enlargement of `net`.
    """

    net: nn.Module
    channels: int = 1
    value_range: str = "signed"
    scale: int = 1
    multiple: int = 1
    enlarges: int = 1

    def setup(self) -> None:
        """Share the scope of `net`."""
        nn.share_scope(self, self.net)

    def __call__(self, x: Array, *, train: bool = False) -> Array:
        if self.value_range not in RANGES:
            raise ConfigError(f"value_range is signed or unit, not {self.value_range!r}")
        height, width = x.shape[1:3]
        x = jnp.pad(x, ((0, 0), (0, -height % self.multiple), (0, -width % self.multiple), (0, 0)), mode="edge")
        x = x if x.shape[-1] == self.channels else jnp.repeat(x[..., x.shape[-1] // 2, None], self.channels, -1)
        if self.scale > 1:
            small = (x.shape[0], x.shape[1] // self.scale, x.shape[2] // self.scale, x.shape[3])
            x = jax.image.resize(x, small, "cubic", antialias=True)
        unit = self.value_range == "unit"
        y = self.net((x.clip(-1, 1) + 1) / 2 if unit else x, train=train)
        y = at_least_float32(y).mean(-1, keepdims=True)[:, : height * self.enlarges, : width * self.enlarges]
        return 2 * y - 1 if unit else y
