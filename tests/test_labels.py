"""Labels on their way to a batch: which images are kept, what is said of the others, what is refused; columns and CLAHE."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import exposure
from test_sources import COLUMNS, picture, table

from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.data import labels, sources
from medjax.data.records import Record, Source
from medjax.types import ConfigError, DataError

ROWS = [  # name, labels, patient, age, sex, view
    ("0.png", "No Finding", "1", "50", "M", "PA"),
    ("1.png", "Mass", "2", "40", "F", "AP"),
    ("2.png", "Mass|Nodule", "3", "", "F", "AP"),
    ("3.png", "Mass|Pneumonia", "4", "60", "M", ""),
    ("4.png", "Pneumonia", "5", "30", "", "PA"),
    ("5.png", "Hernia", "6", "20", "F", "PA"),
    ("6.png", "Nodule|Pneumonia", "7", "10", "M", "AP"),
]
CLASSES = ("No Finding", "Pneumonia", "Mass")


@pytest.fixture
def source():
    records = [
        Record(name, patient, labels=tuple(found.split("|")), age=float(age) if age else None, sex=sex, view=view)
        for name, found, patient, age, sex, view in ROWS
    ]
    image = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64, 1) ** 3
    return Source("nih_cxr14", tuple(records), lambda i: {"target": image + np.float32(i) * 0}, sources.NIH_LABELS)


def test_images_of_one_class_alone_are_kept(source):
    found = labels.select(source, classes=CLASSES)
    assert found.names == ["0.png", "1.png", "4.png"] and found.label_names == CLASSES
    assert [r.labels for r in found.records] == [("No Finding",), ("Mass",), ("Pneumonia",)]
    said = " / ".join(found.notes)
    assert "1 images show two of the classes or more and were left out: 3.png" in said
    assert "2 images have other labels beside their class" in said and "2.png, 6.png" in said
    assert "1 images have none of the classes" in said


def test_any_keeps_images_with_other_labels_but_not_with_two_classes(source):
    found = labels.select(source, classes=CLASSES, mode="any")
    assert found.names == ["0.png", "1.png", "2.png", "4.png", "6.png"]
    assert found.records[2].labels == ("Mass",) and found.column(labels.FINDINGS)[2] == "Mass|Nodule"
    assert "left out: 3.png" in " ".join(found.notes) and "beside their class" not in " ".join(found.notes)


def test_several_labels_keep_every_image(source):
    found = labels.select(source, labels="multi", classes=("Mass", "Pneumonia"))
    assert [r.labels for r in found.records] == [
        (),
        ("Mass",),
        ("Mass",),
        ("Mass", "Pneumonia"),
        ("Pneumonia",),
        (),
        ("Pneumonia",),
    ]


def test_without_classes_the_sources_own(source):
    assert labels.select(source, mode="any").label_names == sources.NIH_LABELS


@pytest.mark.parametrize(
    "options, error, told",
    [
        ({"classes": ("Mass", "Pneumonie")}, ConfigError, "knows no label 'Pneumonie'; it knows No Finding, Atelectasis"),
        ({"classes": ("Mass", "Mass")}, ConfigError, "name one twice"),
        ({"classes": CLASSES, "mode": "some"}, ConfigError, "label_mode must be one of single, any, not 'some'"),
        ({"classes": CLASSES, "labels": "several"}, ConfigError, "labels must be one of none, single, multi"),
        ({"classes": CLASSES, "columns": ("weight",)}, ConfigError, "no column 'weight' to learn from; there are age, sex, view"),
        ({"classes": ("Edema", "Fibrosis")}, DataError, "7 images have none of the classes Edema, Fibrosis"),
    ],
)
def test_what_cannot_be_selected(source, options, error, told):
    with pytest.raises(error, match=told):
        labels.select(source, **options)


def test_columns_and_images_of_which_they_are_not_known(source):
    found = labels.select(source, classes=CLASSES, mode="any", columns=("age", "sex", "view"))
    assert found.names == ["0.png", "1.png", "6.png"]
    assert any(note == "1 images were left out because their age is not known" for note in found.notes)
    assert any(note == "1 images were left out because their sex is not known" for note in found.notes)
    columns = labels.columns_of(found, ("age", "sex", "view"))
    np.testing.assert_allclose(columns["age"], [0.5, 0.4, 0.1])
    assert columns["sex"].tolist() == [1, 0, 1] and columns["view"].tolist() == [1, 0, 0]
    assert columns["age"].dtype == np.float32 and columns["sex"].dtype == columns["view"].dtype == np.int32
    with pytest.raises(DataError, match=r"the age of 2\.png is not known"):
        labels.columns_of(source, ("age",))
    assert labels.select(source, labels="none", columns=("view",)).label_names == sources.NIH_LABELS


def test_counts_and_classes_of_too_few(source):
    found = labels.select(source, labels="multi", classes=CLASSES)
    counts = labels.counts(found, {"train": [0, 1, 3], "test": [2, 4]})
    assert counts == {"train": {"No Finding": 1, "Pneumonia": 1, "Mass": 2}, "test": {"No Finding": 0, "Pneumonia": 1, "Mass": 1}}
    labels.check_counts(counts, least=1)
    with pytest.raises(DataError, match="class 'No Finding' has 1 images to train on, fewer than the 2 .* Mass 2"):
        labels.check_counts(counts, least=2)
    with pytest.raises(DataError, match="has 0 images"):
        labels.check_counts({"train": {"Mass": 0}}, least=0)
    assert (
        labels.told(counts)
        == "images of each class; train: No Finding 1, Pneumonia 1, Mass 2; test: No Finding 0, Pneumonia 1, Mass 1"
    )


def test_clahe_changes_what_is_trained_on_and_nothing_else(source):
    found = labels.equalised(source, clip=0.02, tiles=4)
    before, after = source.load(1)["target"], found.load(1)["target"]
    expected = exposure.equalize_adapthist(before[..., 0], kernel_size=[16, 16], clip_limit=0.02)
    np.testing.assert_allclose(after[..., 0], expected, atol=1e-6)
    assert after.dtype == np.float32 and after.shape == before.shape and np.abs(after - before).max() > 0.1
    for options in ({"clip": 0.0}, {"clip": 1.5}, {"clip": 0.1, "tiles": 0}):
        with pytest.raises(ConfigError, match="clahe.clip lies above 0"):
            labels.equalised(source, **options)


# ------------------------------------------------------------------------------------------------ from a config


@pytest.fixture
def synthetic(tmp_path):
    """A folder as a synthesis leaves it: NIH's columns, labels and views of its own."""
    rows = []
    for i in range(24):
        label, view = ("Mass", "COPD", "No Finding")[i % 3], ("AP", "", "PA")[i % 3]
        rows.append([f"synthetic_{i:03d}.png", label, f"synthetic_{i:03d}", "", "", view])
        picture(tmp_path / "images" / rows[-1][0], (40, 40), value=10 * i)
    table(tmp_path / "labels.csv", ["Image Index", "Finding Labels", "Patient ID", *COLUMNS[4:]], rows)
    return tmp_path


def config(root, *overrides):
    shared = ("data.source=nih_cxr14", f"data.root={root}", "data.split=(0.5,0.25,0.25)")
    return configs.get("classifier_cxr:tiny", [*shared, *overrides])


def test_a_folder_of_synthetic_images_is_a_data_set(synthetic):
    chosen = config(synthetic, "data.classes=('COPD','Mass')", "data.balance=none")
    data = build_data.open_data(chosen)
    assert len(data.source) == 16 and data.facts["classes"] == ["COPD", "Mass"]
    assert data.facts["class_counts"]["train"]["COPD"] + data.facts["class_counts"]["train"]["Mass"] == 8
    assert any(note.startswith("images of each class; train: COPD") for note in data.source.notes)
    assert any("8 images have none of the classes COPD, Mass" in note for note in data.source.notes)
    batch = next(build_data.train_batches(chosen, data)(0))
    names = [data.source.records[i].labels[0] for i in batch["index"]]
    assert batch["label"].dtype == np.int32 and [("COPD", "Mass")[k] for k in batch["label"]] == names
    grey = [int(data.source.names[i].split("_")[1][:3]) * 10 / 255 * 2 - 1 for i in batch["index"]]
    np.testing.assert_allclose(batch["target"].mean((1, 2, 3)), grey, atol=0.02)


@pytest.mark.parametrize(
    "overrides, error, told",
    [
        (
            ["data.classes=('Mass','No Finding')"],
            DataError,
            r"labels\.csv: synthetic_001\.png has the label 'COPD'.*data.classes",
        ),
        (["data.classes=('COPD','Mas')"], ConfigError, "knows no label 'Mas'; it knows No Finding, .*COPD"),
        (
            ["data.classes=('COPD','Mass')", "data.nih_cxr14.labels=('Mass','No Finding')"],
            ConfigError,
            "nih_cxr14.labels leaves out 'COPD', which config.data.classes asks for: Mass, No Finding against COPD, Mass",
        ),
        (["data.classes=('COPD','Mass')", "data.min_per_class=9"], DataError, "to train on, fewer than the 9"),
        (["data.classes=('COPD','Mass')", "data.columns=('age',)"], DataError, "16 images were left out because their age"),
    ],
)
def test_a_folder_that_does_not_fit_the_config(synthetic, overrides, error, told):
    with pytest.raises(error, match=told):
        build_data.open_data(config(synthetic, *overrides))


def test_one_finding_alone_is_a_list_of_one(tmp_path):
    """And not the word, whose letters would be taken for findings."""
    source, _ = build_data.open_source(config(tmp_path, "data.source=phantom_cxr", "data.phantom_cxr.findings=('Mass',)"))
    assert {record.labels for record in source.records} == {("Mass",)} and len(source) == 24


def test_balancing_says_how_often_images_come(synthetic):
    chosen = config(synthetic, "data.classes=('COPD','Mass')", "data.split_seed=1")
    data = build_data.open_data(chosen)
    counts, factors = data.facts["class_counts"]["train"], data.facts["duplication"]
    assert counts["COPD"] != counts["Mass"], "another seed of the split is needed for this test"
    assert {name: factor * counts[name] for name, factor in factors.items()} == dict.fromkeys(counts, max(counts.values()))
    assert any("balanced by class" in note for note in data.source.notes)


def test_clahe_is_for_training_alone_and_said(synthetic):
    chosen = config(synthetic, "data.classes=('COPD','Mass')", "data.clahe.clip=0.05", "data.phantom_cxr.count=24")
    chosen.data.update(source="phantom_cxr", classes=("No Finding", "Mass", "Pneumonia"), flip=False, load_size=32)
    data = build_data.open_data(chosen)
    assert any("training images are equalised: CLAHE" in note and "are not" in note for note in data.source.notes)
    batch = next(build_data.train_batches(chosen, data)(0))
    judged = next(iter(build_data.eval_batches(chosen, data, "train", batch_size=12)))
    of = {int(i): image for i, image in zip(judged["index"], judged["target"], strict=True)}
    plain = data.source.load(int(batch["index"][0]))["target"] * 2 - 1
    np.testing.assert_allclose(of[int(batch["index"][0])], plain, atol=1e-6)
    assert np.abs(batch["target"][0] - plain).max() > 0.2


def test_the_real_set_by_its_labels(real_data):
    """120 without finding; 25 of the 120 with pneumonia have nothing else."""
    alone = build_data.open_data(configs.get("classifier_cxr:small_nih", ["data.label_mode=single", "data.min_per_class=2"]))
    beside = build_data.open_data(configs.get("classifier_cxr:small_nih"))
    total = lambda data, name: sum(each[name] for each in data.facts["class_counts"].values())  # noqa: E731
    assert (total(alone, "No Finding"), total(alone, "Pneumonia")) == (120, 25)
    assert (total(beside, "No Finding"), total(beside, "Pneumonia")) == (120, 120)
