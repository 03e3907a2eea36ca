"""Two pools of images that are not paired: of low quality and of high quality, of different patients. Numpy.

A pooled source is one `Source` whose records say in `extra["pool"]` which pool they belong to, so that one split, by patient,
serves whatever is trained on it. `load(i)` gives `{"target": image}`; of a low-quality image whose truth is known (a phantom,
an image that was degraded here) `{"source": image, "target": truth}`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from medjax.data.augment import resize
from medjax.data.degrade import Degradation
from medjax.data.mixed import combined
from medjax.data.records import Images, Source, patient_of, some
from medjax.data.sources import drawn, folder, phantom_cxr
from medjax.formats import ValueRange, name_stem
from medjax.rng import generator
from medjax.types import ConfigError, DataError

POOL, LOW, HIGH = "pool", "low", "high"
TRUTH = "truth"
"""The extra column that is "known" where a low-quality image comes with its truth."""


def pooled(source: Source) -> bool:
    """Whether records of the source belong to pools."""
    return any(record.extra.get(POOL) for record in source.records)


def in_pool(source: Source, indices: Sequence[int], pool: str) -> np.ndarray:
    """Those of the record numbers `indices` that belong to `pool`, int64."""
    return np.array([int(i) for i in indices if source.records[int(i)].extra.get(POOL) == pool], np.int64)


def marked(source: Source, pools: Sequence[str]) -> Source:
    """`source` with the pool of each record written down; raises as `check` does."""
    tagged = tuple(replace(r, extra={**r.extra, POOL: pool}) for r, pool in zip(source.records, pools, strict=True))
    found = replace(source, records=tagged)
    check(found)
    return found


def check(source: Source) -> None:
    """DataError where a pool is empty, or a patient is in both (count, first three names)."""
    patients = {pool: {r.patient for r in source.records if r.extra.get(POOL) == pool} for pool in (LOW, HIGH)}
    for pool, there in patients.items():
        if not there:
            raise DataError(f"{source.kind} has no image in the pool of {pool} quality")
    shared = sorted(patients[LOW] & patients[HIGH])
    if shared:
        raise DataError(f"{len(shared)} patients of {source.kind} are in both pools, low and high: {some(shared)}")


def truth_known(source: Source) -> bool:
    """Whether every low-quality image comes with its truth."""
    return all(r.extra.get(TRUTH) == "known" for r in source.records if r.extra.get(POOL) == LOW)


def view(source: Source, pool: str, *, truth: bool = False) -> Source:
    """The source as one of single images, `{"target": image}`, whatever is known of them; with `truth`, of pairs of a
    low-quality image and its truth. Record numbers stay; what may be read are those of `pool`.
    """
    plain = tuple(replace(r, extra={name: v for name, v in r.extra.items() if name != POOL}) for r in source.records)

    def load(i: int) -> Images:
        images = source.load(i)
        if truth:
            return {"source": images["source"], "target": images["target"]}
        return {"target": images.get("source", images["target"]) if pool == LOW else images["target"]}

    return replace(source, records=plain, load=load, paired=truth)


def folders(
    root: str | os.PathLike, *, value_range: ValueRange = None, patient_pattern: str | None = None, check: bool = True
) -> Source:
    """Plain folders `root/low` and `root/high` of images as they come; arguments as for `sources.folder`, the pattern being
    looked for in a file's name without its folder and suffix. Without a pattern every name is a patient.

    Raises DataError for absent or empty folders, unreadable headers, and patients who are in both (named).
    """
    if not Path(root).is_dir():
        raise DataError(f"the data folder {root} is absent")
    parts = []
    for pool in (LOW, HIGH):
        part = folder(Path(root) / pool, value_range=value_range, check=check)
        patients = [patient_of(name_stem(Path(r.name)), patient_pattern) for r in part.records]
        part = replace(part, records=tuple(replace(r, patient=p) for r, p in zip(part.records, patients, strict=True)))
        parts.append(part if patient_pattern is None else replace(part, notes=part.notes[1:]))
    return joined(*parts, kind="pools")


def joined(low: Source, high: Source, *, kind: str = "unpaired") -> Source:
    """One source of two, each as it comes: records are called `low/NAME` and `high/NAME`. A patient of one name in both is
    one patient, and an error.
    """
    both = replace(combined([(LOW, low), (HIGH, high)]), kind=kind)
    return marked(both, [LOW] * len(low) + [HIGH] * len(high))


def dealt(source: Source, *, low_share: float = 0.5, seed: int = 0) -> Source:
    """`source` with its patients dealt to the pools, in an order of their own seed: `low_share` of them to low.

    Raises ConfigError for pairs and for a share that leaves a pool without patients, DataError for fewer than two patients.
    """
    patients = sorted({record.patient for record in source.records})
    if source.paired or not 0 < low_share < 1:
        told = "pairs" if source.paired else f"a low_share of {low_share}"
        raise ConfigError(f"pools are dealt of single images by a share above 0 and below 1, not of {told}")
    if len(patients) < 2:
        raise DataError(f"{source.kind} has {len(patients)} patient: too few for two pools of different patients")
    count = min(max(round(low_share * len(patients)), 1), len(patients) - 1)
    low = {patients[i] for i in generator(seed, "pools").permutation(len(patients))[:count]}
    return marked(source, [LOW if record.patient in low else HIGH for record in source.records])


def degraded(source: Source, degradation: Degradation, *, size: int, seed: int = 0) -> Source:
    """A pooled source whose low-quality images are degraded, each once and for all (drawn from seed and name), as images that
    were taken so; their truth is then known. The degradation applies to the whole image at `size`, a side in pixels.

    Raises ConfigError for a degradation that leaves fewer pixels.
    """
    if degradation.scale > 1:
        raise ConfigError("the pool of low quality keeps its size: downsample may not be among the steps of its degradation")
    records = tuple(replace(r, extra={**r.extra, TRUTH: "known"}) if r.extra.get(POOL) == LOW else r for r in source.records)

    def load(i: int) -> Images:
        images = source.load(i)
        if records[i].extra.get(POOL) != LOW:
            return images
        images = {name: resize(image, size) for name, image in images.items()}
        before = np.ascontiguousarray(images.get("source", images["target"]))
        return {"source": degradation(before, generator(seed, "low quality", records[i].name)), "target": images["target"]}

    return replace(source, records=records, load=load)


def phantom_pools(
    count: int = 1000,
    *,
    size: int = 256,
    seed: int = 0,
    low_share: float = 0.5,
    dose: float = 1e-3,
    findings: Sequence[str] | None = None,
) -> Source:
    """The phantoms of `sources.phantom_cxr`, dealt to two pools: low are those taken at `dose` (relative to normal), whose
    truth, the same patient without quantum noise, is known; high are the others at a normal dose.

    Raises as `phantom_cxr` and `dealt` do, and ConfigError for a dose that is not above 0 and below 1.
    """
    if not 0 < dose < 1:
        raise ConfigError(f"the dose of the pool of low quality lies above 0 and below 1, not at {dose}")
    source = dealt(phantom_cxr(count, size=size, seed=seed, findings=findings), low_share=low_share, seed=seed)
    told = ({TRUTH: "known", "dose": f"{dose:g}"}, {})
    records = tuple(replace(r, extra={**r.extra, **told[r.extra[POOL] == HIGH]}) for r in source.records)

    def load(i: int) -> Images:
        if records[i].extra[POOL] == HIGH:
            return source.load(i)
        asked = {"size": size, "dose": dose, "finding": records[i].labels[0] if findings else None}
        return {"source": drawn("image", seed, i, **asked), "target": drawn("clean", seed, i, **asked)}

    return replace(source, kind="phantom_pools", records=records, load=load)
