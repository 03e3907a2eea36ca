"""Distances between two sets of images over the named layers of a feature network that comes in as an argument.

`features` is a function of images `[B, H, W, C]` in [0, 1] to `{layer: [B, D] or [B, H, W, D]}` with whatever
preparation its network asks for; maps are averaged over their positions. `extract` runs it over batches, `score`
compares two results. A figure's key says metric, network and layer, as in `fd/vgg16.relu5_3`; the word FID is kept for
the network, layer and published weights that it was defined with.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from medjax.metrics import kernel, neighbours
from medjax.metrics.frechet import Moments, frechet_infinity, merge, moments, of_roots, root_of
from medjax.types import Array, ConfigError, DataError

Features = Callable[[Array], Mapping[str, Array]]
PENDING = 512
ENOUGH = 2048  # images below which the bias of a Frechet distance is of the order of what it measures
FID = ("inception_v3", "pool3")  # of models.inception: the variant with the pooling of the published weights
NAMES = ("fd", "fd_infinity", "kid", "mmd", "precision", "recall", "density", "coverage")
FROM_MOMENTS = ("fd",)


@dataclass(frozen=True)
class Sample:
    """What one layer left of n images: `moments`, and the vectors themselves, float32 `[n, D]`, where they were kept."""

    moments: Moments
    vectors: np.ndarray | None = None

    @functools.cached_property
    def root(self) -> np.ndarray:
        """`[D, r]`, a root of the covariance; made once."""
        return root_of(self.vectors, self.moments)

    @property
    def n(self) -> int:
        """How many images there are."""
        return self.moments.n


def pooled(maps: Array) -> Array:
    """`[B, D]` of `[B, D]` or `[B, H, W, D]`: the mean over positions, float32."""
    maps = jnp.asarray(maps, jnp.float32)
    return maps.reshape(len(maps), -1, maps.shape[-1]).mean(1)


def extract(
    features: Features,
    batches: Iterable[Array],
    *,
    layers: Sequence[str] | None = None,
    keep: bool = True,
    jit: bool = True,
    names: Sequence[str] | None = None,
    progress: bool = True,
    total: int | None = None,
) -> dict[str, Sample]:
    """`{layer: Sample}` of all images of `batches`, in one pass.

    Args:
      features: see the module. As a `jax.tree_util.Partial` its bound arrays (the weights) are arguments of the compiled
        function; those that a plain closure holds are compiled into it.
      batches: `[B, H, W, C]` arrays in [0, 1]; a shorter one is padded, so that nothing compiles twice.
      layers: those wanted; all by default.
      keep: hold the vectors (4 n D bytes), which all but the Frechet distance need. Without them memory is that of the
        moments, whatever n is.
      jit: False for a function that cannot be traced. names: of the images, for messages. total: how many, for the bar.

    Raises DataError for no images at all and for features that are not finite, naming the image; ConfigError for an
    unknown layer.
    """
    extractor = Extractor(features, layers=layers, keep=keep, jit=jit, names=names)
    with tqdm(desc="features", unit="image", total=total, disable=not progress, leave=False) as bar:
        for images in batches:
            extractor.add(images)
            bar.update(len(images))
    return extractor.samples()


class Extractor:
    """`extract` for images that come one batch at a time: `add` each, then ask for the `samples`."""

    def __init__(
        self,
        features: Features,
        *,
        layers: Sequence[str] | None = None,
        keep: bool = True,
        jit: bool = True,
        names: Sequence[str] | None = None,
    ) -> None:
        self.layers, self.keep, self.names = layers, keep, names
        self._run, self._size, self.n = _runner(features, jit), 0, 0
        self._gathered: dict[str, _Gathered] = {}

    def add(self, images: Array) -> None:
        """One batch `[B, H, W, C]` in [0, 1]. Raises as `extract` does."""
        images = np.asarray(images, np.float32)
        if not len(images):
            return
        self._size = max(self._size, len(images))
        found = self._run(np.concatenate([images, np.repeat(images[-1:], self._size - len(images), axis=0)]))
        for layer in _chosen(found, self.layers):
            vectors = np.asarray(found[layer])[: len(images)]
            _check(vectors, layer, self.n, self.names)
            self._gathered.setdefault(layer, _Gathered(self.keep)).add(vectors)
        self.n += len(images)

    def samples(self) -> dict[str, Sample]:
        """`{layer: Sample}` of all that was added. Raises DataError where nothing was."""
        if not self._gathered:
            raise DataError("there are no images to compute features of: the set is empty")
        return {layer: each.sample() for layer, each in self._gathered.items()}


class _Gathered:
    """The vectors of one layer on their way into moments, `PENDING` at a time: a merge costs D^2 however few they are."""

    def __init__(self, keep: bool) -> None:
        self.keep, self.moments, self.pending, self.kept = keep, None, [], []

    def add(self, vectors: np.ndarray) -> None:
        self.pending.append(vectors)
        if self.keep:
            self.kept.append(vectors)
        if sum(map(len, self.pending)) >= PENDING:
            self.flush()

    def flush(self) -> None:
        if self.pending:
            self.moments, self.pending = merge(self.moments, moments(np.concatenate(self.pending))), []

    def sample(self) -> Sample:
        self.flush()
        return Sample(self.moments, np.concatenate(self.kept) if self.keep else None)


@jax.jit
def _apply(features: Features, images: Array) -> dict[str, Array]:
    return {layer: pooled(maps) for layer, maps in features(images).items()}


def _runner(features: Features, jit: bool) -> Features:
    if not jit:
        return lambda images: {layer: pooled(maps) for layer, maps in features(images).items()}
    if isinstance(features, jax.tree_util.Partial):
        return lambda images: _apply(features, images)
    return jax.jit(lambda images: {layer: pooled(maps) for layer, maps in features(images).items()})


def _chosen(found: Mapping[str, Array], layers: Sequence[str] | None) -> Sequence[str]:
    unknown = [layer for layer in layers or () if layer not in found]
    if unknown:
        raise ConfigError(f"the feature network has no layer {unknown[0]!r}; it has {', '.join(found)}")
    return list(layers or found)


def _check(vectors: np.ndarray, layer: str, start: int, names: Sequence[str] | None) -> None:
    bad = np.flatnonzero(~np.isfinite(vectors).all(1))
    if len(bad):
        place = start + int(bad[0])
        name = f"'{names[place]}'" if names is not None else f"{place} (counted from 0)"
        raise DataError(f"the features of image {name} at layer {layer!r} are not finite")


def joined(*parts: Mapping[str, Sample]) -> dict[str, Sample]:
    """The samples of several disjoint parts of one set (shards, hosts) as of one pass over it."""
    whole: dict[str, Sample] = dict(parts[0])
    for part in parts[1:]:
        for layer, other in part.items():
            mine = whole[layer]
            both = None if mine.vectors is None or other.vectors is None else np.concatenate([mine.vectors, other.vectors])
            whole[layer] = Sample(merge(mine.moments, other.moments), both)
    return whole


def key_of(metric: str, network: str, layer: str, *, published: bool = False) -> str:
    """`metric/network.layer`; `fid/...` for a Frechet distance over the FID network's own layer and published weights."""
    if metric in ("fd", "fd_infinity") and published and (network, layer) == FID:
        metric = metric.replace("fd", "fid")
    return f"{metric}/{network}.{layer}"


def score(
    reference: Mapping[str, Sample],
    other: Mapping[str, Sample],
    *,
    network: str,
    metrics: Sequence[str] = ("fd", "kid", "precision", "recall", "density", "coverage"),
    published: bool = False,
    preprocess: str = "",
    weights: str = "",
    seed: int = 0,
    paired: bool = False,
) -> dict[str, dict[str, Any]]:
    """`{key: record}` for every layer of `other` and every one of `metrics` (of `NAMES`), ready for JSON.

    A record holds `value`, `ci95` where there is one, `n` `[reference, other]`, `network`, `layer`, `dimension`,
    what the metric adds (subsets, slope, k), and where given the rule of `preprocess` and whose `weights` they are.
    published: the weights are the publisher's, by their hash. paired: image i of both sets belong together (see
    `kernel.kid`). Warns once, and says under `warning`, where either set has fewer than `ENOUGH` images. Raises ConfigError
    for an unknown metric, DataError for a set too small for one or whose vectors were not kept.
    """
    unknown = [metric for metric in metrics if metric not in NAMES]
    if unknown:
        raise ConfigError(f"unknown metric {unknown[0]!r} over features; known: {', '.join(NAMES)}")
    stated = {k: v for k, v in (("preprocess", preprocess), ("weights", weights)) if v}
    records: dict[str, dict[str, Any]] = {}
    for layer, sample in other.items():
        if layer not in reference:
            raise ConfigError(f"the reference has no layer {layer!r}; it has {', '.join(reference)}")
        about = {"n": [reference[layer].n, sample.n], "network": network, "layer": layer, "dimension": sample.moments.mean.size}
        if note := bias_note(*about["n"]):
            about["warning"] = note
        for metric, values in _values(reference[layer], sample, metrics, seed, paired).items():
            records[key_of(metric, network, layer, published=published)] = {**values, **about, **stated}
    notes = {record["warning"] for record in records.values() if "warning" in record}
    for note in sorted(notes):
        warnings.warn(note, stacklevel=2)
    return records


def bias_note(n: int, m: int) -> str:
    """What a reader must know of sets this small, or ""."""
    if min(n, m) >= ENOUGH:
        return ""
    return f"{min(n, m)} images are fewer than {ENOUGH}: distances over features are biased by n and compare at equal n only"


def _values(reference: Sample, other: Sample, metrics: Sequence[str], seed: int, paired: bool) -> dict[str, dict[str, Any]]:
    """`{metric: {"value", ...}}` of one layer."""
    if set(metrics) - set(FROM_MOMENTS) and (reference.vectors is None or other.vectors is None):
        raise DataError("the vectors of these features were not kept: only the Frechet distance can be computed")
    a, b = reference.vectors, other.vectors
    makers: dict[str, Callable[[], dict[str, Any]]] = {
        "fd": lambda: {"value": of_roots(reference.moments.mean, reference.root, other.moments.mean, other.root)},
        "fd_infinity": lambda: frechet_infinity(b, reference.moments, seed=seed),
        "kid": lambda: kernel.kid(a, b, seed=seed, paired=paired),
        "mmd": lambda: {"value": kernel.mmd_gaussian(a, b), "sigma": 10.0, "scale": 1000.0},
    }
    found = {metric: makers[metric]() for metric in metrics if metric in makers}
    for maker, k, pair in (
        (neighbours.precision_recall, 3, ("precision", "recall")),
        (neighbours.density_coverage, 5, ("density", "coverage")),
    ):
        if set(pair) & set(metrics):
            both = maker(a, b, k=k)
            found |= {metric: {"value": both[metric], "k": k} for metric in pair if metric in metrics}
    return found
