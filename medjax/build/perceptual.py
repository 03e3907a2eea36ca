"""From a config's `perceptual` section to a loss over the maps of a published network whose weights the user has.

Any method may have such a section (`configs.common.perceptual`); at its default weight, 0, no file is needed. Nothing is
fetched: the weights lie at `weights`, or where `$MEDJAX_WEIGHTS` says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from ml_collections import ConfigDict

from medjax import losses, weights
from medjax.types import Array, CheckpointError, ConfigError, PyTree

FIELD = "config.method.perceptual"


def perceptual_loss(section: ConfigDict) -> Callable[[Array, Array], Array] | None:
    """`(prediction, target) -> [B]`: the mean of the distances in `layers`; None where `weight` is 0.

    section: `weight` (by which the objective multiplies the loss), `network` (of `medjax.weights.NETWORKS`), `weights` (a file,
    or ""), `layers` (names), `distance` (of `losses.REGRESSION`). Raises ConfigError for a bad field, and CheckpointError in one
    sentence with the file and who publishes it where it is absent or not this network's.
    """
    if not section.weight >= 0:
        raise ConfigError(f"{FIELD}.weight is at least 0, not {section.weight}")
    if not section.weight:
        return None
    networks = {name: n for name, n in weights.NETWORKS.items() if n.preprocess is not None}
    if section.network not in networks:
        raise ConfigError(f"{FIELD}.network {section.network!r} is none of {', '.join(networks)}")
    network = networks[section.network]
    options = {"classifier": False} if network.name.startswith("vgg") else {}  # 124 million weights behind every map
    layers = _layers(tuple(section.layers), network, options)
    try:
        path = weights.find(network, section.weights)
    except CheckpointError as error:
        told = f"give the file by --{FIELD}.weights=FILE, or train without it by --{FIELD}.weight=0"
        raise CheckpointError(f"{error}; {told}") from error
    variables = _needed(weights.load(path, network), network, options)
    return losses.perceptual(network.features(variables, layers=tuple(layers), **options), layers, distance=section.distance)


def _layers(names: tuple[str, ...], network: weights.Network, options: dict[str, Any]) -> dict[str, float]:
    """`{layer: share}`; ConfigError for one that the network does not have, before its file is looked for."""
    side = (network.preprocess.size or (96, 96))[0]
    images = jax.ShapeDtypeStruct((1, side, side, network.preprocess.channels), "float32")
    there = jax.eval_shape(network.make(**options).init_with_output, jax.random.key(0), images)[0]
    wrong = [name for name in names if name not in there]
    if wrong or not names:
        told = f"no layer {wrong[0]!r}" if wrong else "to be told a layer"
        raise ConfigError(f"{FIELD}.layers: {network.name} has {told}; it has {', '.join(there)}")
    return dict.fromkeys(names, 1 / len(names))


def _needed(variables: PyTree, network: weights.Network, options: dict[str, Any]) -> PyTree:
    """What the module with these options has parameters for."""
    abstract = network.abstract(**options)
    return {kind: {name: variables[kind][name] for name in modules} for kind, modules in abstract.items()}
