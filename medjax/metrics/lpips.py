"""LPIPS (Zhang et al. 2018) over the maps of a feature network that comes in as an argument. Jax, differentiable.

`features` is a function of images to `{layer: [B, H, W, C]}`; `weights` holds a vector `[C]` of non-negative channel
weights per layer, the published "lin" layers. Only with the published network *and* weights is the number LPIPS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from medjax.types import Array, ConfigError, DataError

EPSILON = 1e-10


def _unit(maps: Array) -> Array:
    """Each position's channel vector over its length + 1e-10; the gradient at a vector of zeros is 0, not NaN."""
    squared = jnp.sum(jnp.square(maps), -1, keepdims=True)
    length = jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1.0)), 0.0)
    return maps / (length + EPSILON)


def distance(a: Mapping[str, Array], b: Mapping[str, Array], weights: Mapping[str, Array | None]) -> Array:
    """Zhang et al. 2018, eq. 1, `[B]`: the squared difference of unit channel vectors, weighted by channel, averaged over
    positions, summed over the layers of `weights`.

    a, b: `{layer: [B, H, W, C]}`; weights: `{layer: [C] or None}`, None for 1 in every channel. Raises ConfigError for a
    layer that is absent or has another number of channels, DataError for maps of unlike shape.
    """
    if not weights:
        raise ConfigError("LPIPS needs the weights of at least one layer")
    total = 0.0
    for layer, weight in weights.items():
        if layer not in a or layer not in b:
            raise ConfigError(f"the feature network has no layer {layer!r}; it has {', '.join(a)}")
        if a[layer].shape != b[layer].shape:
            raise DataError(f"LPIPS needs images of one size: layer {layer!r} is {a[layer].shape} and {b[layer].shape}")
        if weight is not None and np.shape(weight) != a[layer].shape[-1:]:
            raise ConfigError(f"layer {layer!r} has {a[layer].shape[-1]} channels, its weights the shape {np.shape(weight)}")
        squared = jnp.square(_unit(jnp.asarray(a[layer], jnp.float32)) - _unit(jnp.asarray(b[layer], jnp.float32)))
        weighted = squared if weight is None else squared * jnp.asarray(weight, jnp.float32)
        total = total + weighted.sum(-1).mean((1, 2))
    return total


def check_weights(weights: Mapping[str, Array | None]) -> None:
    """Raises ConfigError naming the first layer whose weights are negative or not finite: no distance comes of them."""
    for layer, weight in weights.items():
        if weight is not None and not (np.isfinite(weight).all() and (np.asarray(weight) >= 0).all()):
            raise ConfigError(f"the LPIPS weights of layer {layer!r} are negative or not finite")


def lpips(
    features: Callable[[Array], Mapping[str, Array]],
    weights: Mapping[str, Array | None] | Sequence[str],
) -> Callable[[Array, Array], Array]:
    """`(output, target) -> [B]`, a metric of images `[B, H, W, C]` in the range `features` takes, lower is better.

    `weights` as in `distance`; a bare sequence of layers weighs every channel by 1. Both images go through the network
    in one batch, which halves its overhead. Raises DataError where the two differ in shape.
    """
    weights = dict(weights) if isinstance(weights, Mapping) else dict.fromkeys(weights)
    check_weights(weights)

    def metric(output: Array, target: Array) -> Array:
        if np.shape(output) != np.shape(target):
            raise DataError(f"LPIPS needs two images of one size, not {np.shape(output)} and {np.shape(target)}")
        both = features(jnp.concatenate([jnp.asarray(output, jnp.float32), jnp.asarray(target, jnp.float32)]))
        halves = [{layer: maps[part] for layer, maps in both.items()} for part in (slice(len(output)), slice(len(output), None))]
        return distance(*halves, weights)

    return metric


def per_layer(a: Mapping[str, Array], b: Mapping[str, Array], weights: Mapping[str, Array | None]) -> dict[str, Array]:
    """The terms of `distance`, `{layer: [B]}`: where in the network two images differ."""
    return {layer: distance(a, b, {layer: weight}) for layer, weight in weights.items()}
