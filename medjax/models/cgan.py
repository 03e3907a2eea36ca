"""A conditional generator: an image from noise and what is known of it.

A condition is a dict of columns `{name: [B]}`: whole numbers (a class, sex, view) are embedded, real ones (age) pass through
a dense layer. Images leave through a tanh, `[B, H, W, C]` in [-1, 1], float32.
"""

from __future__ import annotations

from collections.abc import Mapping

import flax.linen as nn
import jax.numpy as jnp

from medjax.models.blocks import Dropout, at_least_float32, leaky_relu, make_norm
from medjax.models.conv import Conv, ConvTranspose, gan_init, he_init
from medjax.types import Array, ConfigError

Sizes = tuple[tuple[str, int], ...]  # (column, number of its values; 0 for a real number)
SMALLEST = 4  # pixels of the first maps


class Conditioner(nn.Module):
    """`{column: [B]}` to `[B, columns * features]` float32, the columns in the order of `sizes`."""

    sizes: Sizes
    features: int = 32

    @nn.compact
    def __call__(self, condition: Mapping[str, Array]) -> Array:
        check_condition(self.sizes, condition)
        parts = []
        for name, count in self.sizes:
            column = jnp.asarray(condition[name])
            if count:
                # Of unit length on average, like as much noise: a table from normal(0.02) would drown in it.
                parts.append(nn.Embed(count, self.features, embedding_init=nn.initializers.normal(1.0), name=name)(column))
            else:
                parts.append(nn.Dense(self.features, name=name)(column[:, None].astype(jnp.float32)))
        return jnp.concatenate(parts, -1)


def check_condition(sizes: Sizes, condition: Mapping[str, Array]) -> None:
    """Raises ConfigError where the columns given are not those of `sizes`."""
    wanted = {name for name, _ in sizes}
    if wanted != set(condition):
        told = ", ".join(sorted(condition)) or "nothing"
        raise ConfigError(f"the network is conditioned on {', '.join(sorted(wanted)) or 'nothing'}, and was given {told}")


class ConditionalScale(nn.Module):
    """h * (1 + scale) + bias, both `[B, C]` from the condition (Dumoulin et al. 2017): after a norm, conditional norm."""

    @nn.compact
    def __call__(self, h: Array, condition: Array) -> Array:
        both = nn.Dense(2 * h.shape[-1], kernel_init=gan_init(), name="affine")(condition)
        scale, bias = jnp.split(both[:, None, None].astype(h.dtype), 2, -1)
        return h * (1 + scale) + bias


class Generator(nn.Module):
    """z `[B, Z]` and a condition to images, by transposed convolutions (kernel 4, stride 2) from 4x4 maps, LeakyReLU 0.2.

    The shape is DCGAN's (Radford et al. 2016): the condition is concatenated with z, widths halve as sizes double, down
    to `features` at full size, where a 3x3 convolution makes the image. conditional_norm: every norm's scale and bias depend
    on z and the condition too. `image_size` is 4, 8, 16, ...; 128 as published. remat: every enlargement is computed again in
    the backward pass, and only its input is kept; the parameters are the same.
    """

    sizes: Sizes
    image_size: int = 128
    features: int = 32
    most_features: int = 512
    embedding: int = 32
    out_channels: int = 1
    norm: str = "batch"
    predict_norm: str = "running"
    conditional_norm: bool = False
    dropout: float = 0.0
    remat: bool = False
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, z: Array, condition: Mapping[str, Array], *, train: bool = False) -> Array:
        stages = num_stages(self.image_size)
        code = Conditioner(self.sizes, self.embedding, name="condition")(condition) if self.sizes else z[:, :0]
        code = jnp.concatenate([at_least_float32(z), code], -1)
        width = lambda stage: min(self.features * 2 ** (stages - stage), self.most_features)  # noqa: E731
        h = nn.Dense(SMALLEST**2 * width(0), kernel_init=he_init(), dtype=self.dtype, name="first")(code)
        h = self._activated(h.reshape(-1, SMALLEST, SMALLEST, width(0)), code, "0", train)
        for stage in range(1, stages + 1):
            enlarge = lambda own, h, code, stage=stage: own._enlarged(h, code, width(stage), str(stage), train)  # noqa: E731
            h = (nn.remat(enlarge) if self.remat else enlarge)(self, h, code)
        h = Conv(self.out_channels, 3, kernel_init=he_init(0.1), dtype=self.dtype, name="last")(h)
        return jnp.tanh(at_least_float32(h))

    def _enlarged(self, h: Array, code: Array, width: int, name: str, train: bool) -> Array:
        init = he_init(4.0, transposed=True)  # at stride 2 a pixel sums a quarter of the kernel's 16 taps
        h = ConvTranspose(width, use_bias=self.norm == "none", kernel_init=init, dtype=self.dtype, name=f"up_{name}")(h)
        return self._activated(h, code, name, train)

    def _activated(self, h: Array, code: Array, name: str, train: bool) -> Array:
        h = make_norm(self.norm, predict_norm=self.predict_norm, module_name=f"norm_{name}")(h, train=train)
        if self.conditional_norm:
            h = ConditionalScale(name=f"conditional_{name}")(h, code)
        return Dropout(self.dropout)(leaky_relu(h))


def num_stages(image_size: int) -> int:
    """How often maps of 4 pixels double to `image_size`; ConfigError for a size that is no 4 * 2^n."""
    stages = max(image_size // SMALLEST, 1).bit_length() - 1
    if stages < 1 or SMALLEST * 2**stages != image_size:
        raise ConfigError(f"a CGAN makes images of 8, 16, 32, 64, 128, 256, 512, ... pixels, not of {image_size}")
    return stages
