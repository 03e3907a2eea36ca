"""Two pools of different patients: PadChest by exposure, folders, phantoms by dose, one set dealt; balance and splits."""

from __future__ import annotations

import csv
import gzip
import json

import numpy as np
import pytest
from PIL import Image

from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.build import pooling
from medjax.data import pool_balance, pools, splits
from medjax.data.degrade import Degradation
from medjax.data.padchest import padchest, parse_labels
from medjax.data.records import Record, Source
from medjax.types import ConfigError, DataError

HEADER = ("", "ImageID", "StudyDate_DICOM", "PatientID", "PatientBirth", "PatientSex_DICOM", "Projection",
          "PhotometricInterpretation_DICOM", "RelativeXRayExposure_DICOM", "Labels")  # fmt: skip


def square(path, value, size=40):
    """A bright square on black, in 16 bits."""
    image = np.zeros((size, size), np.uint16)
    image[8:-8, 8:-8] = value
    Image.fromarray(image).save(path)


@pytest.fixture
def chest(tmp_path):
    """`make(rows, zipped)`: PadChest's table with rows (patient, exposure, labels[, projection]) and a file for each."""

    def make(rows, *, zipped=False, columns=HEADER):
        (tmp_path / "0").mkdir(exist_ok=True)
        lines = [columns]
        for i, (patient, exposure, labels, *projection) in enumerate(rows):
            name = f"{i:03d}.png"
            square(tmp_path / "0" / name, 1000 * (i + 1))
            values = (str(i), name, "20140915", patient, "1950.0", "F", *(projection or ["PA"]), "MONOCHROME2", exposure, labels)
            lines.append(tuple(v for h, v in zip(HEADER, values, strict=True) if h in columns))
        name = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
        with gzip.open(tmp_path / f"{name}.gz", "wt") if zipped else open(tmp_path / name, "w", newline="") as file:
            csv.writer(file).writerows(lines)
        return tmp_path

    return make


ROWS = [
    ("p0", "-3.0", "['normal']"),
    ("p1", "-2.0", "['COPD signs', 'kyphosis']"),
    ("p2", "-5.5", "['COPD signs']", "AP"),
    ("p3", "0.0", "['normal']"),
    ("p4", "0.05", "['normal', \"Chilaiditi's sign\"]"),
    ("p5", "None", "['normal']"),
    ("p6", "-0.5", ""),
    ("p7", "-4.0", "['normal']", "L"),
]


@pytest.mark.parametrize("zipped", [False, True])
def test_padchest_as_distributed(chest, zipped):
    source = padchest(chest(ROWS, zipped=zipped))
    told = {r.name: (r.patient, r.extra["pool"], r.labels, r.view) for r in source.records}
    assert told == {
        "000.png": ("p0", "low", ("normal",), "PA"),
        "001.png": ("p1", "low", ("COPD signs", "kyphosis"), "PA"),
        "002.png": ("p2", "low", ("COPD signs",), "AP"),
        "003.png": ("p3", "high", ("normal",), "PA"),
        "004.png": ("p4", "high", ("normal", "Chilaiditi's sign"), "PA"),
    }
    assert source.records[0].age == 64 and source.records[0].sex == "F" and source.label_names[:2] == ("normal", "COPD signs")
    assert "low 3 images of 3 patients, -5.5 to -2" in source.notes[-1] and "high 2 images" in source.notes[-1]
    assert source.load(2)["target"].max() == pytest.approx(3000 / 65535) and source.load(2)["target"].shape == (40, 40, 1)


def test_padchest_limits_and_the_whole_table(chest):
    root = chest(ROWS)
    few = padchest(root, low_limit=2, high_limit=1)
    assert few.names == ["000.png", "002.png", "003.png"], "the lowest exposures, and the nearest to zero"
    assert padchest(root, low_limit=2, pick="drawn", seed=1).names == padchest(root, low_limit=2, pick="drawn", seed=1).names
    each = padchest(root, pooled=False, views=None, class_limit=2, seed=3)
    told = [sorted({"normal", "COPD signs"} & set(r.labels)) for r in each.records]
    assert sorted(map(str, told)) == ["['COPD signs']"] * 2 + ["['normal']"] * 2
    assert each.names == padchest(root, pooled=False, views=None, class_limit=2, seed=3).names
    every = padchest(root, pooled=False, views=None)
    assert len(every) == 8 and not pools.pooled(every) and every.records[6].labels == ()
    assert [r.extra.get("exposure") for r in every.records][4:6] == ["0.05", None]


def test_padchest_as_a_labelled_data_set(chest, monkeypatch):
    """Normal against COPD by the machinery of any classifier."""
    overrides = ["data.source=padchest", f"data.root={chest(ROWS)}", "data.padchest.pooled=False", "data.label_mode=any"]
    config = configs.get("classifier_cxr:tiny", [*overrides, "data.classes=('normal','COPD signs')"])
    source, _ = build_data.open_source(config)
    assert [r.labels[0] for r in source.records] == ["normal", "COPD signs", "COPD signs", *["normal"] * 3]


@pytest.mark.parametrize(
    ("options", "rows", "message"),
    [
        (
            {"low_exposure": (-100.0, -9.0)},
            ROWS,
            r"no image has RelativeXRayExposure_DICOM from -100 to -9; it is from -5.5 to 0.05 in 6",
        ),
        ({"high_exposure": (0.5, 1.0)}, ROWS, "from 0.5 to 1; it is from -5.5 to 0.05 in 6 images"),
        ({}, [*ROWS, ("p0", "0.0", "[]")], "1 patients of padchest are in both pools, low and high: p0"),
        ({}, [*ROWS, ("p9", "0.0", "__import__('os')")], "the Labels of 008.png are no list of quoted words"),
        ({}, [*ROWS, ("p9", "0.0", "['a' 'b']")], "008.png are no list"),
        ({"low_exposure": (-2.0, 0.0)}, ROWS, "overlap"),
        ({"shared": "both"}, ROWS, "shared must be one of error, low, high"),
    ],
)
def test_padchest_bad_input(chest, options, rows, message):
    with pytest.raises((DataError, ConfigError), match=message):
        padchest(chest(rows), **options)


def test_padchest_without_a_table_or_a_column(chest, tmp_path):
    with pytest.raises(DataError, match="has no table PADCHEST"):
        padchest(tmp_path)
    with pytest.raises(DataError, match="has no column 'RelativeXRayExposure_DICOM'"):
        padchest(chest(ROWS, columns=tuple(h for h in HEADER if not h.startswith("Relative"))))


def test_one_pool_may_keep_the_patients_of_both(chest):
    root = chest([*ROWS, ("p0", "0.0", "[]")])
    for keeps, pool in (("low", "low"), ("high", "high")):
        source = padchest(root, shared=keeps)
        assert {r.extra["pool"] for r in source.records if r.patient == "p0"} == {pool}


def test_labels_are_parsed_and_never_evaluated():
    assert parse_labels(""" ['a', "b's", ' c\\'d ', '', 'a'] """) == ("a", "b's", "c'd")
    assert parse_labels("nan") == parse_labels("[]") == parse_labels("") == ()
    for text in ("normal", "['a'", "['a',]", "[a]", "['a'] + ['b']", "['a', 1]"):
        with pytest.raises(ValueError):
            parse_labels(text)


@pytest.fixture
def two_folders(tmp_path):
    for pool, count in (("low", 6), ("high", 9)):
        (tmp_path / pool).mkdir()
        for i in range(count):
            square(tmp_path / pool / f"{pool}{i}_x.png", 6000 * (i + 1))
    return tmp_path


def test_two_folders(two_folders):
    source = pools.folders(two_folders, patient_pattern=r"([a-z]+\d)_")
    assert len(source) == 15 and source.kind == "pools" and source.names[0] == "low/low0_x.png"
    assert len(pools.in_pool(source, range(15), "low")) == 6 and source.records[-1].patient == "high8"
    square(two_folders / "high" / "low3_y.png", 9)
    with pytest.raises(DataError, match="1 patients of pools are in both pools, low and high: low3"):
        pools.folders(two_folders, patient_pattern=r"([a-z]+\d)_")
    with pytest.raises(DataError, match="low is absent"):
        pools.folders(two_folders / "high")


def test_batches_of_both_pools(two_folders):
    """A pure function of seed and position; pools of unlike size go round by themselves; partners change with the epoch."""
    sizes = ("data.image_size=32", "data.load_size=32", "data.crop_size=32", "data.flip=False")
    config = configs.get("led_cyclegan:tiny", ["data.source=pools", f"data.root={two_folders}", *sizes, "data.batch_size=1"])
    data = build_data.open_data(config)
    assert all(len(pools.in_pool(data.source, own, p)) for own in data.splits.values() for p in ("low", "high"))
    batches = build_data.train_batches(config, data)
    found = [batch for batch, _ in zip(batches(0), range(16), strict=False)]
    again = next(batches(5))
    assert all(np.array_equal(again[k], found[5][k]) for k in ("a", "b", "index")) and set(again) == {"a", "b", "index"}
    low = pools.in_pool(data.source, data.splits["train"], "low")
    assert {int(b["index"][0]) for b in found[: len(low)]} == set(low), "an epoch shows every image"
    partners = {(int(b["index"][0]), float(b["b"].max())) for b in found}
    assert len(partners) > len(low), "an image meets others"
    shown = list(build_data.eval_batches(config, data, "train", batch_size=2))
    assert sum(int(b["mask"].sum()) for b in shown) == len(low)
    assert sum(int(b["high"].sum()) for b in shown) == len(data.splits["train"]) - len(low)


def test_phantoms_by_dose_know_their_truth():
    source = pools.phantom_pools(6, size=32, dose=1e-3, seed=3)
    low, high = (pools.in_pool(source, range(6), pool) for pool in ("low", "high"))
    assert len(low) == len(high) == 3 and pools.truth_known(source)
    images = source.load(int(low[0]))
    noise = np.std(images["source"] - images["target"])
    assert 0.002 < noise < 0.3 and set(source.load(int(high[0]))) == {"target"}
    blurred = pools.degraded(source, Degradation(steps=("gaussian_blur",)), size=32)
    again = blurred.load(int(low[0]))
    np.testing.assert_array_equal(again["target"], images["target"])
    assert np.std(again["source"] - images["target"]) != noise and again["source"].shape == (32, 32, 1)


def test_one_set_dealt_and_degraded_once_and_for_all(two_folders):
    """The low images are the same in every epoch, as images that were taken so are; their truth is what they were."""
    overrides = [f"data.root={two_folders / 'high'}", "data.source=unpaired", "data.image_size=32", "data.load_size=32"]
    overrides += ["data.unpaired.low=folder", "data.unpaired.high=folder", "data.degradation.steps=('low_dose',)"]
    config = configs.get("led_cyclegan:tiny", [*overrides, "data.split=(0.4,0.3,0.3)", "data.unpaired.low_share=0.4"])
    source, _ = build_data.open_source(config)
    assert source.kind == "unpaired" and pools.truth_known(source)
    low = int(pools.in_pool(source, range(9), "low")[0])
    first, second = source.load(low), source.load(low)
    np.testing.assert_array_equal(first["source"], second["source"])
    assert (first["source"] != first["target"]).any()
    config.data.degradation.steps = ()
    with pytest.raises(ConfigError, match="both pools are of folder"):
        build_data.open_source(config)


def test_real_radiographs_of_two_hospitals(real_data, monkeypatch):
    """Actualmed as it comes against NIH as it comes; the truth is not known."""
    config = configs.get(
        "led_cyclegan:tiny", ["data.source=unpaired", "data.unpaired.low=actualmed", "data.unpaired.high=nih_cxr14"]
    )
    source, _ = build_data.open_source(config)
    assert {name: len(pools.in_pool(source, range(len(source)), name)) for name in ("low", "high")} == {"low": 34, "high": 240}
    assert not pools.truth_known(source)


def test_balance_is_that_of_the_formulas():
    rng = np.random.default_rng(0)
    low = {"grey": rng.normal(0.4, 0.1, 400), "body": rng.normal(0.6, 0.1, 400)}
    high = {"grey": rng.normal(0.5, 0.2, 300), "body": rng.normal(0.6, 0.1, 300)}
    found = pool_balance.compare(low, high)
    apart = (low["grey"].mean() - high["grey"].mean()) / np.sqrt((low["grey"].var(ddof=1) + high["grey"].var(ddof=1)) / 2)
    assert found["grey"]["smd"] == pytest.approx(apart) and abs(found["body"]["smd"]) < 0.2
    both = np.sort(np.concatenate([low["grey"], high["grey"]]))
    share = lambda x: np.searchsorted(np.sort(x), both, side="right") / len(x)
    assert found["grey"]["ks"] == pytest.approx(np.abs(share(low["grey"]) - share(high["grey"])).max())
    assert found["grey"]["p_value"] < 1e-3 and found["grey"]["low"]["n"] == 400
    kept = pool_balance.matched(low, high, by=("grey", "body"), bins=5, seed=1)
    assert len(kept[0]) == len(kept[1]) > 100
    after = pool_balance.compare(*({n: v[k] for n, v in side.items()} for side, k in zip((low, high), kept, strict=True)))
    assert abs(after["grey"]["smd"]) < 0.15 and after["grey"]["ks"] < found["grey"]["ks"] / 2
    with pytest.raises(ConfigError, match="nothing in common"):
        pool_balance.matched({"grey": np.zeros(5)}, {"grey": np.ones(5)}, by=("grey",), bins=2)


def test_the_body_is_measured_without_its_lungs_cut_out():
    image = np.full((64, 64, 1), 0.02, np.float32)
    image[10:60, 8:56] = 0.8
    image[20:45, 14:28] = image[20:45, 36:50] = 0.1  # lungs
    assert pool_balance.body_share(image) == pytest.approx(50 * 48 / 64**2, abs=0.02)
    assert pool_balance.body_share(np.full((64, 64, 1), 0.5, np.float32)) == 0


def test_matching_a_run_is_counted_and_told(two_folders):
    overrides = ["data.source=pools", f"data.root={two_folders}", "data.match=('grey',)"]
    config = configs.get("led_cyclegan:tiny", overrides)
    data = build_data.open_data(config)
    found = pooling.balanced(config, data)
    counts = found.facts["pools"]["counts"]["train"]
    assert counts["low"] == counts["high"] <= 3 and len(found.splits["train"]) == 2 * counts["low"]
    assert any(note.startswith("pools matched by grey") for note in found.source.notes)
    assert sum(note.startswith("balance of the pools") for note in found.source.notes) == 2, "before and after"


# ------------------------------------------------------------------------------------------- one split for all stages


def plain(patients):
    records = tuple(Record(f"{p}.png", p) for p in patients)
    return Source("plain", records, lambda i: {})


def test_one_split_file_serves_all_stages(tmp_path):
    """Sets that overlap are dealt together, and each finds its patients on the same side."""
    first, second = plain("abcdefghij"), plain("efghijklmnop")
    opened = iter([(first, ""), (second, "")])
    config = configs.get("led_cyclegan:tiny")
    path = tmp_path / "splits.json"
    counts = pooling.share_split([config, config], path, lambda c: next(opened))
    assert sum(counts.values()) == 16
    found = [splits.by_file(s.records, path) for s in (first, second)]
    side = [{s.records[i].patient: n for n, own in f.items() for i in own} for s, f in zip((first, second), found, strict=True)]
    assert all(side[1][p] == where for p, where in side[0].items() if p in side[1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"patients": {"train": ["a", "b"], "validation": ["b"], "test": ["c"]}},
            r"1 patients are in more than one split: b \(train",
        ),
        ({"patients": {"train": ["a"], "validation": ["b"], "test": []}}, "1 patients are in no split of .*: c"),
        ({"train": ["a"]}, "is no split file"),
        (None, "is absent; write it with medjax split"),
    ],
)
def test_split_files_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / "splits.json"
    if content is not None:
        path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        splits.by_file(plain("abc").records, path)


def test_pools_and_methods_belong_together(two_folders):
    from medjax.build import training

    config = configs.get("restorer_cxr:tiny", ["data.source=pools", f"data.root={two_folders}"])
    with pytest.raises(ConfigError, match="holds two pools .* supervised cannot learn from that: take cyclegan"):
        training.train(config, two_folders / "run", say=lambda text: None)
    config = configs.get("led_cyclegan:tiny", ["data.source=folder", f"data.root={two_folders / 'low'}"])
    with pytest.raises(ConfigError, match="no pools of low and of high quality, and cyclegan cannot learn"):
        training.train(config, two_folders / "run", say=lambda text: None)
