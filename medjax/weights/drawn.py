"""Networks that nobody trained: weights drawn from a seed, always at hand, named for what they are.

Distances over random convolutions see blur, noise and another scanner, and nothing of what an image means; Naeem et al. 2020
use them where images are unlike the photographs that published networks know. They rank what was measured in the same
way; they are comparable with no published figure.
"""

from __future__ import annotations

import dataclasses
import zlib
from functools import partial
from typing import Any

import jax
import numpy as np

from medjax.types import PyTree
from medjax.weights.networks import NETWORKS, Network

PREFIX = "random_"
SEED = 0


def drawn(network: Network, *, seed: int = SEED) -> PyTree:
    """`{"params", "batch_stats"}` of `network`: kernels N(0, 2 / fan in) (He et al. 2015, eq. 10) from (seed, name), each
    norm the identity, no biases.
    """

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        name = "/".join(part.key for part in path)
        if path[-1].key in ("scale", "var"):
            return np.ones(leaf.shape, np.float32)
        if path[-1].key != "kernel":
            return np.zeros(leaf.shape, np.float32)
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        deviation = np.float32(np.sqrt(2 / np.prod(leaf.shape[:-1])))
        return rng.standard_normal(leaf.shape, np.float32) * deviation

    return jax.tree_util.tree_map_with_path(draw, network.abstract())


def _random(name: str, *, size: tuple[int, int], layers: tuple[str, ...], **options: Any) -> Network:
    base = NETWORKS[name]
    base = dataclasses.replace(base, make=partial(base.make, **options), mapping=partial(base.mapping, **options))
    nobody = {"file": "", "publisher": "nobody: drawn from a seed", "licence": "none", "sha256": ""}
    rule = base.preprocess.at(size)
    return dataclasses.replace(base, name=f"{PREFIX}{name}", preprocess=rule, layers=layers, **nobody)


DRAWN: dict[str, Network] = {n.name: n for n in (_random("alexnet", size=(256, 256), layers=("relu3",), classifier=False),)}
