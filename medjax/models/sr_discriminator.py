"""The discriminators of SRGAN and ESRGAN: VGG-like stacks that give one logit for an image.

`[B, H, W, C]` in [-1, 1] to `[[*maps, logits]]`, feature maps in order and float32 logits `[B, 1, 1, 1]` without a sigmoid, as
in `medjax.models.discriminators`. The published networks take one size; here the last maps are averaged to the `grid` that the
published size leaves, which at that size changes nothing, so that whole images can be judged by what crops have taught.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from medjax.models.blocks import at_least_float32, leaky_relu, make_norm
from medjax.models.conv import Conv, he_init
from medjax.models.layers import adaptive_avg_pool
from medjax.models.spectral import NormalisedConv, NormalisedDense
from medjax.types import Array, ConfigError


class SRDiscriminator(nn.Module):
    """`stages` pairs of convolutions, the second of each with stride 2, LeakyReLU 0.2, then two dense layers.

    As it stands it is SRGAN's (Ledig et al. 2017, figure 4): 64 to 512 channels in eight convolutions, a dense layer of 1024,
    at 96 pixels a grid of 6. stages=5, down_kernel=4, dense=100, grid=4 is ESRGAN's for 128 pixels (BasicSR's
    VGGStyleDiscriminator, 14,499,401 parameters for 3 channels). grid=1 is global average pooling: any size, and 36 times
    fewer weights in the dense layer. norm: batch as published, instance, group or none; the first convolution has none. spectral:
    every kernel divided by its spectral norm (Miyato et al. 2018), best with norm="none". remat: every pair of convolutions is
    computed again in the backward pass, and its insides are not kept.
    """

    features: int = 64
    stages: int = 4
    down_kernel: int = 3
    dense: int = 1024
    grid: int = 6
    norm: str = "batch"
    spectral: bool = False
    remat: bool = False
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> list[list[Array]]:
        least = self.grid * 2**self.stages
        if min(x.shape[1:3]) < least:
            raise ConfigError(
                f"an SRDiscriminator of {self.stages} stages and a grid of {self.grid} takes images from {least}x{least} on, "
                f"not {x.shape[1]}x{x.shape[2]}"
            )
        h, maps = x, []
        for stage in range(self.stages):
            pair = lambda own, h, stage=stage: own._pair(h, stage, train)  # noqa: E731
            maps += (nn.remat(pair) if self.remat else pair)(self, h)
            h = maps[-1]
        flat = adaptive_avg_pool(at_least_float32(h), self.grid).reshape(h.shape[0], -1)
        dense = lambda features, gain, name: NormalisedDense(features, self.spectral, True, he_init(gain), name=name)  # noqa: E731
        h = leaky_relu(dense(self.dense, 1.0, "dense")(flat, train=train))
        logits = dense(1, 0.5, "logits")(h, train=train)
        return [[*maps, logits[:, None, None, :]]]

    def _pair(self, h: Array, stage: int, train: bool) -> list[Array]:
        """The maps of a stage; the first convolution of all has no norm."""
        width, maps = self.features * min(2**stage, 8), []
        for part, (kernel, stride) in enumerate(((3, 1), (self.down_kernel, 2))):
            name = f"{stage}_{part}"
            norm = self.norm if stage or part else "none"
            h = self._conv(h, width, kernel, stride, f"conv_{name}", train, norm in ("none", "instance"))
            h = leaky_relu(make_norm(norm, module_name=f"norm_{name}")(h, train=train))
            maps.append(h)
        return maps

    def _conv(self, x: Array, width: int, kernel: int, stride: int, name: str, train: bool, bias: bool) -> Array:
        """Without a bias where an affine norm follows; under spectral norm always with one."""
        if self.spectral:
            return NormalisedConv(width, kernel, stride, 1, True, he_init(), self.dtype, name=name)(x, train=train)
        return Conv(width, kernel, stride, 1, bias, he_init(), self.dtype, name=name)(x)
