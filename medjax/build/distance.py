"""Distances between two folders of images over feature networks: what generated or enhanced sets are compared by.

The folders need hold neither the same images nor as many. Images may differ in size where the network resizes them; grey or
RGB, in [0, 1] by the range of their type. The features of the reference are kept in a cache folder under the hash of its
images, the weights and the preparation, and are read back when the same set comes again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from medjax import formats
from medjax.build import config as configs
from medjax.build.features import LPIPS, Extractable, at_hand, between
from medjax.files import replace
from medjax.metrics import features, reference
from medjax.types import ConfigError, DataError

BATCH = 8


def folders(
    first: str | Path,
    second: str | Path,
    *,
    networks: Sequence[str] = (),
    metrics: Sequence[str] = (),
    cache: str | Path | None = None,
    output: str | Path | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """`{"reference", "other", "n", "features": {"other": {key: record}}, "features_absent"}`, written to `output` if given.

    first: the reference. networks, metrics: names, by default those of `config.evaluation` and `random_alexnet`. cache: a
    folder; None: `medjax/features` in the user's cache folder. Raises DataError for a folder without images, for one image
    alone, and for images of different sizes where a network resizes nothing; ConfigError for unknown names.
    """
    config = configs.get("restorer_cxr:tiny")
    config.data.image_size = 1 << 16  # sizes are those of the files
    config.evaluation.feature_distances = tuple(metrics or config.evaluation.feature_distances)
    names = networks or tuple(n for n in (*config.evaluation.features, "random_alexnet") if n not in LPIPS)
    if paired := [name for name in names if name in LPIPS]:
        raise ConfigError(f"{paired[0]} compares an image with its target, not two folders; medjax evaluate has it")
    known = at_hand(config, names)
    paths = [_images(folder) for folder in (first, second)]
    found: dict[str, Any] = {}
    for network in known.networks:
        mine, other = (_samples(network, part, cache, progress, kept=part is paths[0]) for part in paths)
        found |= between(network, mine, other, metrics=config.evaluation.feature_distances)
    result = {
        "against": f"{second} against {first}", "reference": str(first), "other": str(second),
        "n": [len(part) for part in paths], "features": {"other": found},
        "features_absent": known.absent, "versions": configs.versions(),
    }  # fmt: skip
    if output:
        replace(Path(output), json.dumps(result, indent=2, allow_nan=False) + "\n")
    return result


def _images(folder: str | Path) -> list[Path]:
    paths = formats.list_images(folder, recursive=True)
    if len(paths) < 2:
        raise DataError(f"{folder} holds one image; distances between sets need at least 2 in each")
    return paths


def _samples(
    network: Extractable, paths: Sequence[Path], cache: Any, progress: bool, *, kept: bool
) -> dict[str, features.Sample]:
    names = [str(path) for path in paths]

    def compute() -> dict[str, features.Sample]:
        batches = tqdm(_batches(paths), desc=network.name, total=-(-len(paths) // BATCH), disable=not progress, leave=False)
        return features.extract(network.features, batches, names=names, progress=False)

    if not kept:
        return compute()
    about = {"network": network.name, "weights": network.weights, "preprocess": network.preprocess}
    return reference.cached(_cache(cache), reference.fingerprint(_batches(paths), **about), compute)


def _cache(folder: str | Path | None) -> Path:
    if folder:
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "medjax" / "features"


def _batches(paths: Sequence[Path]) -> Iterator[np.ndarray]:
    """Images in their order, as many of one shape together as there are, `BATCH` at most."""
    pending: list[np.ndarray] = []
    for path in paths:
        image = formats.read(path)[0]
        if pending and (image.shape != pending[0].shape or len(pending) == BATCH):
            yield np.stack(pending)
            pending = []
        pending.append(image)
    yield np.stack(pending)
