"""From a config to a source, its splits and its batches."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from medjax.build import caching, labelled, mixing, pooling
from medjax.build import config as configs
from medjax.build.balancing import balance_of, balanced_by
from medjax.build.degradation import degradation_of, notes_of, warp_of
from medjax.build.networks import lookup
from medjax.build.splitting import read_splits, split, write_splits
from medjax.data import idx, led_pairs, mri, padchest, pipeline, pools, sources, splits, tables, volumes
from medjax.data.degrade import Degradation
from medjax.data.mixed import tagged
from medjax.data.phantom.mri_source import phantom_mri
from medjax.data.records import Source, subset
from medjax.rng import generator
from medjax.types import Batches, ConfigError, DataError

__all__ = [
    "ON_DISK", "SEVERAL", "SIMULATED", "Data", "channels", "eval_batches", "fixed_canvas", "open_data", "open_source", "range_of",
    "root_of", "split", "train_batches", "value_range", "write_splits",
]  # fmt: skip

# kind -> (constructor of (root, **options), folder under $MEDJAX_DATA)
ON_DISK: dict[str, tuple[Callable[..., Source], str]] = {
    "nih_cxr14": (tables.nih_cxr14, "cxr_nih"),
    "actualmed": (tables.actualmed, "cxr_actualmed"),
    "pairs": (sources.pairs, "pairs"),
    "folder": (sources.folder, "folder"),
    "mri_pairs": (mri.mri_pairs, "mri_t1_t2"),
    "volumes": (volumes.volumes, "ct"),
    "mri_slices": (volumes.mri_slices, "mri_t1_t2"),
    "mnist": (idx.digits, "mnist"),
    "padchest": (padchest.padchest, "padchest"),
    "pools": (pools.folders, "pools"),
    "led_pairs": (led_pairs.led_pairs, "led_pairs"),
}
# kind -> constructor of (size, seed, **options); it needs `count`
SIMULATED: dict[str, Callable[..., Source]] = {
    "phantom_cxr": sources.phantom_cxr,
    "phantom_mri": phantom_mri,
    "phantom_pools": pools.phantom_pools,
    "phantom_digits": lambda *, size, **options: idx.digits(**options),
}


# kinds made of other kinds: constructor of (config, folders of the kinds on disk, open_source)
SEVERAL = {"mixed": mixing.mixed, "unpaired": pooling.unpaired}
WORDS = ("value_range", "window")  # options of a source that are numbers, or a word


@dataclass(frozen=True)
class Data:
    """A source with its splits {name: record numbers}, the degradation that makes its inputs, and facts for config.json."""

    source: Source
    splits: dict[str, np.ndarray]
    degradation: Degradation | None
    root: str
    facts: dict[str, Any] = field(default_factory=dict)


def root_of(config: ConfigDict) -> Path:
    """`config.data.root`, else `$MEDJAX_DATA/<folder of the kind>`; DataError where neither names a folder."""
    kind = config.data.source
    how = f"; make it with {led_pairs.MADE_BY.format(root=config.data.root or 'DIR')}" if kind == "led_pairs" else ""
    if config.data.root:
        return _folder(Path(config.data.root).expanduser(), "config.data.root", how)
    if not os.environ.get("MEDJAX_DATA"):
        raise DataError(f"{kind} needs a folder: set --config.data.root=DIR, or MEDJAX_DATA to the folder above it{how}")
    return _folder(Path(os.environ["MEDJAX_DATA"]).expanduser() / ON_DISK[kind][1], "MEDJAX_DATA", how)


def _folder(path: Path, origin: str, how: str) -> Path:
    if not path.is_dir():
        raise DataError(f"the data folder {path} (from {origin}) is absent{how}")
    return path.resolve()


def open_source(config: ConfigDict) -> tuple[Source, str]:
    """The source of `config.data` and the folder it reads ("" for phantoms)."""
    c = config.data
    lookup({**ON_DISK, **SIMULATED, **SEVERAL}, c.source, "data source")
    given = {name: v for name, v in c[c.source].items() if v not in ((), "") and (name, v) != ("size", 0)}
    options = {name: _word(v) if name in WORDS else v for name, v in given.items()}
    source, root = _constructed(config, options)
    source = tagged(source, mixing.MODALITIES.get(c.source, ""))
    source = labelled.labelled(config, source)
    source = pooling.degraded(config, source) if pools.pooled(source) else source
    if c.limit and c.limit < len(source):
        chosen = generator(c.split_seed, "limit").permutation(len(source))[: c.limit]
        source = subset(source, sorted(int(i) for i in chosen))
    if pools.pooled(source):
        pools.check(source)
    return source, root


def _word(value: object) -> object:
    """`("window",)`, which is what a flag makes of a word where numbers are the default, to `"window"`."""
    return value[0] if isinstance(value, tuple) and len(value) == 1 and isinstance(value[0], str) else value


def value_range(config: ConfigDict) -> object:
    """The range of stored values that the run's source was told, a pair or "window"; None where it was told none. Of several
    kinds of data in one a function of a file's path.
    """
    if config.data.source == "mixed":
        return mixing.value_range(config)
    return range_of(config.data[config.data.source])


def range_of(section: ConfigDict) -> object:
    """The range of stored values that the section of a kind of data states; None where it states none."""
    return _word(section.get("value_range", ())) or None


def channels(config: ConfigDict) -> int:
    """Of a source image: one, or a slice between its neighbours."""
    return 2 * config.data[config.data.source].get("context", 0) + 1


def fixed_canvas(config: ConfigDict, workdir: str | Path | None) -> ConfigDict:
    """`config` with the field of view that the run in `workdir` found, where the config leaves it to the data: a canvas
    must not change with the other files of a folder.
    """
    known = configs.resolved(workdir).get("fov_mm") if workdir and configs.holds_run(workdir) else None
    if known is None or config.data[config.data.source].get("fov_mm", None) != 0:
        return config
    config = config.copy_and_resolve_references()
    config.data[config.data.source].fov_mm = float(known)
    return config


def _constructed(config: ConfigDict, options: dict) -> tuple[Source, str]:
    c = config.data
    if c.source in SEVERAL:
        return SEVERAL[c.source](config, {kind: folder for kind, (_, folder) in ON_DISK.items()}, open_source)
    if c.source in SIMULATED:
        if options["count"] < 1:
            raise ConfigError(f"{c.source} needs config.data.{c.source}.count, the number of phantoms to draw")
        # Drawn at the size trained on: coarser than load_size only adds interpolation.
        options = {"size": max(c.image_size, c.load_size), **options}
        return SIMULATED[c.source](seed=c.split_seed, **options), ""
    if c.source == "volumes" and "window" not in options:
        options["window"] = volumes.PERCENTILES
    if c.source == "padchest":
        options["seed"] = c.split_seed
    if c.source == "nih_cxr14" and c.labels != "none":
        options["known"] = tuple(c.classes)
        absent = [name for name in c.classes if name not in options.get("labels", c.classes)]
        if absent:  # else only those of its images would be learnt from that show another class too
            told = f"config.data.nih_cxr14.labels leaves out {absent[0]!r}, which config.data.classes asks for"
            raise ConfigError(f"{told}: {', '.join(options['labels'])} against {', '.join(c.classes)}")
    root = root_of(config)
    return ON_DISK[c.source][0](root, **options), str(root)


def open_data(config: ConfigDict, workdir: str | Path | None = None) -> Data:
    """Source, splits and degradation of a run; the splits of `workdir/splits.json` where there are some.

    Raises DataError or ConfigError before any training step; an overlap of patients is an error.
    """
    source, root = open_source(fixed_canvas(config, workdir))
    path = Path(workdir) / "splits.json" if workdir else None
    if config.data.self_supervised:
        found = dict.fromkeys(splits.NAMES, np.arange(len(source)))
    elif path is not None and path.exists():
        found = splits.from_names(source.records, read_splits(path))
    else:
        found = split(config, source, root)
    if not config.data.self_supervised:
        splits.check_disjoint(source.records, found)
    if pools.pooled(source):
        pooling.check_splits(source, found)
    empty = [name for name in ("train", "validation", "test") if not len(found.get(name, ()))]
    if empty:
        raise DataError(f"{source.kind} has {len(source)} images: too few for a {empty[0]} split of its own")
    balanced = balance_of(config, source, found["train"])
    facts = labelled.facts_of(config, source, found, balanced)
    notes = (*source.notes, *notes_of(config), *labelled.notes_of(config, facts))
    notes += (balanced.note(balanced_by(config)),) if balanced else ()
    return Data(dataclasses.replace(source, notes=notes), found, degradation_of(config, source), root, facts)


def train_batches(config: ConfigDict, data: Data, *, part: tuple[int, int] = (0, 1)) -> Batches:
    """`batches(start)` over the training split, of which decoded images are kept as `config.data.cache` says, on the host; of
    each batch `part` (i, n), the i-th of n equal parts.
    """
    caching.check(config)
    if pools.pooled(data.source):
        make = lambda source, indices, seed: _train_batches(config, data, source, indices, seed, part)  # noqa: E731
        return pooling.train_batches(data, make, seed=config.seed)
    balanced = balance_of(config, data.source, data.splits["train"])
    indices = balanced.indices if balanced else data.splits["train"]
    return _train_batches(config, data, data.source, indices, config.seed, part)


def _train_batches(
    config: ConfigDict, data: Data, source: Source, indices: np.ndarray, seed: int, part: tuple[int, int]
) -> Batches:
    c = config.data
    return pipeline.train_batches(
        labelled.trained_on(config, source),
        indices,
        batch_size=c.batch_size,
        image_size=c.load_size or None,
        crop_size=c.crop_size,
        crop_align=c.crop_align,
        flip=c.flip,
        warp=warp_of(config),
        degradation=data.degradation,
        prefilter=c.prefilter,
        labels=c.labels,
        columns=labelled.columns_of(config, source),
        seed=seed,
        threads=c.threads,
        part=part,
        **caching.options(config, data.source),
    )


def eval_batches(
    config: ConfigDict, data: Data, split_name: str, *, limit: int = 0, batch_size: int = 4
) -> pipeline.EvalBatches | pooling.PoolBatches:
    """Whole images of a split at `image_size`, degraded the same way in every run and epoch; of two pools side by side."""
    make = lambda source, indices: _eval_batches(config, data, source, indices, batch_size)  # noqa: E731
    if pools.pooled(data.source):
        return pooling.eval_batches(data, make, split_name, limit=limit)
    indices = data.splits[split_name]
    return make(data.source, indices[:limit] if limit else indices)


def _eval_batches(
    config: ConfigDict, data: Data, source: Source, indices: np.ndarray, batch_size: int
) -> pipeline.EvalBatches:
    return pipeline.eval_batches(
        source,
        indices,
        batch_size=batch_size,
        image_size=config.data.image_size,
        degradation=data.degradation,
        prefilter=config.data.prefilter,
        labels=config.data.labels,
        columns=labelled.columns_of(config, source),
        seed=config.data.split_seed,
        threads=config.data.threads,
    )
