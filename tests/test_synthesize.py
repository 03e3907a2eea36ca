"""Synthetic images: what is kept and what is refused, the folder as a data set, and the command from a run to a classifier."""

from __future__ import annotations

import csv
import json
import re
import shutil

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from PIL import Image
from scipy import stats

from medjax import formats, synthesize, synthetic
from medjax.build import conditions, evaluation, generation, generator, judging, synthesis, trained
from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.cli import main
from medjax.data.tables import nih_cxr14
from medjax.metrics import discrimination, markdown_sets
from medjax.rng import named
from medjax.types import CheckpointError, ConfigError, DataError, MedjaxError, NonFiniteError

pytestmark = pytest.mark.usefixtures("quick_compile")

GREY = {"Mass": 0, "No Finding": 1}


def generate(label, numbers):
    """Each image of one level, that of its label and number: its bytes are 100 * place + number."""
    level = (100 * GREY[label] + numbers) / 255
    return np.ones((len(numbers), 8, 6, 1), np.float32) * (2 * level - 1)[:, None, None, None].astype(np.float32)


def judge(label, numbers, images):
    """0, 0.35, 0.7, 0.05, ... : the twentieths in another order."""
    return (numbers * 7 % 20) / 20


def run(folder, labels=("Mass",), **options):
    options = {"count": 3, "seed": 5, "batch_size": 4, "progress": False, **options}
    return synthesize.synthesize(options.pop("generate", generate), labels, folder, **options)


def numbers_of(outcome):
    return [int(row["Patient ID"].rsplit("_", 1)[1]) for row in outcome.rows]


# ------------------------------------------------------------------------------------------------ the folder


def test_the_folder_is_a_data_set_that_says_it_is_synthetic(tmp_path):
    outcome = run(
        tmp_path / "out",
        ("Mass", "No Finding"),
        describe=lambda label, number: {"Patient Age": str(40 + number), "View Position": "PA"},
        told="run x",
        provenance=lambda outcome: {"images": len(outcome.rows)},
    )
    names = [f"synthetic_{label}_5_0000{i}.png" for label in ("Mass", "No_Finding") for i in range(3)]
    there = {p.name for p in (tmp_path / "out").iterdir()}
    assert there == {*names, "contact_sheet.png", "labels.csv", "provenance.json"}
    with open(tmp_path / "out" / "labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == ("Image Index", "Finding Labels", "Patient ID", "Patient Age", "Patient Gender", "View Position")
    assert [row["Image Index"] for row in rows] == names
    assert [row["Finding Labels"] for row in rows] == ["Mass"] * 3 + ["No Finding"] * 3
    assert len({row["Patient ID"] for row in rows}) == 6 and all(row["Patient ID"].startswith("synthetic") for row in rows)
    source = nih_cxr14(tmp_path / "out")
    assert source.names == names and source.records[4].labels == ("No Finding",)
    assert source.records[1].age == 41 and source.records[1].view == "PA" and source.records[1].sex == ""
    np.testing.assert_array_equal(np.rint(source.load(4)["target"] * 255), np.full((8, 6, 1), 101))
    with Image.open(tmp_path / "out" / names[3]) as image:
        assert image.mode == "L" and image.text["Title"] == "synthetic image: No Finding"
        assert image.text["Description"] == "synthetic: made by a computer, of no patient; run x"
    assert json.loads((tmp_path / "out" / "provenance.json").read_text()) == {"images": 6}
    assert {"generator", "writing", "kept"} == set(outcome.ms_per_image()) and outcome.images == {"generator": 8, "writing": 6}


def test_labels_that_are_no_file_names_keep_names_of_their_own():
    labels = ("No Finding", "A/B", "A:B", "A B", "", "unlabelled/")
    names = [synthetic.name_of(label, 0, 1) for label in labels]
    assert len(set(names)) == len(labels) and names[0] == "synthetic_No_Finding_0_00001" and names[3] == "synthetic_A_B_0_00001"


def test_the_contact_sheet_has_a_row_for_each_label(tmp_path):
    run(tmp_path / "out", ("Mass", "No Finding"), count=12)
    sheet = np.asarray(Image.open(tmp_path / "out" / "contact_sheet.png"))
    assert sheet.shape[1] > 8 * 192 and sheet.shape[1] < 9 * 192  # eight columns at the smallest side of a sheet
    middle = len(sheet) // 2
    for label, half in (("Mass", sheet[:middle]), ("No Finding", sheet[middle:])):
        for number in range(8):
            assert np.sum(half == 100 * GREY[label] + number) >= 144 * 190, (label, number)


def test_enlarged_images_are_written_large(tmp_path):
    outcome = run(tmp_path / "out", enlarge=lambda images: images.repeat(2, 1).repeat(2, 2))
    assert formats.image_size(tmp_path / "out" / "synthetic_Mass_5_00002.png") == (16, 12)
    assert outcome.images["enlargement"] == 3
    with pytest.raises(NonFiniteError, match="an enlarged image is not finite"):
        run(tmp_path / "nan", enlarge=lambda images: images * np.nan)


# ------------------------------------------------------------------------------------------------ the threshold


def test_the_first_images_that_pass_are_kept(tmp_path):
    outcome = run(tmp_path / "out", judge=judge, threshold=0.6, count=5)
    passing = [n for n in range(40) if n * 7 % 20 >= 12]
    assert numbers_of(outcome) == passing[:5]
    tally = outcome.tallies["Mass"]
    assert tally.kept == 5 and tally.tried == 4 * -(-(passing[4] + 1) // 4)  # whole batches are counted
    seen = [n for n in passing if n < tally.tried]
    assert tally.passed(0.6)["count"] == len(seen) and tally.passed(0.6)["rate"] == len(seen) / tally.tried
    assert numbers_of(run(tmp_path / "fewer", judge=judge, threshold=0.6, count=2)) == passing[:2]
    assert numbers_of(run(tmp_path / "other", judge=judge, threshold=0.6, count=5, batch_size=7)) == passing[:5]


def test_without_a_threshold_nobody_is_asked(tmp_path):
    outcome = run(tmp_path / "out", judge=lambda *a: 1 / 0)
    assert numbers_of(outcome) == [0, 1, 2] and outcome.tallies["Mass"].every.size == 0
    with pytest.raises(ConfigError, match="a threshold needs a discriminator"):
        run(tmp_path / "two", threshold=0.5)


def test_a_count_out_of_reach_is_told_with_what_would_do(tmp_path):
    tried = []

    def never(label, numbers, images):
        tried.append(numbers)
        return 0.3 + 0.0001 * (numbers % 100)

    with pytest.raises(ConfigError) as error:
        run(tmp_path / "out", judge=never, threshold=0.9, count=100, batch_size=100)
    told = str(error.value)
    assert "passed the threshold 0.9 (pass rate 0.0%" in told and "so 100 are out of reach within 5000 tries" in told
    assert "11.1% is the most that an optimal discriminator can let pass" in told
    assert max(map(np.max, tried)) < 999  # given up long before the 5,000 tries
    assert not (tmp_path / "out").exists() and not list(tmp_path.iterdir())
    enough = float(told.partition("a threshold of ")[2].split()[0])
    assert len(run(tmp_path / "out", judge=never, threshold=enough, count=100, batch_size=100).rows) == 100


def test_tries_are_bounded(tmp_path):
    with pytest.raises(ConfigError, match=r"5 of 16 images of Mass passed the threshold 0\.6 .* so 7 are out of reach within 16"):
        run(tmp_path / "out", judge=judge, threshold=0.6, count=7, max_tries=16)
    outcome = run(tmp_path / "out", judge=judge, threshold=0.6, count=5, max_tries=16)
    assert outcome.tallies["Mass"].tried <= 16 and len(outcome.rows) == 5


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"count": 0}, "the count of images is at least 1, not 0"),
        ({"count": -3}, "not -3"),
        ({"threshold": 1.0}, "to below 1, not 1.0"),
        ({"threshold": -0.1}, "not -0.1"),
        ({"threshold": float("nan")}, "not nan"),
        ({"max_tries": 2}, "3 images cannot come of 2 tries"),
    ],
)
def test_numbers_out_of_range(tmp_path, options, told):
    with pytest.raises(ConfigError, match=told):
        run(tmp_path / "out", judge=judge, **options)
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_replaced_only_when_asked_and_only_by_the_whole(tmp_path):
    folder = tmp_path / "out"
    run(folder)
    with pytest.raises(ConfigError, match="exists and is not empty"):
        run(folder)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    broken = lambda label, numbers: generate(label, numbers) * np.where(numbers == 6, np.nan, 1)[:, None, None, None]  # noqa: E731
    with pytest.raises(NonFiniteError, match="image 6 of Mass is not finite"):
        run(folder, generate=broken, count=7, overwrite=True)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    run(folder, count=1, overwrite=True)
    assert len(list(folder.glob("synthetic*.png"))) == 1 and [p.name for p in tmp_path.iterdir()] == ["out"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(ConfigError, match="it has no provenance.json"):
        run(tmp_path / "mine", overwrite=True)
    with pytest.raises(ConfigError, match="is a file"):
        run(tmp_path / "mine" / "notes.txt", overwrite=True)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"


# ------------------------------------------------------------------------------------------------ probabilities


def test_an_optimal_discriminator_lets_no_more_pass_than_the_bound():
    assert discrimination.most_passing(0.9) == pytest.approx(1 / 9) and discrimination.most_passing(0.5) == 1
    assert discrimination.most_passing(0.0) == 1
    rng = np.random.default_rng(0)
    for shift in (0.1, 1.0, 3.0):
        x = rng.normal(shift, 1.0, 200_000)  # generated, where real ones are N(0, 1)
        optimal = 1 / (1 + np.exp(shift * x - shift**2 / 2))
        for threshold in (0.5, 0.7, 0.9):
            assert np.mean(optimal >= threshold) <= discrimination.most_passing(threshold)
    with pytest.raises(ConfigError, match="from 0 to 1"):
        discrimination.most_passing(1.1)


@pytest.mark.parametrize(("count", "n"), [(0, 20), (3, 20), (20, 20), (1, 1)])
def test_shares_have_the_exact_interval(count, n):
    found, ours = stats.binomtest(count, n).proportion_ci(method="exact"), discrimination.proportion(count, n)
    assert ours["ci95"] == pytest.approx([found.low, found.high], abs=1e-9) and ours["rate"] == count / n
    with pytest.raises(DataError):
        discrimination.proportion(n + 1, n)


def test_calibration_by_hand():
    found = discrimination.calibration([0.9, 0.7], [0.2, 0.6, 0.2, 0.2])
    assert found["brier"] == pytest.approx((0.01 + 0.09) / 4 + (3 * 0.04 + 0.36) / 8)
    assert found["accuracy"] == pytest.approx((1 + 3 / 4) / 2)
    assert found["real"]["half"]["rate"] == 1 and found["generated"]["half"]["count"] == 1
    assert found["real"]["mean"] == pytest.approx(0.8)
    # Bins of a tenth: 0.2 holds 3/8 of the weight and no real image, 0.6 an eighth, 0.7 and 0.9 a quarter each.
    assert found["ece"] == pytest.approx(3 / 8 * 0.2 + 1 / 8 * 0.6 + 1 / 4 * 0.3 + 1 / 4 * 0.1)
    assert found["reliability"]["count"] == [0, 0, 3, 0, 0, 0, 1, 1, 0, 1] and found["reliability"]["real"][7] == 1
    assert found["reliability"]["real"][0] is None
    again = discrimination.calibration([0.9, 0.7], [0.2, 0.6, 0.2, 0.2] * 10)  # how many there are changes nothing
    assert again["brier"] == pytest.approx(found["brier"]) and again["ece"] == pytest.approx(found["ece"])
    coin = discrimination.calibration(np.full(7, 0.5), np.full(4, 0.5))
    assert coin["brier"] == pytest.approx(0.25) and coin["ece"] == pytest.approx(0, abs=1e-12)
    assert discrimination.calibration([1.0], [0.0])["brier"] == 0
    for bad in (([], [0.5]), ([0.5], [1.2]), ([np.nan], [0.5])):
        with pytest.raises(DataError):
            discrimination.calibration(*bad)


def test_a_threshold_that_enough_images_reach():
    p = np.random.default_rng(1).random(997)
    for share in (0.001, 0.3, 1.0):
        threshold = discrimination.passing_threshold(p, share)
        assert np.mean(p >= threshold) >= share and np.mean(p >= threshold + 0.002) < share
    with pytest.raises(DataError):
        discrimination.passing_threshold([], 0.5)


# ------------------------------------------------------------------------------------------------ conditions


@pytest.fixture(scope="module")
def told_all(tiny):
    """A run that was told age, sex and view, of which only the config is looked at, and its data."""
    config = tiny("data.columns=('age','sex','view')", name="cgan_cxr:tiny")
    return trained.Model(config, None, None, 0), build_data.open_data(config)


def test_columns_given_are_taken_and_others_drawn_from_the_class(told_all):
    model, data = told_all
    given = conditions.given_columns(model, {"sex": "m"}, "run")
    made = conditions.Conditions(model, given, data, 3, "")
    numbers = np.arange(20, dtype=np.int32)
    found = made("Mass", numbers)
    assert set(found) == {"label", "age", "sex", "view"}
    assert found["sex"].tolist() == [1] * 20 and found["label"].tolist() == [1] * 20
    assert found["age"].dtype == np.float32 and found["view"].dtype == np.int32
    records = [data.source.records[i] for i in data.splits["train"]]
    known = {(round(r.age), r.view) for r in records if "Mass" in r.labels}
    drawn = {(round(100 * float(age)), ("AP", "PA")[view]) for age, view in zip(found["age"], found["view"], strict=True)}
    assert drawn <= known and len(drawn) > 1
    np.testing.assert_array_equal(made("Mass", numbers[7:9])["age"], found["age"][7:9])  # of its number alone
    assert made.described("Mass", 7) == {
        "Patient Age": f"{100 * found['age'][7]:.0f}", "Patient Gender": "M", "View Position": ("AP", "PA")[found["view"][7]],
    }  # fmt: skip
    whole = conditions.given_columns(model, {"age": "45", "sex": "F", "view": "PA"}, "run")
    made = conditions.Conditions(model, whole, None, 3, "the folder is gone")  # nothing is left to be drawn
    assert made.described("Mass", 0) == {"Patient Age": "45", "Patient Gender": "F", "View Position": "PA"}
    with pytest.raises(ConfigError, match="give --age and --view: .* as the folder is gone"):
        conditions.Conditions(model, given, None, 3, "the folder is gone")


def test_what_is_no_probability_is_called_a_score(tiny, tmp_path):
    """The sigmoid of a logit that the hinge trained says how real an image looks, not how likely it is to be real."""
    model = trained.Model(tiny("method.adversary=hinge", name="cgan_cxr:tiny"), None, None, 0)
    assert generator.no_probability(model.config) and not generator.no_probability(tiny(name="cgan_cxr:tiny"))
    tally = synthesize.Tally([np.array([0.2, 0.6])], 2, 1)
    with pytest.warns(UserWarning) as told:
        cut = synthesis._filter(model, synthesize.Outcome(tmp_path, tallies={"Mass": tally}), 0.5, 50, None, "the folder is gone")
    said = [str(w.message) for w in told]
    assert "trained by the hinge loss: what it gives is a score from 0 to 1, no probability" in said[0]
    assert "not calibrated on held-out real images of Mass: the folder is gone" in said[1] and cut["calibration"] == {}
    task = trained.Task(model, model.config, None, None, "test", {}, None, tmp_path)
    found = {"class_counts": {}, "classes": list(model.config.data.classes), "classifier": None}
    with pytest.warns(UserWarning, match="no probability"):
        assert generation._warned(task, found) == [said[0]]
    given = dict.fromkeys(("real", "model", "train"), np.array([0.2, 0.6]))
    lines = markdown_sets.discriminator_lines({"discriminator": judging.discriminator(given, "hinge")})
    assert lines[0].startswith("discriminator (hinge), mean score (no probability)") and "probability of" not in lines[1]


def test_classes_without_held_out_images_are_no_part_of_the_pooled_calibration(tiny, tmp_path, monkeypatch):
    model = trained.Model(tiny(name="cgan_cxr:tiny"), None, None, 0)
    monkeypatch.setattr(generator, "judged", lambda *a: (np.array([0.6, 0.7, 0.4]), np.array([1, 1, 0])))
    tallies = {name: synthesize.Tally([np.array([0.2, 0.6])], 2, 1) for name in model.config.data.classes}
    with pytest.warns(UserWarning, match="not calibrated on held-out real images of Pneumonia: the validation split has no"):
        cut = synthesis._filter(model, synthesize.Outcome(tmp_path, tallies=tallies), 0.5, 50, object(), "")
    assert {name: (c["real"]["n"], c["generated"]["n"]) for name, c in cut["calibration"].items()} == {
        "No Finding": (1, 2), "Mass": (2, 2), "all": (3, 4),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"age": "old"}, "--age is in years, from 0 to 120, not 'old'"),
        ({"age": "-1"}, "not '-1'"),
        ({"sex": "X"}, "--sex is F or M, not 'X'"),
        ({"view": "LL"}, "--view is AP or PA, not 'LL'"),
    ],
)
def test_bad_columns(told_all, columns, told):
    with pytest.raises(ConfigError, match=told):
        conditions.given_columns(told_all[0], columns, "run")


# ------------------------------------------------------------------------------------------------ the command


@pytest.fixture(scope="module")
def loaded(gan_run):
    """The shared run, read once."""
    return generator.load_generator(gan_run)


def command(run, folder, *words):
    return main(["synthesize", f"--workdir={run}", f"--output={folder}", *words])


def test_from_a_run_to_a_classifier(synthetic_set, classifier_run):
    """The folder trains a classifier by `medjax train` with no other step; see conftest."""
    rows = nih_cxr14(synthetic_set).records
    assert len(rows) == 24 and {label for row in rows for label in row.labels} == {"No Finding", "Mass", "Pneumonia"}
    facts = configs.resolved(classifier_run)
    assert facts["data_root"] == str(synthetic_set) and sum(sum(c.values()) for c in facts["class_counts"].values()) == 24
    told = json.loads((synthetic_set / "provenance.json").read_text())
    assert told["images"] == 24 and told["run"]["config"] == "cgan_cxr:tiny" and len(told["run"]["config_sha256"]) == 64
    assert told["filter"] is None and told["upscale"] is None and told["ms_per_image"]["generator"] > 0
    assert {"seed", "versions", "labels"} <= set(told) and told["run"]["size"] == [32, 32]


def test_a_classifier_of_synthetic_images_is_tested_on_others_of_its_kind(synthetic_set, classifier_run, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setitem(evaluation.SCORERS, "classification", lambda task: asked.append(task) or {})
    other = tmp_path / "other"
    shutil.copytree(synthetic_set, other)
    say = {"data_source": "nih_cxr14", "output": tmp_path / "out", "progress": False}
    evaluation.score_run(classifier_run, data_root=str(other), **say)
    assert asked[0].data.root == str(other) and len(asked[0].data.splits["test"]) == 24
    with pytest.raises(ConfigError, match="or another --data_root"):
        evaluation.score_run(classifier_run, **say)
    with pytest.raises(DataError, match="were trained or validated on, so they cannot be its test"):
        evaluation.score_run(classifier_run, data_root=str(synthetic_set), **say)
    assert len(asked) == 1


def test_an_image_is_that_of_its_seed_label_and_number(gan_run, synthetic_set, tmp_path, capsys):
    assert command(gan_run, tmp_path / "mass", "--label=Mass", "--count=2") == 0
    for name in ("synthetic_Mass_0_00000.png", "synthetic_Mass_0_00001.png"):
        np.testing.assert_array_equal(Image.open(tmp_path / "mass" / name), Image.open(synthetic_set / name))
    assert command(gan_run, tmp_path / "seed", "--label=Mass", "--count=1", "--seed=1") == 0
    other = np.asarray(Image.open(tmp_path / "seed" / "synthetic_Mass_1_00000.png"), float)
    assert np.abs(other - np.asarray(Image.open(synthetic_set / "synthetic_Mass_0_00000.png"))).max() > 2
    assert "ms per image (warm, batches of 16): generator" in capsys.readouterr().out


def test_a_threshold_prints_its_pass_rate_and_what_it_is_worth(gan_run, loaded, tmp_path, capsys):
    assert command(gan_run, tmp_path / "out", "--label=all", "--count=2", "--threshold=0.05") == 0
    out = capsys.readouterr().out
    assert "threshold 0.05, Mass: 16 of 16 passed, 100.0% [79.4%, 100.0%]" in out
    assert "discriminator, all: 12 held-out real images, mean probability" in out and "48 generated images" in out
    assert "of an optimal discriminator at most 100.0% can pass" in out
    cut = json.loads((tmp_path / "out" / "provenance.json").read_text())["filter"]
    model = loaded
    p, label = generator.judged(model, build_data.open_data(model.config, gan_run), "validation")
    assert cut["calibration"]["all"]["real"]["mean"] == pytest.approx(p.mean(), rel=1e-3) and len(p) == 12 and len(label) == 12
    assert cut["passed"]["Mass"]["count"] == 16 and cut["adversary"] == "vanilla"
    key, condition = named(named(jax.random.key(0), "synthesis"), "Mass"), {"label": np.full(16, 1, np.int32)}
    made = generator.generator(model)(key, np.arange(16, dtype=np.int32), condition)
    mean = generator.judge(model)(made, condition).mean()
    assert cut["calibration"]["Mass"]["generated"]["mean"] == pytest.approx(mean, rel=1e-3)


def test_refusals(gan_run, loaded, tiny, tmp_path, capsys):
    folder = tmp_path / "out"
    p2p, wrong = tmp_path / "p2p", tmp_path / "wrong"
    for path, name in ((p2p, "pix2pix_cxr:tiny"), (wrong, "srgan_cxr:srresnet_tiny")):
        path.mkdir()
        configs.write(tiny(name=name), path)
    for workdir, status, told, words in [
        (gan_run, 2, "knows no label 'Gout'; it knows No Finding, Mass, Pneumonia", ["--label=Gout", "--count=1"]),
        (gan_run, 2, "the count of images is at least 1, not 0", ["--label=Mass", "--count=0"]),
        (gan_run, 2, "the count of images is at least 1, not -2", ["--label=Mass", "--count=-2"]),
        (gan_run, 2, "the seed is a whole number from 0", ["--label=Mass", "--count=1", "--seed=-1"]),
        (gan_run, 2, "out of reach within 50 tries", ["--label=Mass", "--count=1", "--threshold=0.999"]),
        (p2p, 2, "holds a run of pix2pix, which makes no images from labels", ["--label=Mass", "--count=1"]),
        (tmp_path / "none", 1, "is absent", ["--label=Mass", "--count=1"]),
    ]:
        assert command(workdir, folder, *words) == status, words
        err = capsys.readouterr().err
        assert told in err and "Traceback" not in err, err
    with pytest.raises(ConfigError, match="say which label with --label: .* knows No Finding, Mass, Pneumonia"):
        conditions.chosen_labels(loaded, (), gan_run)
    with pytest.raises(ConfigError, match="was not told the age of an image; it knows label"):
        conditions.given_columns(loaded, {"age": "40"}, gan_run)
    for path, told in (
        (p2p, "p2p does not enlarge"),
        (wrong, "wrong enlarges images of 8 x 8 to 32 x 32 pixels, and .* makes images of 32 x 32: .*image_size=128 fits"),
        (tmp_path, "no workdir of a run"),
    ):
        with pytest.raises(MedjaxError, match=told):
            synthesis.Enlarger(path, loaded, gan_run)
    assert not folder.exists()


def test_a_generator_alone_makes_images_but_takes_no_threshold(loaded, tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    configs.write(loaded.config, alone)
    net = loaded.state.nets["generator"]
    tree = {"generator": {"params": net.params, "stats": net.stats}}
    with ocp.CheckpointManager((alone / "checkpoints").resolve()) as manager:
        manager.save(0, args=ocp.args.Composite(weights=ocp.args.StandardSave(tree)), force=True)
    assert command(alone, tmp_path / "out", "--label=Mass", "--count=1") == 0
    with pytest.raises(CheckpointError, match="has no net 'discriminator' to judge images by: it holds the generator alone"):
        generator.judge(generator.load_generator(alone))


def test_images_pass_through_super_resolution(gan_run, sr_run, synthetic_set, tmp_path):
    assert command(gan_run, tmp_path / "out", "--label=Mass", "--count=1", f"--upscale={sr_run}") == 0
    path = tmp_path / "out" / "synthetic_Mass_0_00000.png"
    assert formats.image_size(path) == (64, 64)
    told = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert told["upscale"]["scale"] == 2 and told["upscale"]["size"] == [64, 64] and told["ms_per_image"]["enlargement"] > 0
    read = lambda path: np.asarray(Image.open(path), np.float32)  # noqa: E731
    reduced = read(path).reshape(32, 2, 32, 2).mean((1, 3))
    like = [np.corrcoef(reduced.ravel(), read(synthetic_set / f"synthetic_Mass_0_0000{i}.png").ravel())[0, 1] for i in (0, 1)]
    assert like[0] > 0.5 and like[0] > like[1] + 0.2, like  # the same picture, which is little but noise, and not the next


def test_names():
    assert synthetic.name_of("No Finding", 2, 31) == "synthetic_No_Finding_2_00031"
    assert synthetic.name_of("Pleural_Thickening", 0, 1) == "synthetic_Pleural_Thickening_0_00001"
    assert re.fullmatch("synthetic_x_[0-9a-f]{8}_0_00001", synthetic.name_of("../x", 0, 1))
    assert synthetic.name_of("", 0, 1) == "synthetic_unlabelled_0_00001"
