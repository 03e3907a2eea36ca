"""Discriminators. Each returns one list per scale: its feature maps in order, the last of them the logits `[B, h, w, 1]`.

Inputs `[B, H, W, C]` in [-1, 1]; a condition is concatenated along C by the objective. Logits are float32 and carry no
sigmoid.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from medjax.models.blocks import at_least_float32, leaky_relu, make_norm
from medjax.models.conv import Conv
from medjax.types import Array, ConfigError


class PatchGAN(nn.Module):
    """The 70x70 PatchGAN of pix2pix (Isola et al. 2017, section 6.1.2): C64-C128-C256-C512, 30x30 logits at 256.

    `layers` stride-2 convolutions (3: receptive field 70), then two of stride 1. 2.76 million parameters for 1+1
    channels. use_bias: of the convolutions between; None: where no affine norm follows. remat: every convolution, norm and
    activation is computed again in the backward pass; the parameters are the same.
    """

    features: int = 64
    layers: int = 3
    norm: str = "batch"
    dtype: jnp.dtype | None = None
    use_bias: bool | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> list[list[Array]]:
        h, maps = x, []
        for i in range(self.layers + 1):
            if min(h.shape[1:3]) < 2:
                raise ConfigError(f"a PatchGAN of {self.layers} layers needs larger images than {x.shape[1]}x{x.shape[2]}")
            layer = lambda own, h, i=i: own._layer(h, i, train)  # noqa: E731
            h = (nn.remat(layer) if self.remat else layer)(self, h)
            maps.append(h)
        logits = Conv(1, 4, 1, 1, dtype=self.dtype, name="logits")(h)
        return [[*maps, at_least_float32(logits)]]

    def _layer(self, h: Array, i: int, train: bool) -> Array:
        """The first has no norm, the last no stride."""
        plain = self.norm in ("none", "instance") if self.use_bias is None else self.use_bias
        width, stride = self.features * min(2**i, 8), 2 if i < self.layers else 1
        h = Conv(width, 4, stride, 1, use_bias=i == 0 or plain, dtype=self.dtype, name=f"conv_{i}")(h)
        return leaky_relu(make_norm(self.norm, module_name=f"norm_{i}")(h, train=train) if i else h)


class MultiScale(nn.Module):
    """`scales` PatchGANs, each on the image at half the resolution of the one before (Wang et al. 2018, pix2pixHD)."""

    scales: int = 3
    features: int = 64
    layers: int = 3
    norm: str = "batch"
    dtype: jnp.dtype | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> list[list[Array]]:
        outputs = []
        for i in range(self.scales):
            patch = PatchGAN(self.features, self.layers, self.norm, self.dtype, remat=self.remat, name=f"scale_{i}")
            outputs += patch(x, train=train)
            x = nn.avg_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)), count_include_pad=False)
        return outputs
