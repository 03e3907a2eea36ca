"""Classifiers: losses against numpy, the network's sizes, a run from training through evaluation to comparison."""

from __future__ import annotations

import csv
import json
import shutil
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special
from scipy.signal import convolve

from medjax import evaluate, report, results
from medjax.baselines import grey
from medjax.build import checks, classifier, compare, compare_files, evaluation, kinds, networks
from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.build.trained import blank, load
from medjax.data.sources import nih_cxr14
from medjax.figures.classification import roc_points
from medjax.metrics import classification as metrics
from medjax.metrics import features as feature_metrics
from medjax.metrics import roc
from medjax.models.resnet import Classifier, local_contrast
from medjax.objective import Player, train_step, with_ema
from medjax.objectives import classification
from medjax.objectives.classification import binary_cross_entropy, cross_entropy
from medjax.types import ConfigError

pytestmark = pytest.mark.usefixtures("quick_compile")

LOGITS = np.array([[2.0, -1.0, 0.5], [0.1, 0.2, -3.0], [-1.0, 4.0, 4.0]])
WEIGHTS = (1.0, 2.0, 0.5)


# ------------------------------------------------------------------------------------------------ losses


@pytest.mark.parametrize("smoothing, weights", [(0.0, None), (0.1, None), (0.2, WEIGHTS)])
def test_cross_entropy_is_its_definition(smoothing, weights):
    label = np.array([0, 2, 1])
    log_p = LOGITS - special.logsumexp(LOGITS, axis=1, keepdims=True)
    q = (1 - smoothing) * np.eye(3)[label] + smoothing / 3
    expected = -(q * log_p).sum(1) * (1 if weights is None else np.array(weights)[label])
    np.testing.assert_allclose(cross_entropy(jnp.array(LOGITS), label, smoothing=smoothing, weights=weights), expected, rtol=1e-6)


@pytest.mark.parametrize("smoothing, weights", [(0.0, None), (0.1, None), (0.2, WEIGHTS)])
def test_binary_cross_entropy_is_its_definition(smoothing, weights):
    hot = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 1]])
    p, q = special.expit(LOGITS), hot * (1 - smoothing) + smoothing / 2
    terms = -(q * np.log(p) + (1 - q) * np.log(1 - p))
    expected = (terms * (1 if weights is None else np.where(hot, weights, 1.0))).mean(1)
    found = binary_cross_entropy(jnp.array(LOGITS), hot, smoothing=smoothing, weights=weights)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_options_that_make_no_sense():
    player = Player(Classifier(3))
    for options, told in (
        ({"loss": "hinge"}, "one of softmax, sigmoid, not 'hinge'"),
        ({"label_smoothing": 1.0}, "below 1"),
        ({"class_weights": (1.0, 0.0, 1.0)}, "above 0"),
    ):
        with pytest.raises(ConfigError, match=told):
            classification(player, **options)
    with pytest.raises(ConfigError, match="2 class weights for 3 classes"):
        cross_entropy(jnp.array(LOGITS), np.zeros(3, int), weights=(1.0, 1.0))
    with pytest.raises(ConfigError, match="has 2 weights for 3 classes"):
        networks.objective(configs.get("classifier_cxr:tiny", ["method.class_weights=(1.0,2.0)"]), 1)
    with pytest.raises(ConfigError, match="names 'No Finding' alone, and a classifier by softmax tells two"):
        networks.objective(configs.get("classifier_cxr:tiny", ["data.classes=('No Finding',)"]), 1)
    with pytest.raises(ConfigError, match="name the classes in config.data.classes"):
        networks.objective(configs.get("classifier_cxr:tiny", ["data.labels=none"]), 1)


# ------------------------------------------------------------------------------------------------ network


def shapes(module, side=64, channels=1, method=None):
    x = jax.ShapeDtypeStruct((2, side, side, channels), jnp.float32)
    variables = jax.eval_shape(lambda x: module.init(jax.random.key(0), x), x)
    out = jax.eval_shape(lambda v, x: module.apply(v, x, method=method), variables, x)
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"])), out


@pytest.mark.parametrize("depth, parameters", [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032)])
def test_parameters_are_the_published_ones(depth, parameters):
    """torchvision's counts, for three channels and a thousand classes."""
    assert shapes(Classifier(1000, depth=depth, channels=3), channels=3)[0] == parameters


def test_one_channel_and_few_classes_take_what_they_save():
    saved = 2 * 7 * 7 * 64 + 513 * (1000 - 3)
    assert shapes(Classifier(3))[0] == 11_689_512 - saved


@pytest.mark.parametrize("stem, sides", [("published", [16, 8, 4, 2]), ("half", [32, 16, 8, 4]), ("full", [64, 32, 16, 8])])
def test_stems_decide_how_fine_the_maps_are(stem, sides):
    found = shapes(Classifier(3, width=4, stem=stem), method="taps")[1]
    assert [found[f"layer{level}"].shape[1] for level in (1, 2, 3, 4)] == sides
    assert found["pool"].shape == (2, 32) and found["layer1"].shape[-1] == 4


@pytest.mark.parametrize(
    "options, told",
    [({"depth": 20}, "depth 10, 18, 34, 50, not 20"), ({"stem": "tiny"}, "stem of published"),
     ({"norm": "layer"}, "norm of batch"), ({"pool": "sum"}, "mean or max, not 'sum'")],
)  # fmt: skip
def test_networks_that_there_are_not(options, told):
    with pytest.raises(ConfigError, match=told):
        shapes(Classifier(3, **options))


NET = {"depth": 10, "width": 4, "stem": "half"}


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    image = rng.normal(0, 0.5, (4, 32, 32, 1)).astype(np.float32)
    return {"target": image, "label": np.array([0, 1, 2, 1], np.int32), "index": np.arange(4, dtype=np.int32)}


@pytest.mark.slow
def test_group_norm_keeps_images_apart_in_training(batch):
    """And batch norm, which takes its statistics from the batch, does not; the max over positions is that of the last maps."""
    for norm, apart in (("group", True), ("batch", False)):
        module = Classifier(3, norm=norm, pool="max", **NET)
        variables = jax.jit(module.init)(jax.random.key(1), batch["target"])
        run = jax.jit(lambda v, x, m=module: m.apply(v, x, train=True, mutable=True)[0])
        alone, together = run(variables, batch["target"][:1]), run(variables, batch["target"])[:1]
        assert np.allclose(alone, together, atol=1e-4) == apart
    taps = jax.jit(partial(module.apply, method="taps"))(variables, batch["target"])
    np.testing.assert_array_equal(taps["pool"], taps["layer4"].max((1, 2)))


def test_local_contrast_makes_the_faint_as_large_as_the_bright():
    """The same disc at a tenth of its contrast, on another background: equal but for the floor; flat images give 0."""
    y, x = np.mgrid[:32, :32]
    disc = ((y - 16) ** 2 + (x - 16) ** 2 < 20).astype(np.float32)[None, ..., None]
    bright, faint = (np.asarray(local_contrast(jnp.asarray(a), 3.0)) for a in (disc, 0.1 * disc - 0.7))
    np.testing.assert_allclose(faint, bright, atol=0.15 * np.abs(bright).max())
    assert bright[0, 16, 16, 0] > 0.8 and np.abs(local_contrast(jnp.full((1, 32, 32, 1), 0.3), 3.0)).max() < 1e-4
    weights = np.exp(-0.5 * (np.arange(-9, 10) / 3.0) ** 2)
    window = np.outer(weights, weights) / weights.sum() ** 2
    padded = np.pad(disc[0, ..., 0], 18, mode="edge")
    smooth = lambda a: convolve(a, window, mode="valid")  # noqa: E731
    above = padded[9:-9, 9:-9] - smooth(padded)
    expected = above[9:-9, 9:-9] / np.sqrt(smooth(above**2) + 0.02**2)
    np.testing.assert_allclose(bright[0, 9:-9, 9:-9, 0], expected[9:-9, 9:-9], atol=1e-4)
    assert np.isfinite(jax.grad(lambda a: local_contrast(a, 3.0).sum())(jnp.zeros((1, 32, 32, 1)))).all()


def test_bfloat16_computes_and_float32_keeps(batch):
    module = Classifier(3, **NET)
    variables = jax.jit(module.init)(jax.random.key(1), batch["target"])
    half = Classifier(3, dtype=jnp.bfloat16, **NET)
    chex.assert_trees_all_equal_shapes_and_dtypes(jax.eval_shape(half.init, jax.random.key(1), batch["target"]), variables)
    exact, coarse = (jax.jit(m.apply)(variables, batch["target"]) for m in (module, half))
    assert coarse.dtype == jnp.float32 and 0 < np.abs(exact - coarse).max() < 0.1 * np.abs(exact).max()


# ------------------------------------------------------------------------------------------------ objective


@pytest.fixture(scope="module")
def stepped(batch):
    """States after 0, 1 and 20 steps, and the metrics of the steps."""
    objective = with_ema(classification(Player(Classifier(3, **NET), optax.adam(3e-3))), 0.5, ("classifier",))
    state = jax.jit(objective.init)(jax.random.key(0), batch)
    step, states, rows = jax.jit(train_step(objective)), [state], []
    for _ in range(20):
        state, row = step(states[-1], batch, jax.random.key(1))
        states.append(state)
        rows.append({name: float(value) for name, value in row.items()})
    return objective, [states[0], states[1], states[-1]], rows


def test_training_learns_the_batch_by_heart(stepped, batch):
    objective, states, rows = stepped
    assert rows[0]["loss"] == pytest.approx(np.log(3), abs=0.8) and rows[-1]["loss"] < 0.3 * rows[0]["loss"]
    assert rows[-1]["accuracy"] == 1 and int(states[-1].step) == 20 and set(states[-1].ema) == {"classifier"}
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), *(s.nets["classifier"].params for s in states[:2]))
    assert all(np.isfinite(x) and x > 0 for x in jax.tree.leaves(moved)), "every parameter has a finite gradient"


def test_a_prediction_is_of_the_image_alone(stepped, batch):
    objective, states, _ = stepped
    run = jax.jit(objective.predict)
    whole = run(states[-1], batch, jax.random.key(0))["label"]
    one = run(states[-1], {k: v[2:3] for k, v in batch.items()}, jax.random.key(5))["label"]
    np.testing.assert_allclose(whole.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(whole[2:3], one, atol=1e-5)
    draw = jax.eval_shape(objective.sample, states[-1], batch, jax.random.key(0))["label"]
    assert whole.shape == draw.shape == (4, 3)


def test_validation_is_the_loss_and_the_accuracy_of_each_image(stepped, batch):
    objective, states, _ = stepped
    found = jax.jit(objective.evaluate)(states[-1], batch, jax.random.key(0))
    p = np.asarray(jax.jit(objective.predict)(states[-1], batch, jax.random.key(0))["label"], np.float64)
    np.testing.assert_allclose(found["loss"], -np.log(p[np.arange(4), batch["label"]]), rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(found["accuracy"], p.argmax(1) == batch["label"])


def test_several_classes_are_decided_one_by_one(batch):
    objective = classification(Player(Classifier(3, **NET)), loss="sigmoid")
    hot = {**batch, "label": np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]], np.float32)}
    state = jax.jit(objective.init)(jax.random.key(0), hot)
    p = np.asarray(jax.jit(objective.predict)(state, hot, jax.random.key(0))["label"])
    found = jax.jit(objective.evaluate)(state, hot, jax.random.key(0))
    np.testing.assert_allclose(found["accuracy"], ((p >= 0.5) == hot["label"]).mean(1))
    assert not np.allclose(p.sum(1), 1)
    part = [({**found, "probability": p, "label": hot["label"]}, np.array([True, True, True, False]))]
    reduced, expected = kinds.reduce_classes(part), metrics.point(hot["label"][:3], p[:3])
    assert reduced["auc"] == expected["auc"] and reduced["balanced_accuracy"] == expected["balanced_accuracy"]
    assert reduced["loss"] == pytest.approx(float(np.mean(found["loss"][:3])))


# ------------------------------------------------------------------------------------------------ the grey level


def test_the_grey_level_finds_what_grey_levels_tell():
    rng = np.random.default_rng(0)
    label = rng.integers(3, size=3000)
    levels = np.array([0.3, 0.5, 0.6])[label] + rng.normal(0, 0.05, 3000)
    p = grey.fit(levels, np.eye(3)[label]).probabilities(levels)
    density = np.exp(-((levels[:, None] - [0.3, 0.5, 0.6]) ** 2) / (2 * 0.05**2))  # Bayes' rule for equal shares
    np.testing.assert_allclose(p, density / density.sum(1, keepdims=True), atol=0.08)
    assert np.abs(p.mean(0) - np.bincount(label) / 3000).max() < 1e-4, "with an intercept, mean probabilities are frequencies"
    several = grey.fit(levels, np.stack([label == 2, label > 0], 1), several=True).probabilities(levels)
    assert roc.auc(label == 2, several[:, 0]) == pytest.approx(roc.auc(label == 2, levels)) and several[:, 1].mean() > 0.6


def test_grey_levels_that_separate_or_do_not_differ():
    apart = grey.fit([0.1, 0.2, 0.8, 0.9], np.eye(2)[[0, 0, 1, 1]]).probabilities([0.15, 0.85])
    assert apart[0, 0] > 0.95 and apart[1, 1] > 0.95 and np.isfinite(apart).all()
    np.testing.assert_allclose(grey.fit([0.5] * 4, np.eye(2)[[0, 1, 1, 1]]).probabilities([0.5]), [[0.25, 0.75]], atol=1e-4)


def test_the_grey_level_of_the_real_set_is_a_confound(real_data):
    source = nih_cxr14(real_data / "cxr_nih")
    levels = np.array([source.load(i)["target"].mean() for i in range(0, 240, 2)])
    sick = np.array(["Pneumonia" in r.labels for r in source.records])[::2]
    p = grey.fit(levels, np.stack([~sick, sick], 1)).probabilities(levels)
    assert roc.auc(sick, p[:, 1]) == pytest.approx(0.73, abs=0.06)


# ------------------------------------------------------------------------------------------------ a run


@pytest.fixture(scope="module")
def run(trained_classifier, tmp_path_factory):
    """classifier_cxr:tiny, trained and evaluated."""
    workdir = tmp_path_factory.mktemp("classifier") / "real"
    shutil.copytree(trained_classifier, workdir)
    with pytest.warns(UserWarning, match="few images to judge by"):
        evaluation.score_run(workdir, by="sex", progress=False)
    return workdir


def test_an_evaluation_has_the_two_that_see_no_anatomy_beside_the_model(run):
    summary = json.loads((run / "evaluation.json").read_text())
    assert list(summary["rows"]) == ["majority", "grey", "model"] and summary["kind"] == "classification"
    assert summary["n"] == summary["patients"] == summary["images"] == sum(summary["class_counts"].values()) == 9
    assert set(summary["rows"]["model"]) == set(metrics.METRICS)
    facts = json.loads((run / "config.json").read_text())["resolved"]
    frequent = max(facts["class_counts"]["train"], key=facts["class_counts"]["train"].get)
    assert summary["rows"]["majority"]["accuracy"]["mean"] == pytest.approx(summary["class_counts"][frequent] / 9)
    assert summary["rows"]["majority"]["auc"]["mean"] == 0.5
    assert np.sum(summary["confusion"]["model"]) == 9 and set(summary["tests"]) == {"majority", "grey"}
    assert summary["by"]["column"] == "sex" and sum(g["n"] for g in summary["by"]["groups"].values()) == 9
    for stated in ("decision", "interval", "resolution", "training_preprocessing", "baselines"):
        assert summary["protocol"][stated], stated


def test_the_table_of_images_gives_the_metrics(run):
    with open(run / "evaluation.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    classes = configs.read(run).data.classes
    p = np.array([[float(row[f"model.p_{name}"]) for name in classes] for row in rows])
    label = np.array([classes.index(row["label"]) for row in rows])
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-6)
    found, summary = metrics.point(label, p), json.loads((run / "evaluation.json").read_text())
    for name in metrics.METRICS:
        assert summary["rows"]["model"][name]["mean"] == pytest.approx(found[name]), name
    assert [float(row["model.accuracy"]) for row in rows] == metrics.correct(label, p).tolist()
    assert all(row["labels"] == row["label"] for row in rows) and results.read(run)[1].columns["patient"][0] == rows[0]["patient"]


def test_text_and_report_say_what_was_found(run):
    text = evaluate.table(json.loads((run / "evaluation.json").read_text()))
    assert "balanced_accuracy" in text and "model minus grey, paired: decisions (McNemar)" in text and "sex: " in text
    page = report.build(run).read_text()
    for told in ("These are phantoms", "mean grey level", "most frequent class", "What the model takes each image for",
                 "ROC curves", "calibration error", "What the validation images said"):  # fmt: skip
        assert told in page, told
    assert page.count("data:image/png") >= 4


def test_validation_logs_what_is_of_the_whole_set(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    seen = [row for row in rows if row["split"] == "validation"]
    assert all({"loss", "accuracy", "balanced_accuracy", "auc"} <= set(row) for row in seen) and len(seen) == 2
    with pytest.raises(ConfigError, match="train.best is 'psnr:max'; a validation gives accuracy, auc, balanced_accuracy, loss"):
        config = configs.get("classifier_cxr:tiny", ["train.best=psnr:max"])
        checks.sizes(config, networks.objective(config, 1), blank(config))


def test_two_runs_are_compared_as_classifiers(run, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(run, other)
    summary, evaluated = results.read(run)
    evaluated.scores["model"] = {name: np.roll(column, 1) for name, column in evaluated.scores["model"].items()}
    results.write(evaluated, other, summary=summary)
    found = compare.compare([run, other], output=tmp_path / "compared")
    a, b = ((results.read(path)[1]) for path in (other, run))
    classes = configs.read(run).data.classes
    label = np.array([classes.index(name) for name in a.columns["label"]])
    p, q = (np.stack([e.scores["model"][f"p_{name}"] for name in classes], 1) for e in (a, b))
    expected = metrics.paired_tests(label, p, q, classes, units=a.columns["patient"])
    assert found["classifiers"] == {"other": json.loads(json.dumps(expected))} and found["metrics"] == ["accuracy", "loss"]
    assert found["better"] == {"accuracy": 1, "loss": -1} and "decisions (McNemar)" in compare_files.markdown(found)
    assert (tmp_path / "compared" / "comparison.png").exists()


def test_features_are_the_layer_before_the_head(run):
    name, features = classifier.features(run)
    classes, probabilities = classifier.probabilities(run)
    images = np.random.default_rng(0).random((5, 48, 48, 1), np.float32)
    pool = np.asarray(features(images)["pool"])
    assert name == "classifier_cxr.real" and pool.shape == (5, 32) and classes == ("No Finding", "Mass", "Pneumonia")
    head = load(run).state.nets["classifier"].params["fc"]
    logits = pool @ head["kernel"] + head["bias"]
    np.testing.assert_allclose(special.softmax(logits, 1), probabilities(images), atol=1e-5)
    sample = feature_metrics.extract(features, [images[:3], images[3:]], progress=False)["pool"]
    np.testing.assert_allclose(sample.vectors, pool, atol=1e-4)
    assert np.allclose(features(np.repeat(images, 3, -1))["pool"], pool, atol=1e-4)


def test_a_classifier_is_judged_on_the_images_of_another_run(run, tiny, tmp_path):
    """Trained on some images, tested on the test patients of a run of others, of which config and splits are read."""
    folders = {}
    for name, overrides in {
        "other": (),
        "copd": ("data.classes=('Mass','COPD')", "data.phantom_cxr.findings=('Mass','COPD')"),
    }.items():
        config = tiny("data.phantom_cxr.count=36", "data.split_seed=3", *overrides, name="classifier_cxr:tiny")
        (folder := tmp_path / name).mkdir()
        data = build_data.open_data(config)
        configs.write(config, folder)
        build_data.write_splits(data, folder)
        folders[name] = folder, data
    other, theirs = folders["other"]
    with pytest.warns(UserWarning, match="few images"):
        summary = classifier.judge(run, other, output=tmp_path / "best")
    shutil.copytree(tmp_path / "best", tmp_path / "again")
    found = results.read(tmp_path / "best")[1]
    assert found.names == [theirs.source.names[i] for i in theirs.splits["test"]] and found.names[0].startswith("phantom_3_")
    assert summary["class_counts"] == theirs.facts["class_counts"]["test"] and summary["protocol"]["split_seed"] == 0
    trained_on = json.loads((run / "config.json").read_text())["resolved"]["class_counts"]["train"]
    share = found.scores["majority"]["p_Mass"][0]
    assert share == pytest.approx(trained_on["Mass"] / sum(trained_on.values())), "of the run's own training images"
    assert compare.compare([tmp_path / "best", tmp_path / "again"])["classifiers"]["again"]["mcnemar"]["p_value"] == 1
    with pytest.raises(ConfigError, match="have other classes: No Finding, Mass, Pneumonia and Mass, COPD"):
        classifier.judge(run, folders["copd"][0], output=tmp_path / "refused")


def test_what_is_no_classifier_and_what_a_classifier_is_not(run, trained, tmp_path):
    with pytest.raises(ConfigError, match="holds a run of pix2pix, which is no classifier"):
        classifier.features(trained)
    with pytest.raises(ConfigError, match="holds a run of classification, which enhances no images"):
        evaluation.enhance(run, [tmp_path], tmp_path / "out")
    with pytest.raises(ConfigError, match="no dropout, so its samples would not differ"):
        evaluation.score_run(run, num_samples=4, progress=False)


def test_roc_points_enclose_the_area():
    rng = np.random.default_rng(0)
    positive, scores = rng.random(60) < 0.4, np.round(rng.random(60), 1)
    x, y = roc_points(positive, scores)
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1) and (np.diff(x) >= 0).all() and (np.diff(y) >= 0).all()
    assert np.trapezoid(y, x) == pytest.approx(roc.auc(positive, scores)) and len(x) == len(np.unique(scores)) + 1
