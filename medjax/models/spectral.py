"""Spectral normalisation: kernels divided by their largest singular value, which bounds a discriminator's slope.

The power iteration's vector is kept in the collection `spectral`; a training pass takes a step of it, a test pass reads it.
"""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.models.blocks import at_least_float32
from medjax.models.conv import conv, gan_init
from medjax.types import Array


class SpectralNorm(nn.Module):
    """A kernel `[..., out]` over its spectral norm as the matrix `[rest, out]` (Miyato et al. 2018, algorithm 1).

    steps: power iterations in each training pass; 1 as published, for weights move slowly. No gradient flows through the
    vectors (eq. 8 has them constant), only through the matrix between them.
    """

    steps: int = 1
    epsilon: float = 1e-12

    @nn.compact
    def __call__(self, kernel: Array, *, train: bool) -> Array:
        matrix = at_least_float32(kernel).reshape(-1, kernel.shape[-1])
        stored = self.variable(
            "spectral", "u", lambda: jax.random.normal(self.make_rng("params"), (kernel.shape[-1],), jnp.float32)
        )
        fixed, u = jax.lax.stop_gradient(matrix), self._unit(stored.value)  # an average of vectors has another length
        for _ in range(self.steps if train else 0):
            u = self._unit(fixed.T @ self._unit(fixed @ u))
        if train and not self.is_initializing():
            stored.value = u
        v = self._unit(fixed @ u)
        return (kernel / jnp.maximum(v @ (matrix @ u), self.epsilon)).astype(kernel.dtype)

    def _unit(self, x: Array) -> Array:
        return x / jnp.maximum(jnp.linalg.norm(x), self.epsilon)


class NormalisedConv(nn.Module):
    """`models.conv.Conv`, its kernel under spectral norm where `spectral` says so."""

    features: int
    kernel_size: int = 3
    strides: int = 1
    padding: int = 1
    spectral: bool = False
    kernel_init: Callable = gan_init()
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        k, p = self.kernel_size, self.padding
        kernel = self.param("kernel", self.kernel_init, (k, k, x.shape[-1], self.features))
        if self.spectral:
            kernel = SpectralNorm(name="norm")(kernel, train=train)
        x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
        y = conv(x, kernel, strides=(self.strides,) * 2, padding=((p, p),) * 2)
        return y + self.param("bias", nn.initializers.zeros, (self.features,)).astype(y.dtype)


class NormalisedDense(nn.Module):
    """A dense layer `[B, in]` -> `[B, features]` in float32, its kernel under spectral norm where `spectral` says so."""

    features: int
    spectral: bool = False
    use_bias: bool = True
    kernel_init: Callable = gan_init()

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        if self.spectral:
            kernel = SpectralNorm(name="norm")(kernel, train=train)
        y = at_least_float32(x) @ kernel
        return y + self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else y
