"""Where images come from: phantoms, tables, the user's own pairs, or a plain folder of good images.

Every constructor returns a `Source` (see `medjax.data.records`) or raises a DataError that names what is wrong.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np

from medjax import formats
from medjax.data.recent import Recent
from medjax.data.records import Images, Record, Source, cached, label_counts, patient_note, patient_of, some, subset, verify
from medjax.data.tables import NIH_LABELS, actualmed, nih_cxr14
from medjax.types import ConfigError, DataError

__all__ = [
    "NIH_LABELS", "Record", "Source", "actualmed", "cached", "folder", "label_counts",
    "nih_cxr14", "pairs", "phantom_cxr", "subset", "verify",
]  # fmt: skip

ValueRange = formats.ValueRange


def _draw(key: Hashable) -> Images:
    from medjax.data.phantom import radiograph

    seed, index, size, dose, finding = key
    phantom = radiograph(seed, index, size=size, dose=dose, finding=finding)
    return {"image": phantom.image, "clean": phantom.clean}


# One drawing takes as long as training on it: the sources of a process that ask for the same one share it.
_DRAWN = Recent(_draw, max_bytes=1 << 29)


def drawn(what: str, seed: int, index: int, *, size: int, dose: float, finding: str | None) -> np.ndarray:
    """`what`, the "image" or the noise-free "clean", of `phantom.radiograph` with these arguments: float32 `[size, size, 1]` in
    [0, 1].
    """
    stored = _DRAWN((seed, index, size, dose, finding))[what]
    return (stored.astype(np.float32) / 65535)[..., None]


def phantom_cxr(
    count: int = 1000,
    *,
    size: int = 256,
    seed: int = 0,
    dose: float = 1.0,
    findings: Sequence[str] | None = None,
) -> Source:
    """Simulated chest radiographs, each a pure function of (seed, index); one image per patient.

    Args:
      count: number of images.
      size: their side in pixels.
      seed: which set of patients.
      dose: exposure relative to normal.
      findings: names taken in turn; None leaves each patient's finding to the phantom.
    """
    from medjax.data.phantom.patient import FINDINGS, sample_patient

    if count < 1:
        raise DataError(f"phantom_cxr needs at least one image, not {count}")
    unknown = [finding for finding in findings or () if finding not in FINDINGS]
    if unknown:
        raise ConfigError(f"finding {unknown[0]!r} is none of {', '.join(FINDINGS)}")

    def finding(i: int) -> str | None:
        return findings[i % len(findings)] if findings else None

    def record(i: int) -> Record:
        patient, name = sample_patient(seed, i, finding(i)), f"phantom_{seed}_{i:06d}"
        extra = {"dose": f"{dose:g}"}
        return Record(name, name, (), (patient.finding,), patient.view, patient.sex, patient.age, extra)

    def load(i: int) -> Images:
        return {"target": drawn("image", seed, i, size=size, dose=dose, finding=finding(i))}

    return Source("phantom_cxr", tuple(map(record, range(count))), load, tuple(FINDINGS))


def pairs(
    root: str | os.PathLike, *, value_range: ValueRange = None, patient_pattern: str | None = None, check: bool = True
) -> Source:
    """The user's own pairs: `root/source` and `root/target`, matched by file name without suffix.

    Args:
      root: the folder that holds both.
      value_range: the stored values that mean 0 and 1 (see `formats.read`).
      patient_pattern: a regular expression whose first group, found in the name, is the patient; by default every
        name is a patient.
      check: compare the two sizes now, from the headers.

    Raises:
      DataError: a folder that is absent or empty, names without partner (count, first three), two sizes that differ.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"the data folder {root} is absent")
    left, right = _by_stem(root / "source"), _by_stem(root / "target")
    for here, there, name in ((left, right, "target"), (right, left, "source")):
        alone = sorted(set(here) - set(there))
        if alone:
            told = some(here[stem].name for stem in alone)
            raise DataError(f"{len(alone)} of {len(here)} images have no partner in {root / name}: {told}")
    stems = sorted(left)
    if check:
        for stem in stems:
            _same_size(left[stem], right[stem], formats.image_size(left[stem]), formats.image_size(right[stem]))
    records = tuple(Record(s, patient_of(s, patient_pattern), (str(left[s]), str(right[s]))) for s in stems)

    def load(i: int) -> Images:
        images = {
            k: formats.read(p, value_range=value_range)[0]
            for k, p in zip(("source", "target"), records[i].paths, strict=True)
        }
        _same_size(*records[i].paths, images["source"].shape[:2], images["target"].shape[:2])
        return images

    return Source("pairs", records, load, paired=True, notes=patient_note(patient_pattern))


def folder(
    root: str | os.PathLike,
    *,
    value_range: ValueRange = None,
    recursive: bool = False,
    patient_pattern: str | None = None,
    modality: str = "",
    check: bool = True,
) -> Source:
    """A plain folder of good images, to be degraded on the fly; arguments as for `pairs`. modality: CXR, CT, MR, if known.

    Files of several bit depths are told in its notes, with what is done about them.
    """
    root = Path(root)
    paths = formats.list_images(root, recursive=recursive)
    notes = patient_note(patient_pattern)
    if check:
        for path in paths:
            formats.image_size(path)
        notes += _depth_note(paths, value_range)
    names = [path.relative_to(root).as_posix() for path in paths]
    extra = {"modality": modality} if modality else {}
    records = tuple(
        Record(n, patient_of(n, patient_pattern), (str(p),), extra=extra) for n, p in zip(names, paths, strict=True)
    )

    def load(i: int) -> Images:
        return {"target": formats.read(records[i].paths[0], value_range=value_range)[0]}

    return Source("folder", records, load, notes=notes)


def _depth_note(paths: Sequence[Path], value_range: ValueRange) -> tuple[str, ...]:
    """What the user should know where files differ in their bits."""
    counts = Counter(map(formats.stored_bits, paths))
    if len(counts) < 2:
        return ()
    told = ", ".join(f"{count} of {bits} bits" for bits, count in sorted(counts.items()))
    maps = "each is mapped by its own range" if value_range is None else f"all are mapped by the stated range {value_range}"
    return (f"the files differ in bit depth ({told}): {maps}",)


def _by_stem(root: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in formats.list_images(root):
        stem = formats.name_stem(path)
        if stem in found:
            raise DataError(f"{found[stem]} and {path.name} have the same name, so pairs cannot be matched")
        found[stem] = path
    return found


def _same_size(left, right, left_size: tuple, right_size: tuple) -> None:
    if tuple(left_size) != tuple(right_size):
        shapes = " x ".join(map(str, left_size)), " x ".join(map(str, right_size))
        raise DataError(f"{left} is {shapes[0]} but its partner {right} is {shapes[1]}")
