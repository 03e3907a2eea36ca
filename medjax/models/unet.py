"""The U-Net generator of pix2pix (Isola et al. 2017, section 6.1.1), with attention wherever it is asked for.

Images `[B, H, W, C]` in [-1, 1] to `[B, H, W, out_channels]` in [-1, 1] by tanh. H and W must be multiples of
2**levels. At `image_size=256` the published eight levels end in a 1x1 map, which carries no norm: batch norm over one
position at batch size 1 returns its bias and erases the code.
"""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from medjax.models.attention import make_attention
from medjax.models.blocks import Dropout, at_least_float32, leaky_relu, make_norm
from medjax.models.conv import Conv, ConvTranspose
from medjax.types import Array, ConfigError


def depth(image_size: int) -> int:
    """Levels for images of `image_size`: down to 1x1 as published at 256, and eight at most."""
    return min(8, (image_size & -image_size).bit_length() - 1)


def parse_places(places: Sequence[str], image_size: int, levels: int) -> dict[tuple[str, int], str]:
    """`("encoder:32", ...)` -> {(side, level): place}, where level i has maps of image_size / 2**i.

    Raises ConfigError for a place that does not exist, and for a 1x1 map, with the reason.
    """
    known = {f"{side}:{image_size >> i}": (side, i) for side in ("encoder", "decoder") for i in range(1, levels)}
    found = {}
    for place in places:
        side, _, size = place.partition(":")
        if place == "bottleneck" or size == "1" or size == str(image_size >> levels) == "1":
            raise ConfigError(
                f"attention at {place!r} sits on a 1x1 map: the softmax over one position is 1, so queries and keys get "
                "zero gradient and it attends to nothing; place it at 16 or 32, for example 'encoder:32'"
            )
        if place not in known:
            raise ConfigError(f"no place {place!r} for attention at image size {image_size}; known: {', '.join(known)}")
        found[known[place]] = place
    return found


class UNet(nn.Module):
    """U-Net with `levels` stride-2 levels (None: from `image_size`), dropout in the first three decoder blocks.

    54.41 million parameters as published (256, 64 features). Dropout is on when a `dropout` key is given, so a key at
    test time draws a sample. Compute type `dtype`; the output is float32. use_bias: of the convolutions inside; None: where
    no affine norm follows; the PyTorch build has none without a norm. first_dropout: the first of the three decoder blocks
    with dropout; the PyTorch build leaves the innermost out and begins at 1.
    """

    out_channels: int = 1
    features: int = 64
    image_size: int = 256
    levels: int | None = None
    norm: str = "batch"
    predict_norm: str = "running"
    dropout: float = 0.5
    attention_at: Sequence[str] = ()
    attention_kind: str = "self"
    dtype: jnp.dtype | None = None
    use_bias: bool | None = None
    first_dropout: int = 0

    def _norm(self, name: str) -> nn.Module:
        return make_norm(self.norm, predict_norm=self.predict_norm, module_name=name)

    def _attend(self, places: dict, side: str, level: int, h: Array) -> Array:
        if (side, level) not in places:
            return h
        name = f"attention_{places[side, level].replace(':', '_')}"
        return make_attention(self.attention_kind, dtype=self.dtype, module_name=name)(h)

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        levels = depth(self.image_size) if self.levels is None else self.levels
        places = parse_places(self.attention_at, self.image_size, levels)
        self._check(x, levels)
        widths = [self.features * min(2**i, 8) for i in range(levels)]
        # these norms leave the convolution's bias something to do
        plain = self.norm in ("none", "instance") if self.use_bias is None else self.use_bias

        skips, h = [], x
        for i, width in enumerate(widths):
            bare = i in (0, levels - 1)
            h = h if i == 0 else leaky_relu(h)
            h = Conv(width, 4, 2, 1, use_bias=plain, dtype=self.dtype, name=f"encoder_{i}")(h)
            h = h if bare else self._norm(f"encoder_norm_{i}")(h, train=train)
            h = self._attend(places, "encoder", i + 1, h)
            skips.append(h)

        for j, i in enumerate(reversed(range(levels))):
            h = nn.relu(h if j == 0 else jnp.concatenate([skips[i], h], axis=-1))
            if i == 0:
                break
            h = ConvTranspose(widths[i - 1], use_bias=plain, dtype=self.dtype, name=f"decoder_{j}")(h)
            h = self._norm(f"decoder_norm_{j}")(h, train=train)
            h = Dropout(self.dropout if 0 <= j - self.first_dropout < 3 else 0.0)(h)
            h = self._attend(places, "decoder", i, h)
        return jnp.tanh(at_least_float32(ConvTranspose(self.out_channels, dtype=self.dtype, name="output")(h)))

    def _check(self, x: Array, levels: int) -> None:
        height, width = x.shape[1:3]
        if height % 2**levels or width % 2**levels:
            raise ConfigError(
                f"a U-Net of {levels} levels takes sizes that are multiples of {2**levels}, not {height}x{width}"
            )
