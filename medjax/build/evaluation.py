"""A trained run put to use: scored on a split, or set on files. What the commands and the studies call."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from medjax import baselines, evaluate, formats, inference
from medjax.build import classification, diffusion, enlarging, generation, networks, protocol, unpaired, unseen
from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.build import features as build_features
from medjax.build.companions import companions, stated_rows
from medjax.build.trained import Model, Task, load
from medjax.data.choice import thinned
from medjax.data.records import Source
from medjax.metrics import METRICS
from medjax.rng import named
from medjax.types import ConfigError, to_unit

__all__ = ["Model", "Task", "enhance", "load", "score_images", "score_run", "tuned_baselines"]

TUNING_IMAGES = 12
FITTING_IMAGES = 200
SPLITS = ("train", "validation", "test")
COLUMNS = ("patient", "sex", "age", "view", "labels")
GROUPS = COLUMNS[1:]
SHARED = ("direction", "plane", "context", "fov_mm", "percentiles")  # what a model of slices was trained to see


def check_samples(config: ConfigDict, num_samples: int) -> None:
    """Raises ConfigError for a number of draws that gives no map, or a model in which nothing is random."""
    drawn = diffusion.is_diffusion(config)
    if num_samples < 0 or (num_samples == 1 and not drawn):
        raise ConfigError(f"a map of standard deviation needs at least 2 samples, not {num_samples}")
    if num_samples and not drawn and not config.get("generator", {}).get("dropout", 0.0):
        name = config.get("generator", config.method).name
        raise ConfigError(f"the generator {name!r} has no dropout, so its samples would not differ; leave out --samples")


def tuned_baselines(config: ConfigDict, data: build_data.Data, *, progress: bool) -> dict[str, dict[str, Any]]:
    """Parameters of `config.evaluation.baselines`: filters are tuned for PSNR on a dozen validation images, maps of
    intensity fitted to `FITTING_IMAGES` training images; upscalers are given the scale.
    """
    names = protocol.baseline_names(config)
    if config.data.scale > 1:
        return {name: {"factor": config.data.scale} for name in names}
    maps = [name for name in names if name in baselines.MAPS]
    filters = [name for name in names if name in baselines.ENHANCERS]
    fitted, tuned = {}, {}
    if maps:
        train = data.splits["train"]
        sources, targets, regions = _pairs(config, data, thinned(train, FITTING_IMAGES))
        fitted = baselines.intensity.fit(sources, targets, regions=regions)
    if filters:
        sources, targets, _ = _pairs(config, data, data.splits["validation"][:TUNING_IMAGES])
        tuned = baselines.tuned(sources, targets, names=filters, progress=progress)
    return {name: {**fitted, **tuned}[name] for name in names}


def _pairs(config: ConfigDict, data: build_data.Data, indices: np.ndarray) -> tuple[list, list, list]:
    """Sources and targets in [0, 1], and regions, of the images `indices`."""
    batches = build_data.eval_batches(config, replace(data, splits={"chosen": indices}), "chosen", batch_size=1)
    pairs = [(to_unit(b["source"][0]), to_unit(b["target"][0]), b.get("region", np.ones_like(b["target"]))[0]) for b in batches]
    return [evaluate.middle(s, t.shape[-1]) for s, t, _ in pairs], [t for _, t, _ in pairs], [r for *_, r in pairs]


def score_run(
    workdir: str | Path,
    *,
    split: str = "test",
    data_root: str | None = None,
    data_source: str | None = None,
    output: str | Path | None = None,
    by: str | None = None,
    which: str = "best",
    num_samples: int = 0,
    feature_networks: Sequence[str] | None = None,
    classifier: str | Path | None = None,
    interpolate: str | Path | None = None,
    alpha: float = 0.8,
    progress: bool = True,
) -> dict[str, Any]:
    """Score a run on a split under the metric protocol; writes and returns what `evaluation.json` holds.

    data_root, data_source: another data set, all of whose images are then the test set: of another kind, or in another
      folder.
    by: a column by which the table is split. num_samples: draws behind the standard-deviation map; 0: none.
    feature_networks: instead of `config.evaluation.features`. classifier: a run that judges what a generator made.
    interpolate: another run of the same generator, for a row `interpolated`: (1 - alpha) of its weights, alpha of this run's.
    """
    if split not in SPLITS:
        raise ConfigError(f"no split {split!r}; there are {', '.join(SPLITS)}")
    model = load(workdir, which=which)
    config = model.config.copy_and_resolve_references()
    check_samples(config, num_samples)
    if data_source and (output is None or (data_source == config.data.source and not data_root)):
        raise ConfigError(
            f"--data_source={data_source} is for data the run has not seen: another kind than its own "
            f"({config.data.source}) or another --data_root, with an --output of its own"
        )
    if data_source and split != "test":
        raise ConfigError(f"all of another data set is its test split: there is no {split!r} of {data_source}")
    own = data = build_data.open_data(_moved(config, data_root if not data_source else None), workdir)
    if data_source:
        data = _elsewhere(config, data_source, data_root, own)
    scored_as = networks.method(config).kind
    if interpolate is not None:
        if scored_as != "image":
            raise ConfigError(f"--interpolate is for runs that give images, not for one of {config.method.name}")
        unseen.check_origin(config, data, interpolate)
    if classifier is not None and scored_as != "generation":
        raise ConfigError(f"--classifier is for runs that make images from labels, not for one of {config.method.name}")
    task = Task(
        model, config, own, data, split, _columns(data.source, by), by, Path(output or workdir), num_samples, progress,
        (interpolate, alpha) if interpolate is not None else None, classifier, feature_networks, Path(workdir),
    )  # fmt: skip
    return SCORERS[scored_as](task)


def score_images(task: Task) -> dict[str, Any]:
    """Images against their targets, beside the input and the baselines."""
    model, config, data = task.model, task.config, task.data
    known = build_features.at_hand(config, task.feature_networks)
    watcher = build_features.Watcher(known.networks)
    beside = companions(model, task.interpolation)
    params = tuned_baselines(config, task.own, progress=task.progress)
    evaluation = evaluate.evaluate(
        model.predict(),
        build_data.eval_batches(config, data, task.split),
        key=named(jax.random.key(config.data.split_seed), "evaluation"),
        names=data.source.names,
        columns=task.columns,
        metrics={**METRICS, **known.metrics},
        baselines=baselines.bind(params),
        companions={row: other.predict() for row, other in beside.items()},
        watch=watcher,
        sample=model.sample() if task.num_samples else None,
        num_samples=task.num_samples,
        progress=task.progress,
    )
    stated = protocol.of(config, data, params, step=model.step) | stated_rows(beside, task.interpolation)
    stated |= {"lpips": known.stated} if known.stated else {}
    summary = evaluate.summarise(evaluation, protocol=stated, dataset=data.source.kind, split=task.split, by=task.by)
    measured = watcher.records(config.evaluation.feature_distances)
    summary |= {"features": measured, "features_absent": known.absent, "versions": configs.versions()}
    evaluate.write(evaluation, task.output, summary=summary)
    return summary


# kind of method (see build.kinds) -> what scores its runs, writes the result files and returns what evaluation.json holds
SCORERS: dict[str, Callable[[Task], dict[str, Any]]] = {
    "image": score_images,
    "classification": classification.score,
    "generation": generation.score,
    "unpaired": lambda task: unpaired.score(task, score_images),
}


def _columns(source: Source, by: str | None) -> dict[str, list]:
    """What is known of each image, and the column `by`; ConfigError where it is known of none."""
    columns = {name: source.column(name) for name in COLUMNS}
    if by is not None and by not in columns:
        columns[by] = source.column(by)
    if by is not None and not any(value not in ("", None) for value in columns[by]):
        there = [n for n in (*GROUPS, *source.records[0].extra) if any(v not in ("", None) for v in source.column(n))]
        raise ConfigError(f"no column {by!r} to split the table by; there are {', '.join(there) or 'none'}")
    return columns


def _moved(config: ConfigDict, root: str | None) -> ConfigDict:
    if root:
        config.data.root = root
    return config


def _elsewhere(config: ConfigDict, kind: str, root: str | None, own: build_data.Data) -> build_data.Data:
    """Another data set, degraded as the run's `own`: all of it is a test set, and none of it was trained on."""
    other = config.copy_and_resolve_references()
    other.data.update(source=kind, root=root or "", limit=0)
    ours, theirs = config.data[config.data.source], other.data.get(kind, {})
    if "direction" in ours and "direction" in theirs:  # a canvas in millimetres is one kind of scan's, not all modalities'
        theirs.update({name: ours[name] for name in SHARED if name in ours and name in theirs})
    source, found = build_data.open_source(other)
    if source.paired != own.source.paired:
        kinds = "pairs" if source.paired else "single images", "pairs" if own.source.paired else "single images"
        raise ConfigError(f"{kind} holds {kinds[0]} where the run was trained on {kinds[1]} ({config.data.source})")
    unseen.check_elsewhere(own, source)
    return build_data.Data(
        source, {"test": np.arange(len(source))}, build_data.degradation_of(other, source), found
    )


def enhance(
    workdir: str | Path,
    inputs: Sequence[str | Path],
    output: str | Path,
    *,
    scale: str = "",
    tile: int = 0,
    batch: int = 0,
    num_samples: int = 0,
    sampling: Mapping[str, Any] | None = None,
    which: str = "best",
    overwrite: bool = False,
    deidentify: bool = False,
    progress: bool = True,
) -> inference.Outcome:
    """Enhance files and folders of images by a trained run, or by weights exported from one; see `inference.enhance_files`.

    batch: tiles at once, see `enlarging.tiles_at_once`.
    sampling: of a run of diffusion how images are drawn, where that is not as the run's config says: fields of
    `diffusion.SAMPLING`. Its images are means of `num_samples` draws, or of as many as the config says.

    scale: "trained", "native", or "" for native where the run was trained on native crops, else trained. Outputs of a run of
    super-resolution have `config.data.scale` times the pixels; see `enlarging.options_of`.
    """
    model = load(workdir, which=which, sampling=sampling)
    if networks.method(model.config).kind not in ("image", "unpaired"):
        raise ConfigError(f"{workdir} holds a run of {model.config.method.name}, which enhances no images")
    c = model.config.data
    check_samples(model.config, num_samples)
    sample = model.sample()
    grid = {"scale": scale or ("trained" if c.load_size else "native"), "tile": tile or max(c.crop_size, 256)}
    grid["batch_size"] = enlarging.tiles_at_once(inputs, output, tile=grid["tile"], batch=batch)
    if c.scale > 1:
        grid = enlarging.options_of(model.config, inputs, output, scale=scale, tile=tile, batch=batch)
    elif grid["scale"] == "native" and c.load_size:
        warnings.warn(
            f"{workdir} was trained on images resized to {c.load_size} pixels, not on native crops: structures at native "
            "resolution are larger than any it has seen; --scale=trained is the safe choice",
            stacklevel=2,
        )
    index = lambda x: np.zeros(len(x), np.int32)  # noqa: E731
    placed = lambda k, x, place: sample({"source": model.seen(x), "index": index(x), "place": place}, k)["target"]  # noqa: E731
    drawn = {"draw": placed, "num_samples": model.config.method.samples} if diffusion.is_diffusion(model.config) else {}
    return inference.enhance_files(
        model.enhance(),
        inputs,
        output,
        sample=lambda k, x, i: sample({"source": model.seen(x), "index": i}, k)["target"],
        num_samples=num_samples or drawn.get("num_samples", 0),
        draw=drawn.get("draw"),
        key=named(jax.random.key(0), "samples"),
        overwrite=overwrite,
        derivation=formats.Derivation(deidentify=deidentify),
        progress=progress,
        size=(c.image_size, c.image_size),
        value_range=build_data.value_range(model.config),
        **grid,
    )
