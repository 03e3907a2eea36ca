"""Runs of conditional GANs: resumed to the bit, validated without pairs, shown class by class, and refused where they must be."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
from helpers import crashed, leaves, values
from PIL import Image

from medjax.build import cgan, checks, classifier, networks, trained, training, unseen
from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.metrics.sliced import sliced_wasserstein
from medjax.types import ConfigError, DataError
from medjax.writers import read_metrics

pytestmark = pytest.mark.usefixtures("quick_compile")

NAME = "cgan_cxr:tiny"


@pytest.fixture
def run(unbroken_gan):
    """An unbroken run and its last state."""
    return unbroken_gan


def test_the_run_has_what_could_break_it(run, tiny, long_gan):
    config = tiny(*long_gan, name=NAME)
    assert config.method.augment and config.train.ema and config.data.threads == 2 and config.discriminator.dropout
    for part in ("spectral", ".ema", "batch_stats", "opt_state"):
        assert any(part in path for path in run[1]), part


def test_killed_between_checkpoints_and_resumed_equals_unbroken(run, tiny, long_gan, tmp_path):
    config = tiny(*long_gan, name=NAME)
    crashed(config, tmp_path / "run", step=5)
    said = []
    state = training.train(config, tmp_path / "run", say=said.append)
    assert said[-1] == "resuming at step 3"
    for path, value in leaves(state).items():
        np.testing.assert_array_equal(run[1][path], value, err_msg=path)
    assert values(tmp_path / "run") == values(run[0])


def test_a_validation_scores_sets_and_no_pairs(run, tiny, long_gan):
    row = [r for r in read_metrics(run[0]) if r["split"] == "validation"][-1]
    assert {"swd", "similarity_real", "d_real", "d_fake", "g_gan"} <= set(row) and "psnr" not in row
    config = tiny(*long_gan, name=NAME)
    data = build_data.open_data(config, run[0])
    real = np.concatenate([b["target"][b["mask"]] for b in build_data.eval_batches(config, data, "validation")]) / 2 + 0.5
    model = trained.load(run[0], which="latest")
    key = training.named(jax.random.key(config.data.split_seed), "validation")
    told = np.array([config.data.classes.index(data.source.records[i].labels[0]) for i in data.splits["validation"]])
    asked = {"label": told.astype(np.int32), "index": np.asarray(data.splits["validation"], np.int32)}
    images = np.asarray(model.predict()(asked, key)["target"]) / 2 + 0.5
    assert row["swd"] == pytest.approx(sliced_wasserstein(images, real)["swd"], rel=1e-3)


def test_a_sheet_has_a_row_for_every_class_and_one_noise_for_a_column(run, tiny):
    config = tiny(name=NAME)
    batch = {"index": np.arange(4), "age": np.linspace(0.2, 0.8, 4).astype(np.float32)}
    asked = cgan.asked(config, batch)
    n, classes = cgan.SHEET_COLUMNS, len(config.data.classes)
    assert asked["label"].tolist() == np.repeat(np.arange(classes), n).tolist() and set(asked) == {"label", "index"}
    assert asked["index"].reshape(classes, n).tolist() == [list(range(n))] * classes
    aged = tiny("data.columns=('age',)", name=NAME)
    np.testing.assert_array_equal(cgan.asked(aged, batch)["age"].reshape(classes, n)[:, 0], batch["age"][:classes])
    images = np.arange(classes * n, dtype=np.float32)[:, None, None, None] * np.ones((1, 2, 2, 1), np.float32) / 100
    columns, names = cgan.sheet(config, {"target": 2 * images - 1}, batch)
    assert names == tuple(config.data.classes) and list(columns)[0] == "sample 1" and len(columns) == n
    np.testing.assert_allclose(columns["sample 3"][:, 0, 0, 0], [0.02, 0.08, 0.14], atol=1e-6)
    with Image.open(run[0] / "samples" / "validation_000006.png") as sheet:
        assert sheet.size[0] > 6 * 192 and sheet.size[1] > 3 * 192


def test_columns_condition_a_run(tiny):
    """Age and sex beside the class: sizes, and a step that reads them."""
    config = tiny("data.columns=('age','sex')", "discriminator.conditioning=auxiliary", name=NAME)
    assert cgan.sizes_of(config) == (("label", 3), ("age", 0), ("sex", 2))
    data = build_data.open_data(config)
    batch = next(build_data.train_batches(config, data)(0))
    objective = networks.objective(config, 4)
    state = jax.eval_shape(objective.init, jax.random.key(0), batch)
    _, metrics = jax.eval_shape(objective.step, state, batch, jax.random.key(0))
    assert {"d_class", "g_class"} <= set(metrics)
    checks.sizes(config, objective, batch)


def test_a_run_from_before_there_were_guides_is_still_itself(run, tiny, long_gan, tmp_path):
    content = json.loads((run[0] / "config.json").read_text())
    del content["config"]["method"]["guide"], content["config"]["discriminator"]["contrast"]
    (tmp_path / "config.json").write_text(json.dumps(content))
    configs.check_same(tiny(*long_gan, name=NAME), tmp_path)
    networks.objective(configs.read(tmp_path), 1)


def test_a_classifier_guides_by_its_cross_entropy(tiny, trained_classifier):
    told = ("data.phantom_cxr.count=36", "method.guide.weight=0.3", f"method.guide.classifier={trained_classifier}")
    config = tiny(*told, name=NAME)
    data = build_data.open_data(config)
    unseen.check_origin(config, data, trained_classifier)  # both deal 36 phantoms alike
    batch = next(build_data.train_batches(config, data)(0))
    found = np.asarray(cgan.guide(config)(batch["target"], batch))
    _, probabilities = classifier.probabilities(trained_classifier)
    expected = -np.log(np.asarray(probabilities(batch["target"] / 2 + 0.5))[np.arange(len(found)), batch["label"]])
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    objective = networks.objective(config, 4)
    state = jax.eval_shape(objective.init, jax.random.key(0), batch)
    assert "g_guide" in jax.eval_shape(objective.step, state, batch, jax.random.key(0))[1]
    for words, message in (
        (told[:2], "a guide needs a classifier: set --config.method.guide.classifier=WORKDIR"),
        ((*told[:1], "method.guide.weight=-1.0"), "guide.weight is at least 0, not -1.0"),
        ((*told, "data.classes=('Mass','No Finding','Pneumonia')"), "knows No Finding, Mass, Pneumonia, not Mass, No Finding"),
    ):
        with pytest.raises(ConfigError, match=message):
            networks.objective(tiny(*words, name=NAME), 4)
    with pytest.raises(DataError, match="held out here were trained on"):
        training.train(tiny("data.phantom_cxr.count=30", *told[1:], name=NAME), "nowhere", say=lambda text: None)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("data.labels=multi",), "a CGAN is told one class of an image"),
        (("data.image_size=48", "data.crop_size=48", "data.load_size=48"), "not of 48"),
        (("data.image_size=64",), "a discriminator of 32 pixels cannot take 64x64"),
        (("train.best=psnr:max",), "a validation gives d_fake, d_real, g_gan, g_loss, similarity"),
        (("method.augment=('flip',)",), "no differentiable augmentation 'flip'"),
        (("method.r1=-1.0",), "R1 needs a gamma of at least 0, not -1.0"),
        (("method.adversary=wgan",), "unknown adversary 'wgan'"),
        (("discriminator.conditioning=sum",), "conditioning is one of projection, concatenation, auxiliary"),
        (("data.classes=('No Finding','Mass','Gout')",), "knows no label 'Gout'; it knows No Finding"),
    ],
)
def test_what_cannot_train_is_refused_before_anything_is_written(tiny, tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        training.train(tiny(*overrides, name=NAME), tmp_path / "run", say=lambda text: None)
    assert not (tmp_path / "run").exists()


def test_classes_have_to_be_named(tiny):
    """A source's own would do for the data, but the networks are made before any is opened."""
    with pytest.raises(ConfigError, match="a CGAN needs the names of its classes in config.data.classes"):
        networks.objective(tiny("data.classes=()", name=NAME), 4)
