"""Who is trained on and who is tested on: by patient, seeded, disjoint.

A split is a dict `{"train": indices, "validation": indices, "test": indices}` of sorted int64 arrays of record numbers.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from medjax.data.records import Record, some
from medjax.files import replace
from medjax.rng import generator
from medjax.types import DataError

NAMES = ("train", "validation", "test")
Splits = dict[str, np.ndarray]


def by_patient(
    records: Sequence[Record],
    *,
    seed: int = 0,
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
    counts: Sequence[int] | None = None,
) -> Splits:
    """Deals patients, in a seeded order, into train, validation and test.

    Args:
      records: a source's records.
      fractions: shares of the patients, adding to 1; a share above 0 gets at least one patient.
      counts: exact numbers of patients instead, adding to all there are.

    Raises:
      DataError: fewer patients than splits that want one, fractions that do not add to 1, or counts not to all patients.
    """
    patients = sorted({record.patient for record in records})
    if counts is None:
        counts = _shares(len(patients), fractions)
    elif len(counts) != len(NAMES) or min(counts) < 0 or sum(counts) != len(patients):
        told = " + ".join(map(str, counts))
        raise DataError(f"split counts must be three numbers that add to the {len(patients)} patients, not {told}")
    order = generator(seed, "split").permutation(len(patients))
    ends = np.cumsum(counts)
    side = {patients[p]: int(np.searchsorted(ends, rank, side="right")) for rank, p in enumerate(order)}
    return _gather(NAMES[side[record.patient]] for record in records)


def by_stratum(
    records: Sequence[Record],
    strata: Sequence[str],
    *,
    seed: int = 0,
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
) -> Splits:
    """`by_patient` within each stratum (a modality), so that every split has its share of all of them.

    strata: of each record; a patient who has several goes with that of the first record.

    Raises DataError as `by_patient` does, naming the stratum.
    """
    of = {}
    for record, stratum in zip(records, strata, strict=True):
        of.setdefault(record.patient, stratum)
    merged: dict[str, list[int]] = {name: [] for name in NAMES}
    for stratum in sorted(set(of.values())):
        own = [i for i, record in enumerate(records) if of[record.patient] == stratum]
        try:
            dealt = by_patient([records[i] for i in own], seed=seed, fractions=fractions)
        except DataError as error:
            raise DataError(f"{stratum or 'images of no known kind'}: {error}") from error
        for name, indices in dealt.items():
            merged[name] += [own[i] for i in indices]
    return {name: np.array(sorted(indices), np.int64) for name, indices in merged.items()}


def by_fold(records: Sequence[Record], fold: int, *, folds: int, seed: int = 0, validation: int = 0) -> Splits:
    """Cross-validation: patients, in a seeded order, are dealt into `folds` parts as equal as can be.

    Args:
      records: a source's records.
      fold: the part that is tested on, from 0; over all folds each patient is tested on once.
      folds: how many parts, at least 3 unless `validation` is given.
      seed: of the order, the same for all folds of one study.
      validation: patients to validate on, from the part after the tested one; 0 takes that whole part.

    Raises:
      DataError: fewer patients than folds, or no such fold.
    """
    patients = sorted({record.patient for record in records})
    if not 2 <= folds <= len(patients) or (folds == 2 and not validation):
        raise DataError(f"{len(patients)} patients cannot be dealt into {folds} folds to train, validate and test on")
    if not 0 <= fold < folds:
        raise DataError(f"there is no fold {fold} of {folds}; they are counted from 0")
    parts = np.array_split(generator(seed, "split").permutation(len(patients)), folds)
    tested, validated = parts[fold], parts[(fold + 1) % folds]
    side = {patients[p]: "test" for p in tested}
    side |= {patients[p]: "validation" for p in (validated[:validation] if validation else validated)}
    if len(side) == len(patients):
        raise DataError(f"{folds} folds of {len(patients)} patients leave none to train on")
    return _gather(side.get(record.patient, "train") for record in records)


def _shares(patients: int, fractions: Sequence[float]) -> list[int]:
    """Numbers of patients from shares; DataError where they cannot be dealt."""
    if len(fractions) != len(NAMES) or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise DataError(f"split fractions must be three shares that add to 1, got {tuple(fractions)}")
    wanted = sum(fraction > 0 for fraction in fractions)
    if patients < wanted:
        raise DataError(f"{patients} patients cannot be dealt into {wanted} splits")
    return _counts(patients, fractions)


def official(
    records: Sequence[Record],
    train_val_names: Iterable[str],
    test_names: Iterable[str],
    *,
    seed: int = 0,
    validation: float = 0.1,
) -> Splits:
    """The dataset's own lists; validation is a share of the patients of the training list.

    Raises:
      DataError: records that are in neither list, names in both, or patients shared by the two.
    """
    train_val, test = set(train_val_names), set(test_names)
    if train_val & test:
        raise DataError(f"{len(train_val & test)} images are in both official lists: {some(sorted(train_val & test))}")
    stray = [record.name for record in records if record.name not in train_val and record.name not in test]
    if stray:
        raise DataError(f"{len(stray)} images are in neither official list: {some(stray)}")
    inner = [record for record in records if record.name in train_val]
    dealt = by_patient(inner, seed=seed, fractions=(1 - validation, validation, 0.0))
    held = {inner[i].name for i in dealt["validation"]}
    splits = _gather("test" if r.name in test else "validation" if r.name in held else "train" for r in records)
    check_disjoint(records, splits)
    return splits


def read_names(path: str | os.PathLike) -> list[str]:
    """The names in an official list, one a line."""
    try:
        names = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the list {path} cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not names:
        raise DataError(f"the list {path} is empty")
    return names


def check_disjoint(records: Sequence[Record], splits: Mapping[str, Sequence[int]]) -> None:
    """DataError naming patients who are in more than one split."""
    shared = shared_patients(records, splits)
    if shared:
        told = some(f"{patient} ({' and '.join(where)})" for patient, where in shared.items())
        raise DataError(f"{len(shared)} patients are in more than one split: {told}")


def shared_patients(records: Sequence[Record], splits: Mapping[str, Sequence[int]]) -> dict[str, list[str]]:
    """{patient: names of the splits it is in} for patients in more than one."""
    where: dict[str, list[str]] = defaultdict(list)
    for name, indices in splits.items():
        for patient in sorted({records[int(i)].patient for i in indices}):
            where[patient].append(name)
    return {patient: names for patient, names in where.items() if len(names) > 1}


def to_names(records: Sequence[Record], splits: Mapping[str, Sequence[int]]) -> dict[str, list[str]]:
    """Record numbers -> names, for `splits.json`."""
    return {split: [records[int(i)].name for i in indices] for split, indices in splits.items()}


def from_names(records: Sequence[Record], names: Mapping[str, Sequence[str]]) -> Splits:
    """Names -> record numbers; DataError for names the source does not have."""
    number = {record.name: i for i, record in enumerate(records)}
    absent = [name for wanted in names.values() for name in wanted if name not in number]
    if absent:
        raise DataError(f"{len(absent)} images of the split are not in the data: {some(absent)}")
    return {split: np.array(sorted(number[name] for name in wanted), np.int64) for split, wanted in names.items()}


def write_patients(path: str | os.PathLike, records: Sequence[Record], splits: Mapping[str, Sequence[int]]) -> None:
    """A split file: the patients of each split, which every stage of a study deals its own images by (see `by_file`)."""
    check_disjoint(records, splits)
    patients = {name: sorted({records[int(i)].patient for i in indices}) for name, indices in splits.items()}
    replace(path, json.dumps({"patients": patients}, indent=1) + "\n")


def by_file(records: Sequence[Record], path: str | os.PathLike) -> Splits:
    """The splits in which `write_patients` put the patients of `records`; others that the file lists are no matter here.

    Raises DataError for a file that is absent or no split file, patients listed in two splits, and patients of `records` who
    are in none, each named.
    """
    try:
        listed = json.loads(Path(path).read_text(encoding="utf-8"))["patients"]
        listed = {name: [str(patient) for patient in listed[name]] for name in NAMES}
    except FileNotFoundError as error:
        raise DataError(f"the split file {path} is absent; write it with medjax split --config=... --output={path}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no split file: it does not list the patients of {', '.join(NAMES)}") from error
    side: dict[str, str] = {}
    for name, patients in listed.items():
        twice = [f"{patient} ({side[patient]} and {name})" for patient in patients if side.get(patient, name) != name]
        if twice:
            raise DataError(f"{path}: {len(twice)} patients are in more than one split: {some(twice)}")
        side |= dict.fromkeys(patients, name)
    stray = sorted({record.patient for record in records if record.patient not in side})
    if stray:
        raise DataError(f"{len(stray)} patients are in no split of {path}: {some(stray)}")
    return _gather(side[record.patient] for record in records)


def _counts(total: int, fractions: Sequence[float]) -> list[int]:
    """Validation and test are rounded and get at least one where wanted; train gets the rest, also at least one."""
    counts = [0, *(max(1, round(total * f)) if f else 0 for f in fractions[1:])]
    need = 1 if fractions[0] else 0
    while sum(counts) > total - need:
        counts[int(np.argmax(counts))] -= 1
    if not fractions[0]:
        counts[-1 if fractions[2] else 1] += total - sum(counts)
        return counts
    counts[0] = total - sum(counts)
    return counts


def _gather(sides: Iterable[str]) -> Splits:
    found: dict[str, list[int]] = {name: [] for name in NAMES}
    for i, side in enumerate(sides):
        found[side].append(i)
    return {name: np.array(indices, np.int64) for name, indices in found.items()}
