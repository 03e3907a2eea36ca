"""A generator judged: distances beside the floor of real images, diversity, copies, calibration, and what a classifier gains."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest

from medjax import report
from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.build import evaluation, generated, judging, networks, trained, utility
from medjax.checkpoint import Checkpoints
from medjax.cli import main
from medjax.data.tables import read_table
from medjax.metrics import discrimination, diversity, frechet, resampling
from medjax.metrics.sliced import sliced_wasserstein
from medjax.results import read
from medjax.rng import named
from medjax.types import ConfigError, DataError

pytestmark = pytest.mark.usefixtures("quick_compile")

METRICS = ("fd", "kid", "precision", "recall", "density", "coverage")
NETWORK = "random_alexnet.relu3"


@pytest.fixture(scope="module")
def scored(gan_run, classifier_run, tmp_path_factory):
    """The output folder of an evaluation of that run, with a classifier, and what it printed."""
    output = tmp_path_factory.mktemp("scored") / "out"
    with pytest.warns(UserWarning, match="there are few images to compare with"):
        evaluation.score_run(
            gan_run, output=output, classifier=classifier_run, feature_networks=["random_alexnet"], which="latest", progress=False
        )
    return output


@pytest.fixture(scope="module")
def sets(gan_run):
    """The run, its data, and the three sets, made apart from the evaluation."""
    model = trained.load(gan_run, which="latest")
    data = build_data.open_data(model.config, gan_run)
    held = generated.read(model, data, "test")
    key = named(jax.random.key(model.config.data.split_seed), "evaluation")
    made, real = generated.generate(key, model, held), generated.beside(model, data, held)
    return model, data, {"held_out": held, "real": real, "model": made}


# ------------------------------------------------------------------------------------------------ the sets


def test_of_every_held_out_image_one_of_its_condition(sets):
    model, data, found = sets
    held, made, real = found["held_out"], found["model"], found["real"]
    assert len(held) == 12 and len(made) == 12 and made.label.tolist() == held.label.tolist()
    assert held.index.tolist() == data.splits["test"].tolist()
    names = [data.source.records[int(i)].labels[0] for i in held.index]
    assert [model.config.data.classes[k] for k in held.label] == names
    assert set(real.index) <= set(data.splits["train"]) and len(set(real.index)) == len(real)
    for k in range(3):
        assert np.sum(real.label == k) == np.sum(held.label == k)
    key = named(jax.random.key(0), "evaluation")
    few = generated.generate(key, model, held, samples=5)
    assert [int(np.sum(few.label == k)) for k in range(3)] == [5, 5, 5] and np.all(np.isin(few.index, held.index))


def test_training_images_come_with_their_mirror_images_where_training_mirrored_them(sets):
    model, data, _ = sets
    plain = generated.trained_on(model, data, ())
    assert plain.vectors[generated.PIXELS].shape == (24, 32 * 32) and not plain.mirrored[generated.PIXELS].any()
    config = model.config.copy_and_resolve_references()
    config.data.flip = True
    both = generated.trained_on(replace(model, config=config), data, ())
    assert both.vectors[generated.PIXELS].shape == (48, 32 * 32) and both.mirrored[generated.PIXELS].sum() == 24
    place = np.flatnonzero(both.mirrored[generated.PIXELS])[3]
    there = plain.vectors[generated.PIXELS][plain.index[generated.PIXELS] == both.index[generated.PIXELS][place]][0]
    np.testing.assert_allclose(both.vectors[generated.PIXELS][place].reshape(32, 32), there.reshape(32, 32)[:, ::-1])


def test_copies_are_found_out(sets):
    model, data, found = sets
    train = generated.trained_on(model, data, ())
    held = generated.vectors_of(found["held_out"].images, {})
    stolen = generated.vectors_of(found["real"].images, {})  # a generator that gives training images back
    copies = judging.memorisation(train, held, stolen)[generated.PIXELS]
    assert copies["distance"].max() < 1e-6 and copies["ratio"] == 0 and copies["closer"] == 1 and copies["n_train"] == 24
    records = train.index[generated.PIXELS][copies["index"]]
    assert records.tolist() == found["real"].index.tolist()
    honest = judging.memorisation(train, held, held)[generated.PIXELS]
    assert honest["ratio"] == 1 and honest["closer"] <= 1 / 12
    np.testing.assert_array_equal(honest["distance"], honest["held_distance"])


# ------------------------------------------------------------------------------------------------ what is written


def test_the_result_file_says_what_can_be_computed_again(scored, sets):
    summary, table = read(scored)
    model, data, found = sets
    held, made, real = found["held_out"], found["model"], found["real"]
    assert summary["kind"] == "generation" and summary["n"] == 12 and summary["classes"] == list(model.config.data.classes)
    assert summary["class_counts"]["Mass"] == {row: int(np.sum(s.label == 1)) for row, s in found.items()}
    for row, images in (("model", made), ("real", real)):
        assert summary["swd"][row]["swd"] == pytest.approx(sliced_wasserstein(images.images, held.images)["swd"], rel=1e-3)
    expected = diversity.class_similarity(held.images, held.label)
    assert summary["diversity"]["Mass"]["real"]["mean"] == pytest.approx(expected[1]["mean"], rel=1e-4)
    assert summary["diversity"]["Mass"]["ratio"]["value"] == pytest.approx(
        summary["diversity"]["Mass"]["model"]["mean"] / expected[1]["mean"], rel=1e-4
    )
    train = generated.trained_on(model, data, ())
    index, distance = diversity.nearest(diversity.pixels(made.images), train.vectors[generated.PIXELS])
    np.testing.assert_allclose(table.scores["model"]["nearest"], distance, rtol=1e-3)
    assert summary["rows"]["model"]["nearest"]["mean"] == pytest.approx(distance.mean(), rel=1e-3)
    rows = summary["rows"]["real"]
    assert set(rows) == {"nearest", "d_probability", "similarity"} and rows["nearest"]["n"] == 12
    assert table.names == [data.source.names[int(i)] for i in held.index] and table.columns["asked"] == table.columns["label"]


def test_distances_have_a_floor_an_n_and_an_interval(scored, sets):
    summary, _ = read(scored)
    floor, model = (summary["features"][row] for row in ("real", "model"))
    spaces = (NETWORK, "classifier_cxr.synthetic.pool")
    assert set(floor) == set(model) == {f"{m}/{space}" for m in (*METRICS, "mmd") for space in spaces}
    for metric in METRICS:
        entry = model[f"{metric}/{NETWORK}"]
        assert entry["n"] == [12, 12] and entry["ci95"][0] <= entry["value"] <= entry["ci95"][1], metric
        assert "fewer than 2048" in entry["warning"]
    assert model[f"fd/{NETWORK}"]["value"] > floor[f"fd/{NETWORK}"]["value"]  # four steps of training are no match
    of_class = summary["features_by_class"]["Mass"]["model"][f"fd/{NETWORK}"]
    assert of_class["n"] == [summary["class_counts"]["Mass"]["held_out"], summary["class_counts"]["Mass"]["model"]]
    network = next(n for n in judging.build_features.at_hand(sets[0].config, ["random_alexnet"]).networks)
    samples = judging.taken(network, sets[2])
    whole = frechet.frechet(samples["held_out"]["relu3"].moments, samples["model"]["relu3"].moments)
    assert model[f"fd/{NETWORK}"]["value"] == pytest.approx(whole, rel=1e-3)
    every = {row: np.ones(12, bool) for row in ("held_out", "model")}
    alike = {network.name: {**samples, "model": samples["held_out"]}}
    same = judging.distances([network], alike, every, metrics=METRICS)["model"]
    assert same[f"fd/{NETWORK}"]["value"] == pytest.approx(0, abs=1e-6 * whole)
    assert same[f"precision/{NETWORK}"]["value"] == same[f"coverage/{NETWORK}"]["value"] == 1


def test_the_discriminator_and_the_classifier_are_judged(scored):
    summary, table = read(scored)
    found = summary["discriminator"]
    assert found["real"]["n"] == found["generated"]["n"] == 12 and found["train"]["n"] == 12
    assert found["generated"]["mean"] == pytest.approx(table.scores["model"]["d_probability"].mean(), rel=1e-6)
    assert found["most_of_an_optimal_discriminator"] == pytest.approx(1 / 9) and found["passing"]["model"]["n"] == 12
    judged = summary["classifier"]
    assert judged["workdir"] == "synthetic" and judged["seen"] == 0
    assert judged["model"]["balanced_accuracy"]["n"] == 12 and 0 <= judged["real"]["balanced_accuracy"]["mean"] <= 1


def test_the_report_and_the_terminal_show_it(scored, gan_run):
    page = report.build(scored, run=gan_run).read_text()
    for heading in ("Samples", "How far from real images?", "How many different", "Copies of training", "discriminator worth"):
        assert heading in page
    assert page.count("<figure>") >= 5 and "These are phantoms, not patients" in page and "class asked for" in page
    from medjax import evaluate

    text = evaluate.table(read(scored)[0])
    assert f"over {NETWORK} (random, drawn from seed 0" in text and "nobody trained them" in text
    assert "WARNING: of these classes there are few images" in text and "balanced accuracy of the classifier synthetic" in text
    assert "at most 11.1% of the generated for an optimal one" in text


def test_what_a_generator_cannot_be_asked(gan_run, tmp_path, capsys):
    for words, told in (
        (["--by=sex"], "a generator is judged class by class"),
        (["--interpolate=x"], "--interpolate is for runs that give images"),
        (["--features=vgg"], "config.evaluation.features: 'vgg' is none of"),
    ):
        assert main(["evaluate", f"--workdir={gan_run}", f"--output={tmp_path / 'out'}", *words]) == 2
        assert told in capsys.readouterr().err
    with pytest.raises(ConfigError, match="no classifier"):
        evaluation.score_run(gan_run, output=tmp_path / "out", classifier=gan_run, feature_networks=[])
    assert not (tmp_path / "out").exists()


def test_equalised_training_images_and_other_numbers_of_samples(gan_run, tmp_path):
    """Copies and the discriminator are judged on what was trained on; distances on the images as they are, and it is said."""
    shutil.copytree(gan_run, tmp_path / "run")
    config = configs.read(gan_run)
    config.data.clahe.clip, config.data.flip, config.evaluation.samples = 0.02, True, 7
    configs.write(config, tmp_path / "run")
    with pytest.warns(UserWarning, match="was trained under CLAHE .* beside `trained_on`, not beside `real`"):
        summary = evaluation.score_run(tmp_path / "run", feature_networks=[], progress=False)
    assert set(summary["swd"]) == {"real", "trained_on", "model"} and not summary["features"]
    assert summary["swd"]["trained_on"]["swd"] > summary["swd"]["real"]["swd"]  # CLAHE alone is a distance
    assert summary["rows"]["model"]["nearest"]["n"] == 21 and summary["rows"]["real"]["nearest"]["n"] == 12
    assert summary["memorisation"][generated.PIXELS]["n_train"] == 48 and set(summary["memorisation"]) == {generated.PIXELS}
    again, table = read(tmp_path / "run")
    assert again == summary and len(table.names) == 21 and np.isnan(table.scores["real"]["nearest"][12:]).all()
    assert sorted(table.columns["asked"]) == sorted(7 * list(config.data.classes)) and table.columns["label"][12:] == [""] * 9
    assert "<figure>" in report.build(tmp_path / "run").read_text()


@pytest.mark.slow
def test_a_run_that_was_told_no_label(tiny, tmp_path, capsys):
    config = tiny("data.labels=none", "data.columns=('sex',)", "data.balance=none", name="cgan_cxr:tiny")
    data, workdir = build_data.open_data(config), tmp_path / "run"
    state = jax.jit(networks.objective(config, 1).init)(jax.random.key(0), next(build_data.train_batches(config, data)(0)))
    workdir.mkdir()
    configs.write(config, workdir)
    build_data.write_splits(data, workdir)
    with Checkpoints(workdir, best=config.train.best) as checkpoints:
        checkpoints.save(state)
    command = ["synthesize", f"--workdir={workdir}", f"--output={tmp_path / 'out'}", "--count=2", "--threshold=0.01"]
    assert main(command) == 0
    rows = read_table(tmp_path / "out" / "labels.csv", ("Finding Labels",))
    assert [row["Image Index"] for row in rows] == [f"synthetic_unlabelled_0_0000{i}.png" for i in range(2)]
    assert all(row["Patient Gender"] in ("F", "M") and not row["Finding Labels"] for row in rows)
    assert main([*command, "--label=Mass", "--overwrite"]) == 2 and "was told no label of an image" in capsys.readouterr().err
    with pytest.warns(UserWarning, match="few images to compare with: images"):
        summary = evaluation.score_run(workdir, output=tmp_path / "scored", feature_networks=[], progress=False)
    assert summary["classes"] == ["images"] and summary["features_by_class"] == {} and set(summary["diversity"]) == {"images"}
    assert "Samples" in report.build(tmp_path / "scored", run=workdir).read_text()


# ------------------------------------------------------------------------------------------------ how sure


def test_half_sets_give_the_standard_error_of_a_mean():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 2, (80, 1)), rng.normal(1, 1, (60, 1))
    found = resampling.delete_half(lambda x, y: {"shift": float(x.mean() - y.mean())}, a, b, draws=2000)
    assert found["shift"] == pytest.approx(np.sqrt(a.var(ddof=1) / 80 + b.var(ddof=1) / 60), rel=0.06)
    with pytest.raises(DataError, match="say nothing of the spread"):
        resampling.delete_half(lambda x, y: {}, a[:3], b)


def test_a_frechet_distance_of_few_images_is_the_frechet_distance():
    rng = np.random.default_rng(1)
    for n, m, d in ((20, 15, 40), (50, 30, 7), (12, 60, 30)):
        a, b = rng.normal(size=(n, d)), rng.normal(0.3, 2, size=(m, d))
        expected = frechet.frechet(frechet.moments(a), frechet.moments(b))
        assert resampling.few_frechet(a, b) == pytest.approx(expected, rel=1e-9)
    assert resampling.few_frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_errors_of_distances_and_of_ratios():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(40, 5)), rng.normal(size=(30, 5))
    errors = resampling.distance_errors(a, b)
    assert set(errors) == {"fd", "precision", "recall", "density", "coverage"} and all(0 < v < 1 for v in errors.values())
    assert resampling.distance_errors(a[:11], b) == {}  # halves of five have no five neighbours
    assert resampling.interval("recall", 0.9, 0.1, 400)["ci95"] == pytest.approx([0.704, 1.0])
    assert resampling.interval("fd", 0.1, 1.0, 400)["ci95"] == pytest.approx([0, 2.06])
    assert resampling.interval("precision", 0.0, 0.0, 12)["ci95"] == [0, discrimination.proportion(0, 12)["ci95"][1]]
    found = resampling.ratio([2.0, 4.0], [1.0, 1.0])
    assert found["value"] == 3 and found["ci95"] == [2, 4] and found["n"] == [2, 2]
    assert resampling.ratio([2.0], [4.0])["ci95"] is None
    with pytest.raises(DataError):
        resampling.ratio([], [1.0])


# ------------------------------------------------------------------------------------------------ what it is worth


@pytest.mark.slow
def test_a_classifier_trained_on_real_on_synthetic_and_on_both(gan_run, synthetic_set, tiny, tmp_path):
    config = tiny("train.steps=2", "train.eval_every=2", "train.sample_every=9", name="classifier_cxr:tiny")
    said = []
    found = utility.utility(gan_run, synthetic_set, tmp_path, config=config, say=said.append)
    assert [line for line in said if line.startswith("classifier trained")] == [
        f"classifier trained on {arm} images: {n}" for arm, n in (("real", 24), ("synthetic", 24), ("both", 48))
    ]
    assert set(found["rows"]) == {"real", "synthetic", "both", "majority", "grey", "grey_synthetic"}
    assert all(row["auc"]["n"] == 12 and row["auc"]["ci95"] for row in found["rows"].values()) and found["images"] == 12
    assert set(found["tests"]) == {"synthetic", "both"} and found["tests"]["both"]["mcnemar"]["p_value"] <= 1
    assert found["rows"]["majority"]["auc"]["mean"] == 0.5 and found["size"] == [32, 32]
    assert json.loads((tmp_path / "utility.json").read_text()) == found
    names = {arm: json.loads((tmp_path / arm / "run" / "splits.json").read_text()) for arm in utility.ARMS}
    held = build_data.open_data(trained.load(gan_run).config, gan_run).splits["test"]
    for arm, splits in names.items():  # tested on the images that the generator has not seen, and on no other
        assert sorted(splits["test"]) == [f"real_{i:06d}.png" for i in held]
        kinds = {name.partition("_")[0] for part in ("train", "validation") for name in splits[part]}
        assert kinds == {"real": {"real"}, "synthetic": {"synthetic"}, "both": {"real", "synthetic"}}[arm]
    assert sum(found["train"]["both"].values()) > sum(found["train"]["real"].values())
    shutil.copytree(synthetic_set, other := tmp_path / "other")
    swapped = [other / f"synthetic_{label}_0_00000.png" for label in ("Mass", "Pneumonia")]
    swapped[0].write_bytes(swapped[1].read_bytes())
    with pytest.raises(DataError, match="holds classifiers trained on other images than those of .*other"):
        utility.utility(gan_run, other, tmp_path, config=config, say=said.append)
