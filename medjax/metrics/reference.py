"""Reference statistics kept on disk: computed once for data, network and preparation, found again by their hash.

A file is an `.npz` of plain arrays, written whole or not at all and read without pickle. It holds no image, only the
features of a set; its name is the hash, so that other data, weights or rules never meet it.
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medjax.files import replace
from medjax.metrics.features import Sample
from medjax.metrics.frechet import Moments
from medjax.types import Array, DataError

FORMAT = 1


def fingerprint(batches: Iterable[Array], **what: Any) -> str:
    """SHA-256 (hex) of the images, one by one, whatever the batches, and of `what` (network, weights, preprocess, ...).

    Images are hashed as float32 with their shape; `what` has to be plain JSON. Raises DataError for an empty set.
    """
    digest, count = hashlib.sha256(json.dumps([FORMAT, what], sort_keys=True).encode()), 0
    for images in batches:
        for image in np.asarray(images, np.float32):
            digest.update(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes())
            count += 1
    if not count:
        raise DataError("there are no images to compute features of: the set is empty")
    return digest.hexdigest()


def save(path: str | Path, samples: Mapping[str, Sample]) -> None:
    """Write `{layer: Sample}` as one `.npz`. Raises OSError where the folder cannot be written to."""
    (path := Path(path)).parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray] = {}
    for layer, sample in samples.items():
        arrays |= {f"{layer}/n": np.int64(sample.n), f"{layer}/mean": sample.moments.mean}
        arrays[f"{layer}/scatter"] = sample.moments.scatter
        if sample.vectors is not None:
            arrays[f"{layer}/vectors"] = sample.vectors
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    replace(path, buffer.getvalue())


def load(path: str | Path) -> dict[str, Sample]:
    """What `save` wrote. Raises DataError naming a file that is absent, damaged or something else."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        layers = list(dict.fromkeys(name.rpartition("/")[0] for name in arrays))
        found = {layer: _sample(arrays, layer) for layer in layers}
    except Exception as error:  # a damaged archive raises whatever its reader happens to
        raise DataError(f"{path} holds no statistics of features: {error}") from error
    if not found:
        raise DataError(f"{path} holds no statistics of features: it is empty")
    return found


def _sample(arrays: Mapping[str, np.ndarray], layer: str) -> Sample:
    n, mean, scatter = int(arrays[f"{layer}/n"]), arrays[f"{layer}/mean"], arrays[f"{layer}/scatter"]
    vectors = arrays.get(f"{layer}/vectors")
    if scatter.shape != (mean.size, mean.size) or (vectors is not None and vectors.shape != (n, mean.size)):
        raise ValueError(f"the shapes of layer {layer!r} do not fit together")
    return Sample(Moments(n, mean, scatter), vectors)


def cached(directory: str | Path, digest: str, compute: Callable[[], dict[str, Sample]]) -> dict[str, Sample]:
    """The statistics that `directory` keeps under `digest` (of `fingerprint`), else those of `compute()`, then kept.

    A file that cannot be read is made again, with a warning.
    """
    path = Path(directory) / f"features-{digest[:32]}.npz"
    if path.exists():
        try:
            return load(path)
        except DataError as error:
            warnings.warn(f"{error}; it is computed again", stacklevel=2)
    samples = compute()
    save(path, samples)
    return samples
