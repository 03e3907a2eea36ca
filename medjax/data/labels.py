"""What a run learns beside images: a class (or several) for each image, and columns: age, sex and view. Numpy.

`select` turns a data set into one whose labels are the classes wanted, and says what it left out; `columns_of` gives what
batches carry of each record; `counts` and `check_counts` say how many images of each class there are, before anything is
learnt from too few.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from medjax import baselines
from medjax.data.records import Images, Record, Source, some, subset
from medjax.types import ConfigError, DataError

MODES = ("single", "any")
SEXES, VIEWS = {"F": 0, "M": 1}, {"AP": 0, "PA": 1}
COLUMNS = ("age", "sex", "view")
FINDINGS = "findings"
"""The extra column in which a record keeps all labels it came with, joined by |."""


def select(
    source: Source, *, labels: str = "single", classes: Sequence[str] = (), mode: str = "single", columns: Sequence[str] = ()
) -> Source:
    """`source` with the records that a run can learn `classes` and `columns` from; what was left out is told in `notes`.

    Args:
      source: the data set.
      labels: "single" keeps images of exactly one of the classes; "multi" keeps every image; "none" looks at no label.
      classes: the labels wanted, in the order that numbers them; () takes the source's own.
      mode: for "single": "single" keeps images whose only label is a class, "any" those that have other labels besides.
      columns: what must be known of every image, of `COLUMNS`; images of which it is not are left out.

    Returns:
      A source whose `label_names` are the classes and whose records carry no other label; `extra["findings"]` keeps all.

    Raises:
      ConfigError: an unknown class (with the known ones), column or mode. DataError: no image is left.
    """
    classes = tuple(classes) or source.label_names
    _check(source, labels, classes, mode, columns)
    kept, notes = range(len(source)), []
    if labels == "single":
        kept, notes = _of_one_class(source.records, classes, mode)
    for column in columns:
        known = [i for i in kept if _value(source.records[i], column) is not None]
        if len(known) < len(kept):
            notes.append(f"{len(kept) - len(known)} images were left out because their {column} is not known")
        kept = known
    if not kept:
        told = "; ".join(notes) or f"it has none of {', '.join(classes)}"
        raise DataError(f"{source.kind} has no image to learn these labels and columns from: {told}")
    found = subset(source, kept)
    if labels != "none":
        found = replace(found, records=tuple(_narrowed(r, classes) for r in found.records), label_names=classes)
    return replace(found, notes=(*source.notes, *notes))


def _check(source: Source, labels: str, classes: Sequence[str], mode: str, columns: Sequence[str]) -> None:
    for field, value, known in (("labels", labels, ("none", "single", "multi")), ("label_mode", mode, MODES)):
        if value not in known:
            raise ConfigError(f"{field} must be one of {', '.join(known)}, not {value!r}")
    for column in columns:
        if column not in COLUMNS:
            raise ConfigError(f"there is no column {column!r} to learn from; there are {', '.join(COLUMNS)}")
    if labels == "none":
        return
    unknown = [name for name in classes if name not in source.label_names]
    if unknown or not source.label_names:
        raise ConfigError(
            f"{source.kind} knows no label {unknown[0]!r}; it knows {', '.join(source.label_names) or 'none'}"
            if unknown
            else f"{source.kind} has no labels to learn from"
        )
    if len(set(classes)) < len(classes):
        raise ConfigError(f"the classes {', '.join(classes)} name one twice")


def _of_one_class(records: Sequence[Record], classes: Sequence[str], mode: str) -> tuple[list[int], list[str]]:
    """The records of exactly one class, and what is to be said of the others."""
    wanted, kept = set(classes), []
    mixed, beside, other = [], [], 0
    for i, record in enumerate(records):
        mine = len(wanted.intersection(record.labels))
        if mine > 1:
            mixed.append(record.name)
        elif not mine:
            other += 1
        elif mode == "single" and len(record.labels) > 1:
            beside.append(record.name)
        else:
            kept.append(i)
    notes = []
    if mixed:
        notes.append(f"{len(mixed)} images show two of the classes or more and were left out: {some(mixed)}")
    if beside:
        notes.append(
            f"{len(beside)} images have other labels beside their class and were left out (label_mode=any keeps them): "
            f"{some(beside)}"
        )
    if other:
        notes.append(f"{other} images have none of the classes {', '.join(classes)} and were left out")
    return kept, notes


def _narrowed(record: Record, classes: Sequence[str]) -> Record:
    mine = tuple(name for name in classes if name in record.labels)
    return replace(record, labels=mine, extra={**record.extra, FINDINGS: "|".join(record.labels)})


def columns_of(source: Source, columns: Sequence[str]) -> dict[str, np.ndarray]:
    """`{column: [number of records]}`: age float32 in centuries, sex int32 (0 F, 1 M), view int32 (0 AP, 1 PA).

    Raises DataError naming an image of which a column is not known (`select` leaves such images out).
    """
    found = {}
    for column in columns:
        values = [_value(record, column) for record in source.records]
        if None in values:
            raise DataError(f"the {column} of {source.records[values.index(None)].name} is not known")
        found[column] = np.array(values, np.float32 if column == "age" else np.int32)
    return found


def _value(record: Record, column: str) -> float | int | None:
    """What a batch carries of a column; None where it is empty or says something else than is known."""
    if column == "age":
        return None if record.age is None else record.age / 100
    return {"sex": SEXES, "view": VIEWS}[column].get(getattr(record, column).upper())


def counts(source: Source, splits: Mapping[str, Sequence[int]]) -> dict[str, dict[str, int]]:
    """`{split: {class: images}}`; an image of two classes counts under both."""
    return {
        split: {name: sum(name in source.records[int(i)].labels for i in indices) for name in source.label_names}
        for split, indices in splits.items()
    }


def check_counts(found: Mapping[str, Mapping[str, int]], *, least: int, split: str = "train") -> None:
    """Raises DataError, with the count, where a class has fewer than `least` images in `split`."""
    few = [(name, count) for name, count in found[split].items() if count < max(least, 1)]
    if few:
        every = ", ".join(f"{name} {count}" for name, count in found[split].items())
        raise DataError(
            f"the class {few[0][0]!r} has {few[0][1]} images to train on, fewer than the {max(least, 1)} of "
            f"config.data.min_per_class; the {split} split has {every}"
        )


def told(found: Mapping[str, Mapping[str, int]]) -> str:
    """The counts as a sentence."""
    parts = [f"{split}: {', '.join(f'{name} {count}' for name, count in each.items())}" for split, each in found.items()]
    return f"images of each class; {'; '.join(parts)}"


def equalised(source: Source, *, clip: float, tiles: int = 8) -> Source:
    """`source` with every target under CLAHE (Zuiderveld 1994, scikit-image's): the histogram of each of `tiles` x `tiles`
    regions clipped at the share `clip` of its pixels; what a model is to learn, never what it is compared with.

    Raises ConfigError for pairs, whose inputs would keep other grey levels, and for a clip or tiles out of range.
    """
    if not 0 < clip <= 1 or tiles < 1:
        raise ConfigError(f"clahe.clip lies above 0 and up to 1, clahe.tiles from 1 on; they are {clip} and {tiles}")
    if source.paired:
        raise ConfigError(f"{source.kind} holds pairs, and CLAHE of their targets alone would change what is to be learnt")

    def load(i: int) -> Images:
        images = source.load(i)
        return {**images, "target": baselines.clahe(images["target"], clip_limit=clip, tiles=tiles)}

    return replace(source, load=load)
