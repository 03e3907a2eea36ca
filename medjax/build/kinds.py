"""What a run is judged by and shows while it trains, by the kind of its method: the one place that tells kinds apart there.

A kind's `score` gives values of each image; `reduce` makes the numbers of a validation from those of all its batches;
`sheet` draws a few images. `build.evaluation` has the table of what `medjax evaluate` does with each kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from clu import metrics as clu_metrics
from ml_collections import ConfigDict

from medjax.build import cgan, cyclegan, networks
from medjax.evaluate import enlarged, middle
from medjax.metrics import classification, psnr, psnr_inside, ssim, ssim_inside
from medjax.objective import Metrics, Objective
from medjax.state import TrainState
from medjax.types import Array, to_unit
from medjax.writers import coloured

Part = tuple[Mapping[str, Array], Array]  # what `score` gave for a batch, and its mask bool [B]
Sheet = tuple[dict[str, np.ndarray], Sequence[str]]  # columns {label: [N, H, W, C] in [0, 1]}, a name for each row or none


class Kind(NamedTuple):
    """One kind of method.

    score: `(objective, state, batch, key) -> {name: [B, ...]}`, under jit. reduce: `[Part] -> {name: float}`. also: names
    that `reduce` gives beside those of the values `[B]`. shown: the columns of a batch that a prediction reads, where they
    are there. sheet: `(config, prediction, batch) -> Sheet`. asked: `(config, batch) -> batch`, what is predicted for a sheet
    where that is something else than the batch.
    """

    score: Callable[[Objective, TrainState, Mapping[str, Array], jax.Array], Metrics]
    reduce: Callable[[Sequence[Part]], dict[str, float]]
    shown: tuple[str, ...]
    sheet: Callable[[ConfigDict, Mapping[str, Array], Mapping[str, np.ndarray]], Sheet]
    also: tuple[str, ...] = ()
    asked: Callable[[ConfigDict, Mapping[str, np.ndarray]], dict[str, np.ndarray]] | None = None


def kind(config: ConfigDict) -> Kind:
    """The kind of the method of `config`."""
    return KINDS[networks.method(config).kind]


def means(parts: Sequence[Part]) -> dict[str, float]:
    """The mean of every value over the images that the masks keep."""
    total = None
    for values, mask in parts:
        collection = clu_metrics.Collection.create(**{k: clu_metrics.Average.from_output(k) for k in values})
        part = collection.single_from_model_output(mask=mask, **values)
        total = part if total is None else total.merge(part)
    return {k: float(v) for k, v in total.compute().items()}


def score_images(objective: Objective, state: TrainState, batch: Mapping[str, Array], key: jax.Array) -> Metrics:
    """The objective's own per-image values, and PSNR and SSIM of the prediction (inside the region too, where there is
    one), each `[B]`.
    """
    output = to_unit(objective.predict(state, batch, key)["target"])
    target = to_unit(batch["target"])
    values = {**objective.evaluate(state, batch, key), "psnr": psnr(output, target), "ssim": ssim(output, target)}
    if "region" in batch:
        inside = (output, target, batch["region"])
        values |= {"psnr_inside": psnr_inside(*inside), "ssim_inside": ssim_inside(*inside)}
    return values


def image_sheet(config: ConfigDict, prediction: Mapping[str, Array], batch: Mapping[str, np.ndarray]) -> Sheet:
    """Input, output and target side by side; an input of fewer pixels enlarged pixel by pixel."""
    given = enlarged(middle(batch["source"], batch["target"].shape[-1]), batch["target"].shape[1])
    shown = {"input": given, "output": prediction["target"]}
    pictures = {name: np.asarray(to_unit(picture)) for name, picture in {**shown, "target": batch["target"]}.items()}
    if colours := config.train.sample_colours:  # grey levels that a perceptually uniform map keeps apart
        pictures |= {f"{n}, {colours}": coloured(p, colours) for n, p in pictures.items()}
    return pictures, ()


def score_classes(objective: Objective, state: TrainState, batch: Mapping[str, Array], key: jax.Array) -> Metrics:
    """The objective's own per-image values `[B]`, probabilities `[B, K]` and what is true of each image."""
    found = objective.predict(state, batch, key)["label"]
    return {**objective.evaluate(state, batch, key), "probability": found, "label": batch["label"]}


def reduce_classes(parts: Sequence[Part]) -> dict[str, float]:
    """Means of the per-image values; balanced accuracy and AUC of the whole set, left out where a class is not in it."""
    values = {name: np.concatenate([np.asarray(v[name])[np.asarray(mask)] for v, mask in parts]) for name in parts[0][0]}
    label, probability = values.pop("label"), values.pop("probability")
    found = {name: float(np.mean(value, dtype=np.float64)) for name, value in values.items()}
    whole = classification.point(label, probability)
    return found | {name: whole[name] for name in ("balanced_accuracy", "auc") if np.isfinite(whole[name])}


def class_sheet(config: ConfigDict, prediction: Mapping[str, Array], batch: Mapping[str, np.ndarray]) -> Sheet:
    """The images, under each what is true of it and what the classifier takes for likeliest."""
    classes, probability = config.data.classes, np.asarray(prediction["label"])
    pairs = zip(batch["label"], probability, strict=True)
    told = [f"{_named(label, classes)}: {_named(p.argmax(), classes)} {p.max():.0%}" for label, p in pairs]
    return {"true: predicted": np.asarray(to_unit(batch["target"]))}, told


def _named(label: Array, classes: Sequence[str]) -> str:
    """The class of a place, or the classes of a multi-hot vector."""
    if np.ndim(label) == 0:
        return classes[int(label)]
    return "+".join(name for name, there in zip(classes, label, strict=True) if there) or "none"


KINDS = {
    "image": Kind(score_images, means, ("source", "index"), image_sheet),
    "classification": Kind(
        score_classes, reduce_classes, ("source", "target", "index"), class_sheet, also=("balanced_accuracy", "auc")
    ),
    "unpaired": Kind(cyclegan.score, cyclegan.reduce, ("a", "b", "index"), cyclegan.sheet, also=(cyclegan.SUM,)),
    "generation": Kind(cgan.score, cgan.reduce, ("index",), cgan.sheet, also=cgan.SET_SCORES, asked=cgan.asked),
}
