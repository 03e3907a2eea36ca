"""Attention over maps `[B, H, W, C]` -> the same shape: self, channel, spatial and transformer, from one table.

Self-attention keeps its softmax map `[B, H*W, H*W]` in the collection `intermediates` when that is mutable, which is
how `attention_maps` hands it out.
"""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.models.blocks import at_least_float32
from medjax.models.conv import Conv, he_init
from medjax.types import Array, ConfigError, PyTree


def _check_positions(x: Array, kind: str) -> None:
    if x.shape[1] * x.shape[2] == 1:
        raise ConfigError(
            f"{kind} attention on a 1x1 map attends to nothing: its softmax over one position is 1 and its queries "
            "and keys get zero gradient; place it at a larger map, for example 'encoder:32'"
        )


class SelfAttention(nn.Module):
    """SAGAN's self-attention (Zhang et al. 2019, eq. 1-3): x + gamma * W_o softmax(Q K^T) V, gamma from 0.

    Q and K have C / `reduction` channels, V has C. As in SAGAN the logits are not scaled.
    """

    reduction: int = 8
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        _check_positions(x, "self")
        batch, height, width, channels = x.shape
        reduced = max(channels // self.reduction, 1)
        project = lambda features, name: Conv(  # noqa: E731
            features, 1, kernel_init=nn.initializers.xavier_uniform(), dtype=self.dtype, name=name
        )(x).reshape(batch, height * width, features)
        q, k, v = project(reduced, "query"), project(reduced, "key"), project(channels, "value")
        logits = jnp.einsum("bic,bjc->bij", q, k, preferred_element_type=jnp.float32)
        weights = nn.softmax(logits)
        self.sow("intermediates", "attention", weights)
        out = jnp.einsum("bij,bjc->bic", weights.astype(v.dtype), v).reshape(x.shape)
        gamma = self.param("gamma", nn.initializers.zeros, ())
        return x + gamma.astype(out.dtype) * out


class ChannelAttention(nn.Module):
    """Squeeze-and-excitation (Hu et al. 2018, eq. 2-4): channels scaled by a sigmoid of their means."""

    reduction: int = 16
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        squeezed = at_least_float32(x).mean((1, 2))
        hidden = nn.relu(nn.Dense(max(x.shape[-1] // self.reduction, 1), name="squeeze")(squeezed))
        scale = nn.sigmoid(nn.Dense(x.shape[-1], name="excite")(hidden))
        return x * scale[:, None, None].astype(x.dtype)


class SpatialAttention(nn.Module):
    """CBAM's spatial attention (Woo et al. 2018, eq. 3): positions scaled by a 7x7 convolution of mean and maximum."""

    kernel_size: int = 7
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        _check_positions(x, "spatial")
        pooled = jnp.stack([x.mean(-1), x.max(-1)], axis=-1)
        logits = Conv(1, self.kernel_size, kernel_init=he_init(), dtype=self.dtype, name="conv")(pooled)
        return x * nn.sigmoid(logits)


class TransformerBlock(nn.Module):
    """Pre-norm transformer block (Vaswani et al. 2017; Xiong et al. 2020) over positions; both branches start at 0."""

    heads: int = 4
    expansion: int = 2
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        _check_positions(x, "transformer")
        batch, height, width, channels = x.shape
        heads = max(h for h in range(1, self.heads + 1) if channels % h == 0)
        tokens = x.reshape(batch, height * width, channels)
        qkv = nn.Dense(3 * channels, dtype=self.dtype, name="qkv")(nn.LayerNorm(dtype=jnp.float32)(tokens))
        q, k, v = jnp.moveaxis(qkv.reshape(batch, -1, 3, heads, channels // heads), 2, 0)
        mixed = jax.nn.dot_product_attention(q, k, v).reshape(tokens.shape)
        zeros = nn.initializers.zeros
        tokens = tokens + nn.Dense(channels, kernel_init=zeros, dtype=self.dtype, name="out")(mixed)
        hidden = nn.Dense(self.expansion * channels, dtype=self.dtype, name="up")(nn.LayerNorm(dtype=jnp.float32)(tokens))
        tokens = tokens + nn.Dense(channels, kernel_init=zeros, dtype=self.dtype, name="down")(nn.gelu(hidden))
        return tokens.reshape(x.shape).astype(x.dtype)


KINDS: dict[str, Callable[..., nn.Module]] = {
    "self": SelfAttention,
    "channel": ChannelAttention,
    "spatial": SpatialAttention,
    "transformer": TransformerBlock,
}


def make_attention(kind: str, *, dtype: jnp.dtype | None = None, module_name: str | None = None) -> nn.Module:
    """The attention called `kind`: self, channel, spatial or transformer. Raises ConfigError for another name."""
    if kind not in KINDS:
        raise ConfigError(f"unknown attention kind {kind!r}; known: {', '.join(KINDS)}")
    return KINDS[kind](dtype=dtype, name=module_name)


def attention_maps(module: nn.Module, variables: PyTree, x: Array) -> dict[str, Array]:
    """Softmax maps `[B, positions, positions]` of every self-attention in `module` for input `x`, by module path."""
    _, state = module.apply(variables, x, train=False, mutable=["intermediates"])
    flat = jax.tree_util.tree_flatten_with_path(state.get("intermediates", {}))[0]
    return {"/".join(str(p.key) for p in path if hasattr(p, "key")).removesuffix("/attention"): m for path, m in flat}
