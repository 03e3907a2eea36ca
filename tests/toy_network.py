"""A feature network small enough to check by hand, and pictures for it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

WIDTHS = np.array([1.0, 2.0, 3.0], np.float32)


def tiny(images):
    """A network of two layers: a map of three channels, two of them dark where the image is, and their means."""
    grey = images[..., :1]
    maps = jnp.concatenate([grey * WIDTHS[0], jax.nn.relu(grey - 0.5), jnp.square(grey)], -1)
    return {"map": maps, "top": maps.mean((1, 2)) * WIDTHS}


def pictures(n, seed=0, side=6):
    return np.random.default_rng(seed).uniform(size=(n, side, side + 2, 1)).astype(np.float32)
