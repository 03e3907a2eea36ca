"""Distances over feature networks beside an evaluation: those whose weights are at hand, and the names of the others.

Each row's images (input, baselines, model) are compared with the targets of the same images. LPIPS is a score of each image
and stands with the others in `rows`; distances between sets stand in `features`, `{row: {key: record}}`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from medjax import weights
from medjax.metrics import features, lpips
from medjax.models.lpips import channel_weights
from medjax.types import Array, CheckpointError, ConfigError, DataError
from medjax.weights.drawn import DRAWN, SEED, drawn

DISTANCES = ("fd", "kid", "precision", "recall", "density", "coverage", "mmd")
LPIPS = {"lpips_alex": "alexnet", "lpips_vgg": "vgg16"}
SMALLEST = {"lpips_alex": 63, "lpips_vgg": 32}  # pixels: what the trunk's layers leave something of
KNOWN = (*(name for name, n in weights.NETWORKS.items() if n.preprocess and name not in LPIPS), *DRAWN, *LPIPS)


@dataclass(frozen=True)
class Extractable:
    """A network ready to be used: its function, and what a record states of it."""

    name: str
    features: features.Features
    published: bool
    weights: str
    preprocess: str


@dataclass
class AtHand:
    """What can be measured, and of the rest `{"network", "why"}`: which file is missing and who publishes it."""

    networks: list[Extractable] = field(default_factory=list)
    metrics: dict[str, Callable[[Array, Array], Array]] = field(default_factory=dict)
    absent: list[dict[str, str]] = field(default_factory=list)


def at_hand(config: ConfigDict, names: Sequence[str] | None = None) -> AtHand:
    """The networks of `config.evaluation.features` (or `names`) whose weights are found: at `config.evaluation.weights`, else
    in $MEDJAX_WEIGHTS. Raises ConfigError for an unknown name, CheckpointError for a file that is there and cannot be used.
    """
    c, found = config.evaluation, AtHand()
    for name in c.features if names is None else names:
        if name not in KNOWN:
            raise ConfigError(f"config.evaluation.features: {name!r} is none of {', '.join(KNOWN)}")
        if config.data.image_size < SMALLEST.get(name, 1):
            why = f"it needs images of {SMALLEST[name]} pixels, and these have {config.data.image_size}"
            found.absent.append({"network": name, "why": why})
            continue
        try:
            paths = {part: weights.find(part, c.weights.get(part, "")) for part in _parts(name)}
        except CheckpointError as error:
            if any(c.weights.get(part, "") for part in _parts(name)):
                raise  # a path that was given has to hold
            found.absent.append({"network": name, "why": str(error)})
            continue
        if name in LPIPS:
            found.metrics[name] = _lpips(name, paths)
        else:
            found.networks.append(_extractable(name, paths))
    return found


def _parts(name: str) -> tuple[str, ...]:
    """The files a name needs."""
    return () if name in DRAWN else (LPIPS[name], name) if name in LPIPS else (name,)


def _extractable(name: str, paths: Mapping[str, Any]) -> Extractable:
    if name in DRAWN:
        network = DRAWN[name]
        told = f"random, drawn from seed {SEED}: nobody trained them"
        return Extractable(name, network.features(drawn(network)), False, told, network.preprocess.words)
    network, read = weights.NETWORKS[name], weights.load_weights(paths[name], name)
    told = f"{paths[name].name}, sha256 {read.sha256[:8]}"
    return Extractable(name, network.features(read.variables), bool(read.published), told, network.preprocess.words)


def _lpips(name: str, paths: Mapping[str, Any]) -> Callable[[Array, Array], Array]:
    trunk, heads = LPIPS[name], weights.load(paths[name], name)
    network = weights.NETWORKS[trunk].features(weights.load(paths[trunk], trunk), layers=weights.NETWORKS[name].layers)
    return lpips.lpips(network, channel_weights(heads, name.removeprefix("lpips_")))


class Watcher:
    """What `evaluate(watch=...)` takes: gathers the features of every row, then gives the records."""

    def __init__(self, networks: Sequence[Extractable]) -> None:
        self.networks = list(networks)
        self._rows: dict[tuple[str, str], features.Extractor] = {}

    def __call__(self, images: Mapping[str, np.ndarray]) -> None:
        for network in self.networks:
            for row, batch in images.items():
                self._rows.setdefault((network.name, row), features.Extractor(network.features)).add(batch)

    def records(self) -> dict[str, dict[str, dict[str, Any]]]:
        """`{row: {key: record}}`; a distance that so few images do not give has the value None and says why."""
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for network in self.networks:
            samples = {row: extractor.samples() for (name, row), extractor in self._rows.items() if name == network.name}
            target = samples.pop("target", None)
            for row, sample in samples.items():
                found.setdefault(row, {}).update(between(network, target, sample))
        return found


def between(
    network: Extractable,
    reference: Mapping[str, features.Sample],
    other: Mapping[str, features.Sample],
    *,
    metrics: Sequence[str] = DISTANCES,
) -> dict[str, dict[str, Any]]:
    """`{key: record}` of every distance between two sets over one network; see `features.score`."""
    stated = {"published": network.published, "preprocess": network.preprocess, "weights": network.weights}
    records: dict[str, dict[str, Any]] = {}
    for metric in metrics:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the record itself says that the sets are small
                records |= features.score(reference, other, network=network.name, metrics=(metric,), **stated)
        except DataError as error:
            for layer, sample in other.items():
                key = features.key_of(metric, network.name, layer, published=network.published)
                records[key] = {"value": None, "n": [reference[layer].n, sample.n], "why": str(error)}
    return records
