"""What a dataset is: frozen records, and a function that loads the images of one of them.

`Source.load(i)` returns `{"target": image}` (a good image) or `{"source": ..., "target": ...}` (a pair),
each float32 `[H, W, 1]` in [0, 1], as stored; a source may have more channels (neighbouring slices). Medical volumes add
`region`, float32 `[H, W, 1]` of 0 and 1: inside the head. `i` is the record's number, which batches carry as `index`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from medjax.data.augment import resize_all
from medjax.data.packed import Packed, pack, unpack
from medjax.types import ConfigError, DataError

Images = dict[str, np.ndarray]


@dataclass(frozen=True)
class Record:
    """One image or pair: `name` is unique in its source; unknown columns are "" and None; age is in years."""

    name: str
    patient: str
    paths: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    view: str = ""
    sex: str = ""
    age: float | None = None
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """A dataset. kind: its name in configs; paired: records have both images; notes: what the user should know."""

    kind: str
    records: tuple[Record, ...]
    load: Callable[[int], Images]
    label_names: tuple[str, ...] = ()
    paired: bool = False
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.records)

    @property
    def names(self) -> list[str]:
        """The records' names, in order."""
        return [record.name for record in self.records]

    def column(self, name: str) -> list:
        """One value per record: `patient`, `view`, `sex`, `age`, `labels` (joined by |) or an extra column."""
        if name == "labels":
            return ["|".join(record.labels) for record in self.records]
        return [
            getattr(r, name) if name in ("name", "patient", "view", "sex", "age") else r.extra.get(name, "")
            for r in self.records
        ]


def patient_of(name: str, pattern: str | None) -> str:
    """The patient in a name: the first group of the regular expression `pattern`; the name itself where that is None.

    Raises:
      ConfigError: no regular expression. DataError: it is not found in the name, or has no group.
    """
    if pattern is None:
        return name
    try:
        found = re.search(pattern, name)
    except re.error as error:
        raise ConfigError(f"patient_pattern {pattern!r} is no regular expression ({error})") from error
    if not found or not found.groups():
        raise DataError(f"{name} does not match patient_pattern {pattern!r}, or the pattern has no group")
    return found.group(1)


def patient_note(pattern: str | None, *, what: str = "image") -> tuple[str, ...]:
    """What the user should know where every name is taken for a patient."""
    if pattern is not None:
        return ()
    return (f"every {what} counts as a patient of its own; state patient_pattern if a patient has several",)


def label_counts(records: Iterable[Record]) -> dict[str, int]:
    """How many records carry each label, most frequent first; a record with two labels counts under both."""
    return dict(Counter(label for record in records for label in record.labels).most_common())


def multi_hot(record: Record, label_names: Sequence[str]) -> np.ndarray:
    """float32 [len(label_names)]; DataError for a label that is not among them."""
    unknown = set(record.labels) - set(label_names)
    if unknown:
        raise DataError(f"{record.name} has the label {min(unknown)!r}, which is none of {', '.join(label_names)}")
    return np.array([name in record.labels for name in label_names], np.float32)


def cached(source: Source, size: int | None, *, max_bytes: int = 1 << 30) -> Source:
    """`source` with every image resized once to `size` (None: as stored) and kept in memory, to the bit: as 8- or 16-bit
    values where they give the same floats back, else as float32 (see `medjax.data.packed`).

    Decoding and resizing cost several times what the rest of the pipeline does. Images beyond `max_bytes` are read each time.
    """
    kept: dict[int, dict[str, Packed]] = {}
    used = [0]

    def load(i: int) -> Images:
        if i in kept:
            return {name: unpack(image) for name, image in kept[i].items()}
        images = source.load(i)
        if size is not None:
            images = resize_all(images, size)
        small = {name: pack(image) for name, image in images.items()} if used[0] < max_bytes else {}
        cost = sum(image.values.nbytes for image in small.values())
        if small and used[0] + cost <= max_bytes:
            used[0] += cost
            for image in (*images.values(), *(p.values for p in small.values())):
                image.setflags(write=False)
            kept[i] = small
        return dict(images)

    return replace(source, load=load)


def subset(source: Source, indices: Sequence[int]) -> Source:
    """The records `indices`, renumbered from 0."""
    chosen = [int(i) for i in indices]
    return replace(source, records=tuple(source.records[i] for i in chosen), load=lambda i: source.load(chosen[i]))


def verify(source: Source, indices: Sequence[int] | None = None, *, progress: bool = False) -> None:
    """Decodes every image, so that damaged files are named (DataError) before training and not in its third hour.

    Simulated images have no file and are passed over.
    """
    from tqdm import tqdm

    bad: list[str] = []
    chosen = range(len(source)) if indices is None else indices
    for i in tqdm(chosen, desc="reading every file once", unit="image", disable=not progress, leave=False):
        if not source.records[int(i)].paths:
            continue
        try:
            source.load(int(i))
        except DataError as error:
            bad.append(str(error))
    if bad:
        raise DataError(bad[0] if len(bad) == 1 else f"{len(bad)} files cannot be used: {'; '.join(bad[:3])}")


def some(names: Iterable[str], count: int = 3) -> str:
    """The first `count` names, for messages."""
    names = list(names)
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")
