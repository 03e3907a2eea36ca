"""The runs on chest X-rays of another hospital: degraded by computer and scored, and as they come, without a reference.

Without a reference nothing can be called better. What can be said is how much a model changes a picture that nobody
degraded, and whether it takes away fine detail: a model that only undoes damage would change little.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from skimage.restoration import estimate_sigma

from experiments import sensitivity
from experiments.attention.runs import Study, config_of
from experiments.attention.scores import Results
from experiments.common import kept
from experiments.scoring import networks_of, score
from medjax import baselines, evaluate
from medjax.build import data as build_data
from medjax.build import evaluation as build_evaluation
from medjax.build import features as build_features
from medjax.data import sources
from medjax.data.augment import resize
from medjax.metrics import gradient_ratio, spectrum_ratio, statistics
from medjax.rng import generator
from medjax.types import DataError, to_signed, to_unit

KIND = "actualmed"
PICTURES = 3
SENSED = 2000  # images at most whose features are compared


@dataclass
class Elsewhere:
    """scored: {run: evaluation}, empty with the `reason` where there are no images; natural: {row: {figure: [n]}};
    pictures: [{label: image}] of images as they come."""

    reason: str = ""
    scored: dict[str, evaluate.Evaluation] = field(default_factory=dict)
    natural: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    pictures: list[dict[str, np.ndarray]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    units: list[str] = field(default_factory=list)


def gather(study: Study, results: Results) -> Elsewhere:
    """Score the first seed of every run on the other hospital's images, and set it on them as they come."""
    if not study.real:
        return Elsewhere("the runs were trained on simulated images")
    try:
        data = _open(study)
    except DataError as error:
        return Elsewhere(str(error))
    found = Elsewhere(names=data.source.names, units=data.source.column("unit"))
    for run in study.scale.runs:
        params = results.params if run == "baseline" else {}
        where = study.workdir / KIND / run
        found.scored[run] = score(study.folder(run), data, where, params=params, progress=study.progress)[1]
    side = config_of(study, "baseline").data.image_size
    images = [resize(data.source.load(i)["target"], side) for i in range(len(data.source))]
    enhancers = {run: _enhancer(study.folder(run)) for run in study.scale.runs}
    best = results.best_classical()
    enhancers[best] = baselines.bind(results.params)[best]
    changed = lambda: {row: change(enhance, images) for row, enhance in enhancers.items()}  # noqa: E731
    found.natural = kept(study.workdir / KIND / "as_they_come.json", changed)
    for i in _spread(found.natural["baseline"]["change"]):
        shown = [row for row in (best, "baseline", "both") if row in enhancers]
        found.pictures.append({"as it came": images[i], **{row: enhancers[row](images[i]) for row in shown}})
        found.pictures[-1]["index"] = np.array(i)
    return found


def _open(study: Study) -> build_data.Data:
    """The other hospital's images, beside the study's own or below MEDJAX_DATA, degraded as the study's are."""
    root = Path(study.root).expanduser().parent if study.root else Path(os.environ.get("MEDJAX_DATA", "")).expanduser()
    folder = root / "cxr_actualmed"
    if not folder.is_dir():
        raise DataError(f"there is no folder cxr_actualmed in {root}")
    source = sources.actualmed(folder)
    degradation = build_data.degradation_of(config_of(study, "baseline"), source)
    return build_data.Data(source, {"test": np.arange(len(source))}, degradation, str(folder))


def sensed(study: Study, data: build_data.Data) -> list[dict[str, Any]]:
    """What distances over the feature networks at hand can tell on the study's images, undamaged; see `sensitivity`."""
    config = config_of(study, "baseline")
    side = config.data.image_size
    images = [resize(data.source.load(i)["target"], side) for i in range(min(len(data.source), SENSED))]
    others: list[np.ndarray] = []
    if study.real:
        try:
            source = _open(study).source
            chosen = generator(0, "elsewhere").permutation(len(source))[: len(images) // 2]
            others = [resize(source.load(int(i))["target"], side) for i in chosen]
        except DataError:
            others = []  # the section says that they are absent, as that on another hospital does
    known = build_features.at_hand(config, networks_of(config)).networks
    return [sensitivity.measure(images, others, network) for network in known]


def _enhancer(run: Path) -> Callable[[np.ndarray], np.ndarray]:
    """A run as a function of one image `[H, W, 1]` in [0, 1]."""
    predict, key = build_evaluation.load(run, which="latest").predict(), jax.random.key(0)

    def enhance(image: np.ndarray) -> np.ndarray:
        batch = {"source": to_signed(image[None]), "index": np.zeros(1, np.int32)}
        return to_unit(np.asarray(predict(batch, key)["target"]))[0]

    return enhance


def change(enhance: Callable[[np.ndarray], np.ndarray], images: list[np.ndarray]) -> dict[str, list[float]]:
    """What `enhance` does to images that nobody degraded, `{figure: [n]}`.

    change: mean absolute change (of the full range); noise: the noise estimated in the result over that in the image
    (median of the finest wavelets, Donoho 1994); detail and edges: `spectrum_ratio` and `gradient_ratio`.
    """
    found: dict[str, list[float]] = {"change": [], "noise": [], "detail": [], "edges": []}
    for image in images:
        result = np.asarray(enhance(image), np.float32).reshape(image.shape)
        before, after = (float(estimate_sigma(x[..., 0])) for x in (image, result))
        found["change"].append(float(np.abs(result - image).mean()))
        found["noise"].append(after / max(before, 1e-6))
        found["detail"].append(float(spectrum_ratio(result[None], image[None])[0]))
        found["edges"].append(float(gradient_ratio(result[None], image[None])[0]))
    return found


def _spread(values: list[float]) -> list[int]:
    """The images with the least, the middle and the greatest value: chosen by a figure, so not by taste."""
    order = np.argsort(values)
    return [int(order[round(q * (len(order) - 1))]) for q in np.linspace(0, 1, PICTURES)]


def summary(values: list[float]) -> dict[str, Any]:
    """Mean and interval of a figure."""
    return statistics.summary(np.asarray(values))
