"""The ResNet generator of CycleGAN (Zhu et al. 2017, section 7.2; Johnson et al. 2016), in its repository's layout.

Images `[B, H, W, C]` in [-1, 1] to `[B, H, W, out_channels]` in [-1, 1] by tanh; H and W are multiples of 4. 11.38
million parameters with 9 blocks, 64 features and 3 channels.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from medjax.models.blocks import Dropout, at_least_float32, make_norm
from medjax.models.conv import Conv, ConvTranspose
from medjax.types import Array, ConfigError


def reflect(x: Array, pad: int) -> Array:
    """Mirrored about the edge pixels."""
    return jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")


class ResnetBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), mirrored at the edges."""

    norm: str = "instance"
    predict_norm: str = "running"
    dropout: float = 0.0
    use_bias: bool = True
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        h = x
        for i in range(2):
            h = Conv(x.shape[-1], 3, 1, 0, use_bias=self.use_bias, dtype=self.dtype, name=f"conv_{i}")(reflect(h, 1))
            h = make_norm(self.norm, predict_norm=self.predict_norm, module_name=f"norm_{i}")(h, train=train)
            h = h if i else Dropout(self.dropout)(nn.relu(h))
        return x + h


class ResnetGenerator(nn.Module):
    """7x7, two stride-2 convolutions, `blocks` residual blocks, two transposed convolutions, 7x7, tanh. float32 out.

    norm: instance (CycleGAN), batch or none. Convolutions before an instance norm carry a bias, as published, others not.
    """

    out_channels: int = 1
    features: int = 64
    blocks: int = 9
    norm: str = "instance"
    predict_norm: str = "running"
    dropout: float = 0.0
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        height, width = x.shape[1:3]
        if height % 4 or width % 4 or min(height, width) < 8:
            raise ConfigError(f"a ResNet generator takes sizes that are multiples of 4 from 8 on, not {height}x{width}")
        bias = self.norm == "instance"
        options = {"use_bias": bias, "dtype": self.dtype}

        def normed(h: Array, name: str) -> Array:
            return nn.relu(make_norm(self.norm, predict_norm=self.predict_norm, module_name=name)(h, train=train))

        h = normed(Conv(self.features, 7, 1, 0, name="first", **options)(reflect(x, 3)), "first_norm")
        for i in (1, 2):
            h = normed(Conv(self.features * 2**i, 3, 2, 1, name=f"down_{i}", **options)(h), f"down_norm_{i}")
        for i in range(self.blocks):
            block = ResnetBlock(self.norm, self.predict_norm, self.dropout, name=f"block_{i}", **options)
            h = block(h, train=train)
        for i in (1, 0):
            up = ConvTranspose(self.features * 2**i, 3, 2, 1, output_padding=1, name=f"up_{i}", **options)
            h = normed(up(h), f"up_norm_{i}")
        h = Conv(self.out_channels, 7, 1, 0, dtype=self.dtype, name="last")(reflect(h, 3))
        return jnp.tanh(at_least_float32(h))


def table(*, blocks: int = 9, norm: str = "instance", dropout: bool = False, **_: object) -> dict[str, str]:
    """Flax module -> the repository's name; a dropout layer inside the blocks moves what follows it by one."""
    normed = norm == "batch"
    names = {"first": "model.1", "down_1": "model.4", "down_2": "model.7"}
    norms = {"first_norm": "model.2", "down_norm_1": "model.5", "down_norm_2": "model.8"}
    for i in range(blocks):
        second = 6 if dropout else 5
        names |= {f"block_{i}/conv_0": f"model.{10 + i}.conv_block.1", f"block_{i}/conv_1": f"model.{10 + i}.conv_block.{second}"}
        norms |= {
            f"block_{i}/norm_0": f"model.{10 + i}.conv_block.2",
            f"block_{i}/norm_1": f"model.{10 + i}.conv_block.{second + 1}",
        }
    after = 10 + blocks
    names |= {"up_1": f"model.{after}", "up_0": f"model.{after + 3}", "last": f"model.{after + 7}"}
    norms |= {"up_norm_1": f"model.{after + 1}", "up_norm_0": f"model.{after + 4}"}
    return names | norms if normed else names
