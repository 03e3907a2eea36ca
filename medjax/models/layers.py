"""Layers of published networks, with PyTorch's arithmetic: what the feature networks are built from.

Maps are `[B, H, W, C]`, zero padding is symmetric and pooling rounds sizes down, as in torch.nn's defaults.
"""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from medjax.models.blocks import BatchNorm
from medjax.models.conv import conv, he_init
from medjax.types import Array, ConfigError


class Conv2d(nn.Module):
    """Convolution `[B, H, W, in]` -> `[B, H', W', features]` with kernels, strides and padding per axis."""

    features: int
    kernel_size: Sequence[int] = (3, 3)
    strides: int = 1
    padding: Sequence[int] = (0, 0)
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", he_init(), (*self.kernel_size, x.shape[-1], self.features))
        pads = tuple((p, p) for p in self.padding)
        y = conv(x, kernel.astype(x.dtype), strides=(self.strides,) * 2, padding=pads)
        return y + self.param("bias", nn.initializers.zeros, (self.features,)).astype(y.dtype) if self.use_bias else y


class ConvNormRelu(nn.Module):
    """Convolution without bias, batch norm, ReLU: `conv` and `bn`, as torchvision's Inception names them."""

    features: int
    kernel_size: Sequence[int] = (1, 1)
    strides: int = 1
    padding: Sequence[int] = (0, 0)
    epsilon: float = 1e-3

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        x = Conv2d(self.features, self.kernel_size, self.strides, self.padding, name="conv")(x)
        return nn.relu(BatchNorm(epsilon=self.epsilon, name="bn")(x, train=train))


def avg_pool(x: Array, size: int, stride: int, padding: int = 0) -> Array:
    """Mean over windows of what lies inside the image (`count_include_pad=False`)."""
    window = (size, size)
    return nn.avg_pool(x, window, strides=(stride,) * 2, padding=((padding, padding),) * 2, count_include_pad=False)


def adaptive_avg_pool(x: Array, size: int) -> Array:
    """`[B, H, W, C]` -> `[B, size, size, C]`: means over floor(iH/size) ... ceil((i+1)H/size), as torch divides."""
    rows, columns = (_windows(n, size) for n in x.shape[1:3])
    return jnp.einsum("ih,jw,bhwc->bijc", rows, columns, x)


def _windows(length: int, size: int) -> np.ndarray:
    weights = np.zeros((size, length), np.float32)
    for i in range(size):
        start, stop = i * length // size, -(-(i + 1) * length // size)
        weights[i, start:stop] = 1 / (stop - start)
    return weights


def check_input(x: Array, *, channels: int, least: int, what: str) -> None:
    """Raises ConfigError for an input of another number of channels, or smaller than the network can take."""
    if x.ndim != 4 or x.shape[-1] != channels or min(x.shape[1:3]) < least:
        raise ConfigError(f"{what} takes [B, H, W, {channels}] of at least {least}x{least}, not {list(x.shape)}")
