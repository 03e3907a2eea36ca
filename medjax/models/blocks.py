"""Norms, dropout and activations shared by the networks; maps are `[B, H, W, C]`.

`train=True` normalises by the batch and updates the running statistics (collection `batch_stats`). At test time
`predict_norm` decides: `running` uses the running statistics; `batch` uses the statistics of the one image, computed
per image, which is what pix2pix does at batch size 1. Statistics are float32 whatever the compute type.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.types import Array, ConfigError

leaky_relu = functools.partial(nn.leaky_relu, negative_slope=0.2)


def at_least_float32(x: Array) -> Array:
    """`x` in float32, or float64 where it is that: what norms, losses and images are computed in, whatever the compute type."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy 2015) with PyTorch's momentum 0.1 and unbiased running variance."""

    predict_norm: str = "running"
    momentum: float = 0.9
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        channels = x.shape[-1]
        mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
        var = self.variable("batch_stats", "var", jnp.ones, (channels,))
        x32 = at_least_float32(x)
        values = x.size // channels if train else x.shape[1] * x.shape[2]
        if train:
            m, v = _moments(x32, (0, 1, 2))
            if not self.is_initializing():
                mean.value = self.momentum * mean.value + (1 - self.momentum) * m.reshape(-1)
                var.value = self.momentum * var.value + (1 - self.momentum) * v.reshape(-1) * values / max(values - 1, 1)
        elif self.predict_norm == "batch":
            m, v = _moments(x32, (1, 2))
        elif self.predict_norm == "running":
            m, v, values = mean.value, var.value, 0
        else:
            raise ConfigError(f"predict_norm is 'running' or 'batch', not {self.predict_norm!r}")
        scale, bias = _affine(self, channels)
        return _normed(x32, m, scale * jax.lax.rsqrt(v + self.epsilon), bias, values=values).astype(x.dtype)


class InstanceNorm(nn.Module):
    """Instance normalisation (Ulyanov et al. 2016): statistics of each image and channel, no running ones."""

    affine: bool = False
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        del train
        x32 = at_least_float32(x)
        m, v = _moments(x32, (1, 2))
        scale, bias = _affine(self, x.shape[-1]) if self.affine else (1, 0)
        return _normed(x32, m, scale * jax.lax.rsqrt(v + self.epsilon), bias, values=x.shape[1] * x.shape[2]).astype(x.dtype)


class GroupNorm(nn.Module):
    """Group normalisation (Wu and He 2018), at most `groups` groups: the largest number that divides the channels.

    told: (scale, shift), each `[B, C]`, by which the result is changed to (1 + scale) * y + shift.
    """

    groups: int = 32
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Array, told: tuple[Array, Array] | None = None, *, train: bool) -> Array:
        del train
        batch, height, width, channels = x.shape
        groups = max(g for g in range(1, min(self.groups, channels) + 1) if channels % g == 0)
        x32 = at_least_float32(x)
        # Sums of each channel, then over the groups: one pass, and no map is laid out anew.
        totals = jnp.stack([x32.sum((1, 2)), jnp.square(x32).sum((1, 2))]).reshape(2, batch, groups, -1).sum(-1)
        mean, square = totals / (height * width * channels // groups)
        spread = jax.lax.rsqrt(jnp.maximum(square - jnp.square(mean), 0) + self.epsilon)
        mean, spread = (jnp.repeat(v, channels // groups, axis=1)[:, None, None] for v in (mean, spread))
        scale, bias = _affine(self, channels)
        if told is not None:
            more, shift = (at_least_float32(v)[:, None, None] for v in told)
            scale, bias = scale * (1 + more), bias * (1 + more) + shift
        return _normed(x32, mean, scale * spread, bias, values=height * width * channels // groups).astype(x.dtype)


class Identity(nn.Module):
    """No norm."""

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        del train
        return x


def _moments(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    mean = x.mean(axes, keepdims=True)
    return mean, jnp.square(x - mean).mean(axes, keepdims=True)


def _normed(x: Array, mean: Array, scale: Array, bias: Array, *, values: int) -> Array:
    """(x - mean) * scale + bias, the mean being one of so many `values` of x (0: of others).

    One product and one sum for each value, and the backward pass needs no map beside x. A value that is its own mean is the bias
    exactly: rounding, divided by a deviation of nothing, would be noise that training could use.
    """
    if values == 1:
        return jnp.broadcast_to(bias, x.shape).astype(x.dtype)
    return x * scale + (bias - mean * scale)


def _affine(module: nn.Module, channels: int) -> tuple[Array, Array]:
    """(scale from Normal(1, 0.02), as DCGAN and pix2pix draw it, bias from 0), `[channels]` each."""
    scale = module.param("scale", lambda key, s: 1 + 0.02 * jax.random.normal(key, s), (channels,))
    return scale, module.param("bias", nn.initializers.zeros, (channels,))


NORMS: dict[str, Callable[..., nn.Module]] = {
    "batch": BatchNorm,
    "instance": InstanceNorm,
    "group": GroupNorm,
    "none": Identity,
}


def make_norm(name: str, *, predict_norm: str = "running", module_name: str | None = None) -> nn.Module:
    """The norm called `name`: batch, instance, group or none. Raises ConfigError for another name."""
    if name not in NORMS:
        raise ConfigError(f"unknown norm {name!r}; known: {', '.join(NORMS)}")
    options = {"predict_norm": predict_norm} if name == "batch" else {}
    return NORMS[name](**options, name=module_name)


class Dropout(nn.Module):
    """Dropout that is on exactly when a `dropout` key is given: in training and for drawing samples."""

    rate: float = 0.5

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if self.rate == 0.0 or self.is_initializing() or not self.has_rng("dropout"):
            return x
        keep = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.rate, x.shape)
        return jnp.where(keep, x / (1 - self.rate), 0).astype(x.dtype)
