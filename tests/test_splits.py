"""Splits share no patient, repeat for a seed, and say so when a list does not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medjax.data import splits
from medjax.data.records import Record
from medjax.types import DataError


def records(patients):
    return [Record(f"{i:04d}.png", str(p)) for i, p in enumerate(patients)]


@settings(max_examples=60, deadline=None)
@given(patients=st.lists(st.integers(0, 12), min_size=13), seed=st.integers(0, 2**31))
def test_every_record_is_in_one_split_and_no_patient_in_two(patients, seed):
    data = records([*patients, 20, 21, 22])
    found = splits.by_patient(data, seed=seed)
    assert sorted(np.concatenate(list(found.values())).tolist()) == list(range(len(data)))
    assert all(len(found[name]) for name in splits.NAMES)
    splits.check_disjoint(data, found)


def test_fractions_are_of_patients():
    found = splits.by_patient(records(range(240)), seed=0)
    assert [len(found[name]) for name in splits.NAMES] == [192, 24, 24]
    found = splits.by_patient(records(range(3)), seed=0)
    assert [len(found[name]) for name in splits.NAMES] == [1, 1, 1]
    for fractions, counts in (
        ((1, 0, 0), [5, 0, 0]),
        ((0, 0, 1), [0, 0, 5]),
        ((0, 1, 0), [0, 5, 0]),
        ((0, 0.5, 0.5), [0, 2, 3]),
    ):
        found = splits.by_patient(records(range(5)), fractions=fractions)
        assert [len(found[name]) for name in splits.NAMES] == counts


def test_seed_decides():
    data = records(range(50))
    first, again, other = (splits.by_patient(data, seed=s)["test"].tolist() for s in (1, 1, 2))
    assert first == again != other
    shuffled = data[::-1]  # order of the table does not matter
    assert {shuffled[i].name for i in splits.by_patient(shuffled, seed=1)["test"]} == {data[i].name for i in first}


def test_too_few_patients_or_bad_fractions():
    with pytest.raises(DataError, match="2 patients"):
        splits.by_patient(records([1, 2]))
    for fractions in ((0.5, 0.1, 0.1), (1.2, -0.1, -0.1), (0.5, 0.5)):
        with pytest.raises(DataError, match="add to 1"):
            splits.by_patient(records(range(9)), fractions=fractions)


def test_official_lists():
    data = records([i // 2 for i in range(40)])
    names = [r.name for r in data]
    found = splits.official(data, names[:30], names[30:], seed=3)
    assert found["test"].tolist() == list(range(30, 40)) and len(found["validation"]) == 4 and len(found["train"]) == 26
    splits.check_disjoint(data, found)
    with pytest.raises(DataError, match=r"1 patients are in more than one split: 15"):
        splits.official(data, names[:31], names[31:])
    with pytest.raises(DataError, match="both official lists"):
        splits.official(data, names[:32], names[30:])
    with pytest.raises(DataError, match=r"2 images are in neither official list: 0038.png, 0039.png"):
        splits.official(data, names[:30], names[30:38])


def test_overlap_names_the_patients():
    data = records(["a", "b", "a", "c"])
    with pytest.raises(DataError, match=r"1 patients are in more than one split: a \(train and test\)"):
        splits.check_disjoint(data, {"train": [0, 1], "validation": [3], "test": [2]})


def test_names_round_trip_through_json():
    data = records(range(10))
    found = splits.by_patient(data, seed=4)
    back = splits.from_names(data[::-1], json.loads(json.dumps(splits.to_names(data, found))))
    for name in splits.NAMES:
        assert sorted(9 - back[name]) == found[name].tolist()
    with pytest.raises(DataError, match=r"1 images of the split are not in the data: 0000.png"):
        splits.from_names(data[1:], {"train": [r.name for r in data]})


def test_lists_on_disk(tmp_path):
    (tmp_path / "list.txt").write_text("a.png\r\n\n b.png\n")
    assert splits.read_names(tmp_path / "list.txt") == ["a.png", "b.png"]
    (tmp_path / "empty.txt").write_text("\n")
    for name, cause in (("empty.txt", "empty"), ("absent.txt", "cannot be read")):
        with pytest.raises(DataError, match=cause):
            splits.read_names(tmp_path / name)


def test_counts_are_exact():
    data = records([i // 4 for i in range(13 * 4)])
    found = splits.by_patient(data, counts=(9, 1, 3), seed=2)
    assert [len({data[i].patient for i in found[name]}) for name in splits.NAMES] == [9, 1, 3]
    splits.check_disjoint(data, found)
    with pytest.raises(DataError, match=r"add to the 13 patients, not 9 \+ 1 \+ 4"):
        splits.by_patient(data, counts=(9, 1, 4))
    with pytest.raises(DataError, match="three numbers"):
        splits.by_patient(data, counts=(14, -1, 0))


@settings(max_examples=40, deadline=None)
@given(patients=st.integers(4, 30), folds=st.integers(3, 6), seed=st.integers(0, 99))
def test_over_all_folds_everybody_is_tested_once(patients, folds, seed):
    data = records([i // 2 for i in range(2 * patients)])
    folds = min(folds, patients)
    found = [splits.by_fold(data, k, folds=folds, seed=seed) for k in range(folds)]
    assert sorted(np.concatenate([f["test"] for f in found]).tolist()) == list(range(2 * patients))
    for fold in found:
        splits.check_disjoint(data, fold)
        assert sorted(np.concatenate(list(fold.values())).tolist()) == list(range(2 * patients))
        assert all(len(fold[name]) for name in splits.NAMES)
    sizes = [len(f["test"]) for f in found]
    assert max(sizes) - min(sizes) <= 2


def test_folds_that_cannot_be():
    data = records(range(13))
    one = splits.by_fold(data, 1, folds=4, validation=1)
    assert [len(one[name]) for name in splits.NAMES] == [9, 1, 3]
    for fold, folds in ((0, 14), (0, 2), (4, 4), (-1, 4)):
        with pytest.raises(DataError, match="fold"):
            splits.by_fold(data, fold, folds=folds)
    assert len(splits.by_fold(data, 0, folds=2, validation=2)["train"]) == 4
