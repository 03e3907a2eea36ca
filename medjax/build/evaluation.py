"""A trained run put to use: scored on a split, or set on files. What the commands and the studies call."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from medjax import baselines, evaluate, formats, inference
from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.build import features as build_features
from medjax.build import networks, protocol
from medjax.build.training import set_up_jax
from medjax.checkpoint import Checkpoints, load_into
from medjax.data.records import Source
from medjax.metrics import METRICS
from medjax.objective import Objective
from medjax.rng import named
from medjax.state import TrainState
from medjax.types import Array, CheckpointError, ConfigError, Key, to_unit

TUNING_IMAGES = 12
FITTING_IMAGES = 200
SPLITS = ("train", "validation", "test")
COLUMNS = ("patient", "sex", "age", "view", "labels")
GROUPS = COLUMNS[1:]
SHARED = ("direction", "plane", "context", "fov_mm", "percentiles")  # what a model of slices was trained to see


@dataclass(frozen=True)
class Model:
    """A trained objective with the weights that prediction reads."""

    config: ConfigDict
    objective: Objective
    state: TrainState
    step: int

    def predict(self) -> Callable[[dict, Key], dict[str, Array]]:
        """The jitted point estimate, `(batch, key) -> {"target"}`."""
        jitted = jax.jit(self.objective.predict)
        return lambda batch, key: jitted(self.state, batch, key)

    def sample(self) -> Callable[[dict, Key], dict[str, Array]]:
        """The jitted draw, `(batch, key) -> {"target"}`."""
        jitted = jax.jit(self.objective.sample)
        return lambda batch, key: jitted(self.state, batch, key)


def load(workdir: str | Path, *, which: str = "best") -> Model:
    """The `best` or `latest` checkpoint of a run. Raises CheckpointError where there is none that can be read."""
    workdir = Path(workdir)
    if not workdir.is_dir():
        raise CheckpointError(f"the workdir {workdir} is absent")
    config = build_data.fixed_canvas(configs.read(workdir), workdir)
    set_up_jax(config)
    with Checkpoints(workdir, best=config.train.best, read_only=(workdir / "checkpoints").is_dir()) as checkpoints:
        step, weights = checkpoints.weights(which)
    plain = config.copy_and_resolve_references()
    plain.train.ema = 0.0  # the weights read are the average already
    if "perceptual" in plain.method:
        plain.method.perceptual.weight = 0.0  # a prediction needs no loss, and no file of a published network
    objective = networks.objective(plain, num_steps=1)
    shape = (1, config.data.crop_size, config.data.crop_size, 1)
    source = jnp.zeros((*shape[:3], build_data.channels(config)))
    batch = {"source": source, "target": jnp.zeros(shape), "index": jnp.zeros(1, jnp.int32)}
    blank = jax.eval_shape(objective.init, jax.random.key(0), batch)
    return Model(config, objective, load_into(blank, weights, origin=str(workdir)), step)


def check_samples(config: ConfigDict, num_samples: int) -> None:
    """Raises ConfigError for a number of draws that gives no map, or a model in which nothing is random."""
    if num_samples and num_samples < 2:
        raise ConfigError(f"a map of standard deviation needs at least 2 samples, not {num_samples}")
    if num_samples and not config.generator.get("dropout", 0.0):
        name = config.generator.name
        raise ConfigError(f"the generator {name!r} has no dropout, so its samples would not differ; leave out --samples")


def tuned_baselines(config: ConfigDict, data: build_data.Data, *, progress: bool) -> dict[str, dict[str, Any]]:
    """Parameters of `config.evaluation.baselines`: filters are tuned for PSNR on a dozen validation images, maps of
    intensity fitted to `FITTING_IMAGES` training images.
    """
    names = list(config.evaluation.baselines)
    unknown = [name for name in names if name not in (*baselines.ENHANCERS, *baselines.MAPS)]
    if unknown:
        known = ", ".join((*baselines.ENHANCERS, *baselines.MAPS))
        raise ConfigError(f"config.evaluation.baselines: {unknown[0]!r} is none of {known}")
    maps = [name for name in names if name in baselines.MAPS]
    filters = [name for name in names if name in baselines.ENHANCERS]
    fitted, tuned = {}, {}
    if maps:
        train = data.splits["train"]
        sources, targets, regions = _pairs(config, data, train[:: max(1, -(-len(train) // FITTING_IMAGES))])
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
    progress: bool = True,
) -> dict[str, Any]:
    """Score a run on a split under the metric protocol; writes and returns what `evaluation.json` holds.

    data_root, data_source: another data set, all of whose images are then the test set (not for its own source).
    by: a column by which the table is split. num_samples: draws behind the standard-deviation map; 0: none.
    feature_networks: instead of `config.evaluation.features`.
    """
    if split not in SPLITS:
        raise ConfigError(f"no split {split!r}; there are {', '.join(SPLITS)}")
    model = load(workdir, which=which)
    config = model.config.copy_and_resolve_references()
    check_samples(config, num_samples)
    if data_source and (data_source == config.data.source or output is None):
        raise ConfigError(
            f"--data_source={data_source} is for data the run has not seen: another kind than its own "
            f"({config.data.source}), with an --output of its own"
        )
    if data_source and split != "test":
        raise ConfigError(f"all of another data set is its test split: there is no {split!r} of {data_source}")
    own = data = build_data.open_data(_moved(config, data_root if not data_source else None), workdir)
    if data_source:
        data = _elsewhere(config, data_source, data_root, paired=own.source.paired)
    records = data.source.records
    columns = _columns(data.source, by)
    known = build_features.at_hand(config, feature_networks)
    watcher = build_features.Watcher(known.networks)
    params = tuned_baselines(config, own, progress=progress)
    evaluation = evaluate.evaluate(
        model.predict(),
        build_data.eval_batches(config, data, split),
        key=named(jax.random.key(config.data.split_seed), "evaluation"),
        names=[r.name for r in records],
        columns=columns,
        metrics={**METRICS, **known.metrics},
        baselines=baselines.bind(params),
        watch=watcher,
        sample=model.sample() if num_samples else None,
        num_samples=num_samples,
        progress=progress,
    )
    stated = protocol.of(config, data, params, step=model.step) | ({"lpips": known.stated} if known.stated else {})
    summary = evaluate.summarise(evaluation, protocol=stated, dataset=data.source.kind, split=split, by=by)
    measured = watcher.records(config.evaluation.feature_distances)
    summary |= {"features": measured, "features_absent": known.absent, "versions": configs.versions()}
    evaluate.write(evaluation, Path(output or workdir), summary=summary)
    return summary


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


def _elsewhere(config: ConfigDict, kind: str, root: str | None, *, paired: bool) -> build_data.Data:
    """Another data set, degraded as the run's own: all of it is a test set."""
    other = config.copy_and_resolve_references()
    other.data.update(source=kind, root=root or "", limit=0)
    own, theirs = config.data[config.data.source], other.data.get(kind, {})
    theirs.update({name: own[name] for name in SHARED if name in own and name in theirs})
    source, found = build_data.open_source(other)
    if source.paired != paired:
        kinds = "pairs" if source.paired else "single images", "pairs" if paired else "single images"
        raise ConfigError(f"{kind} holds {kinds[0]} where the run was trained on {kinds[1]} ({config.data.source})")
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
    num_samples: int = 0,
    which: str = "best",
    overwrite: bool = False,
    deidentify: bool = False,
    progress: bool = True,
) -> inference.Outcome:
    """Enhance files and folders of images by a trained run; see `inference.enhance_files`.

    scale: "trained", "native", or "" for native where the run was trained on native crops, else trained.
    """
    model = load(workdir, which=which)
    c = model.config.data
    check_samples(model.config, num_samples)
    scale = scale or ("trained" if c.load_size else "native")
    predict, sample, key = model.predict(), model.sample(), jax.random.key(0)
    if scale == "native" and c.load_size:
        warnings.warn(
            f"{workdir} was trained on images resized to {c.load_size} pixels, not on native crops: structures at native "
            "resolution are larger than any it has seen; --scale=trained is the safe choice",
            stacklevel=2,
        )
    index = lambda x: np.zeros(len(x), np.int32)  # noqa: E731
    return inference.enhance_files(
        lambda x: predict({"source": x, "index": index(x)}, key)["target"],
        inputs,
        output,
        sample=lambda k, x, i: sample({"source": x, "index": i}, k)["target"],
        num_samples=num_samples,
        key=named(key, "samples"),
        overwrite=overwrite,
        derivation=formats.Derivation(deidentify=deidentify),
        progress=progress,
        scale=scale,
        size=(c.image_size, c.image_size),
        tile=tile or max(c.crop_size, 256),
        value_range=build_data.value_range(model.config),
    )
