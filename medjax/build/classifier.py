"""A trained classifier as a function of images: its probabilities, and its features for distances between sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.build import networks
from medjax.build.classification import score
from medjax.build.trained import Model, Task, load
from medjax.state import Net
from medjax.types import Array, ConfigError, to_unit
from medjax.weights.preprocess import Preprocess

LAYERS = ("pool",)
COLUMNS = ("patient", "sex", "age", "view", "labels")


def load_classifier(workdir: str | Path, *, which: str = "best") -> Model:
    """The run of a classifier. Raises ConfigError where `workdir` holds a run of another method."""
    model = load(workdir, which=which)
    if networks.method(model.config).kind != "classification":
        raise ConfigError(f"{workdir} holds a run of {model.config.method.name}, which is no classifier")
    return model


def features(workdir: str | Path, *, which: str = "best") -> tuple[str, Callable[[Array], Mapping[str, Array]]]:
    """The name and the features of a classifier, for `metrics.features` and everything else that takes a feature network.

    The name is that of the config and of the workdir's folder, `classifier_cxr.real`. The function takes images `[B, H, W, 1 or
    3]` in [0, 1], resized (bilinear, antialiased) to the side that the classifier was trained at, and gives `{"pool": [B, D]}`:
    the mean over positions of the last maps, before the head. Its weights are arguments of what it is compiled into.
    """
    model = load_classifier(workdir, which=which)
    name = f"{model.config.name}.{Path(workdir).resolve().name}"
    return name, jax.tree_util.Partial(_Pooled(_module(model), _preprocess(model)), model.state.nets["classifier"])


def judge(
    workdir: str | Path,
    other: str | Path,
    *,
    output: str | Path,
    split: str = "test",
    which: str = "best",
    progress: bool = False,
) -> dict[str, Any]:
    """Score the classifier in `workdir` on a split of the images of another run, `other`, with that run's patients: trained on
    synthetic images and tested on real ones. Writes the result files to `output`; returns what `evaluation.json` holds.

    The run's own training images fit the rows beside it. Raises ConfigError where the two have other classes.
    """
    model, theirs = load_classifier(workdir, which=which), configs.read(other)
    if tuple(model.config.data.classes) != tuple(theirs.data.classes):
        told = f"{', '.join(model.config.data.classes)} and {', '.join(theirs.data.classes)}"
        raise ConfigError(f"{workdir} and {other} have other classes: {told}")
    own, data = build_data.open_data(model.config, workdir), build_data.open_data(theirs, other)
    columns = {name: data.source.column(name) for name in COLUMNS}
    return score(Task(model, model.config, own, data, split, columns, None, Path(output), progress=progress))


def probabilities(workdir: str | Path, *, which: str = "best") -> tuple[tuple[str, ...], Callable[[Array], Array]]:
    """The classes of a classifier, and images `[B, H, W, 1 or 3]` in [0, 1] to probabilities `[B, K]`, resized as above."""
    model = load_classifier(workdir, which=which)
    prepare, key = _preprocess(model), jax.random.key(0)

    @jax.jit
    def run(net: Net, images: Array) -> Array:
        x = prepare(images)
        state = model.state._replace(nets={"classifier": net})
        return model.objective.predict(state, {"source": x, "target": x}, key)["label"]

    return tuple(model.config.data.classes), lambda images: run(model.state.nets["classifier"], images)


def logits(workdir: str | Path, *, which: str = "best") -> tuple[tuple[str, ...], Callable[[Array], Array]]:
    """The classes of a classifier of one class an image, and images `[B, H, W, 1]` in [-1, 1] to logits `[B, K]`, resized as
    above; differentiable, for losses. Raises ConfigError for a classifier of several classes an image.
    """
    model = load_classifier(workdir, which=which)
    if model.config.data.labels != "single":
        raise ConfigError(f"{workdir} tells several classes of an image, where one is wanted")
    module, net, prepare = _module(model), model.state.nets["classifier"], _preprocess(model)
    return tuple(model.config.data.classes), lambda x: module.apply({"params": net.params, **net.stats}, prepare(to_unit(x)))


class _Pooled:
    """`(net, images) -> {"pool"}`; equal where module and preparation are, so that nothing compiles twice."""

    def __init__(self, module, prepare: Preprocess) -> None:
        self.module, self.prepare = module, prepare

    def __call__(self, net: Net, images: Array) -> dict[str, Array]:
        variables = {"params": net.params, **net.stats}
        taps = self.module.apply(variables, self.prepare(images), method="taps")
        return {layer: taps[layer] for layer in LAYERS}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Pooled) and (self.module, self.prepare) == (other.module, other.prepare)

    def __hash__(self) -> int:
        return hash((self.module, self.prepare))


def _module(model: Model):
    return networks.module(model.config, "classifier", networks.CLASSIFIERS)


def _preprocess(model: Model) -> Preprocess:
    side = model.config.data.image_size
    return Preprocess(channels=1, size=(side, side))
