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
from medjax.types import Array, ConfigError, DataError
from medjax.weights.drawn import DRAWN, SEED, drawn

GROUPS = (("fd",), ("fd_infinity",), ("kid",), ("precision", "recall"), ("density", "coverage"), ("mmd",))  # computed together
DISTANCES = tuple(metric for group in GROUPS for metric in group if metric != "fd_infinity")
LPIPS = {"lpips_alex": "alexnet", "lpips_vgg": "vgg16"}
SMALLEST = {"lpips_alex": 63, "lpips_vgg": 32, "alexnet": 63, "vgg16": 32, "vgg19": 32}  # pixels: they resize nothing
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
    """What can be measured, and of the rest `{"network", "why"}`: which file is missing and who publishes it.

    metrics: of images, by name: `lpips_alex`, or `lpips_alex_unpublished` of weights that are not the published ones;
    stated: whose weights each of them has, for the protocol.
    """

    networks: list[Extractable] = field(default_factory=list)
    metrics: dict[str, Callable[[Array, Array], Array]] = field(default_factory=dict)
    stated: dict[str, str] = field(default_factory=dict)
    absent: list[dict[str, str]] = field(default_factory=list)

    @property
    def names(self) -> set[str]:
        """What a result file will have of it."""
        return {network.name for network in self.networks} | set(self.metrics)


def at_hand(config: ConfigDict, names: Sequence[str] | None = None) -> AtHand:
    """The networks of `config.evaluation.features` (or `names`) whose weights are found: at `config.evaluation.weights`, else
    in $MEDJAX_WEIGHTS. A `.pth` there without torch is absent too, with the reason. Raises ConfigError for an unknown name,
    CheckpointError for a path that was given and does not hold, and for a damaged file.
    """
    c, found = config.evaluation, AtHand()
    if unknown := [metric for metric in c.feature_distances if metric not in features.NAMES]:
        raise ConfigError(f"config.evaluation.feature_distances: {unknown[0]!r} is none of {', '.join(features.NAMES)}")
    for name in dict.fromkeys(name.strip() for name in (c.features if names is None else names)):
        if name not in KNOWN:
            raise ConfigError(f"config.evaluation.features: {name!r} is none of {', '.join(KNOWN)}")
        if config.data.image_size < SMALLEST.get(name, 1):
            why = f"it needs images of {SMALLEST[name]} pixels, and these have {config.data.image_size}"
            found.absent.append({"network": name, "why": why})
            continue
        try:
            paths = {part: weights.find(part, c.weights.get(part, "")) for part in _parts(name)}
            if name in LPIPS:
                _add_lpips(found, name, paths)
            else:
                found.networks.append(_extractable(name, paths))
        except weights.AbsentError as error:
            if any(c.weights.get(part, "") for part in _parts(name)):
                raise  # a path that was given has to hold
            found.absent.append({"network": name, "why": str(error)})
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


def _add_lpips(found: AtHand, name: str, paths: Mapping[str, Any]) -> None:
    trunk, read = LPIPS[name], {part: weights.load_weights(path, part) for part, path in paths.items()}
    network = weights.NETWORKS[trunk]
    features_of = network.features(read[trunk].variables, layers=weights.NETWORKS[name].layers)
    published = all(part.published for part in read.values())
    label = name if published else f"{name}_unpublished"
    found.metrics[label] = lpips.lpips(features_of, channel_weights(read[name].variables, name.removeprefix("lpips_")))
    files = ", ".join(f"{paths[part].name} (sha256 {each.sha256[:8]})" for part, each in read.items())
    found.stated[label] = f"{files}; {network.preprocess.words}"


class Watcher:
    """What `evaluate(watch=...)` takes: gathers the features of every row, then gives the records."""

    def __init__(self, networks: Sequence[Extractable]) -> None:
        self.networks = list(networks)
        self._rows: dict[tuple[str, str], features.Extractor] = {}
        self._lost: dict[tuple[str, str], str] = {}

    def __call__(self, images: Mapping[str, np.ndarray]) -> None:
        for network in self.networks:
            for row, batch in images.items():
                key = (network.name, row)
                if key in self._lost:
                    continue
                try:
                    self._rows.setdefault(key, features.Extractor(network.features)).add(batch)
                except DataError as error:  # one row's features must not cost the evaluation
                    self._lost[key] = f"row {row!r} over {network.name}: {error}"

    def records(self, metrics: Sequence[str] = DISTANCES) -> dict[str, dict[str, dict[str, Any]]]:
        """`{row: {key: record}}`; a distance that there is not has the value None and says why."""
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for network in self.networks:
            rows = [row for name, row in self._rows if name == network.name and row != "target"]
            target = self._samples(network.name, "target")
            for row in rows:
                sample = self._samples(network.name, row)
                why = self._lost.get((network.name, row)) or self._lost.get((network.name, "target"))
                if sample is None or target is None:
                    found.setdefault(row, {})[f"fd/{network.name}"] = {"value": None, "n": [0, 0], "why": why, **_stated(network)}
                else:
                    found.setdefault(row, {}).update(between(network, target, sample, metrics=metrics, paired=True))
        return found

    def _samples(self, network: str, row: str) -> dict[str, features.Sample] | None:
        return None if (network, row) in self._lost else self._rows[network, row].samples()


def _stated(network: Extractable) -> dict[str, str]:
    return {"preprocess": network.preprocess, "weights": network.weights}


def between(
    network: Extractable,
    reference: Mapping[str, features.Sample],
    other: Mapping[str, features.Sample],
    *,
    metrics: Sequence[str] = DISTANCES,
    paired: bool = False,
) -> dict[str, dict[str, Any]]:
    """`{key: record}` of every distance between two sets over one network; see `features.score`. A distance that so few
    images do not give has the value None and says why.
    """
    records: dict[str, dict[str, Any]] = {}
    for group in (tuple(m for m in metrics if m in part) for part in GROUPS):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the record itself says that the sets are small
                stated = {"published": network.published, **_stated(network)}
                records |= features.score(reference, other, network=network.name, metrics=group, paired=paired, **stated)
        except DataError as error:
            for layer, sample in other.items():
                n = [reference[layer].n, sample.n]
                about = {"value": None, "n": n, "why": str(error), "network": network.name, "layer": layer, **_stated(network)}
                if note := features.bias_note(*n):
                    about["warning"] = note
                for metric in group:
                    records[features.key_of(metric, network.name, layer, published=network.published)] = about
    return records
