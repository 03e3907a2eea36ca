"""The perceptual term of a run: its file is found or named before anything is written, and prediction does without it."""

from __future__ import annotations

import numpy as np
import pytest

from medjax import weights
from medjax.build import evaluation, training
from medjax.types import CheckpointError, ConfigError
from medjax.weights.drawn import drawn
from medjax.writers import read_metrics

pytestmark = pytest.mark.usefixtures("quick_compile")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    network = weights.NETWORKS["resnet18"]
    path = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    weights.export(path, drawn(network), network)
    return path


def asked(*more):
    return ("method.perceptual.weight=0.5", "method.perceptual.network=resnet18", "method.perceptual.layers=('relu',)", *more)


def test_a_run_with_a_perceptual_term_needs_its_file_to_train_and_not_to_predict(tiny, file, tmp_path, monkeypatch):
    monkeypatch.delenv("MEDJAX_WEIGHTS", raising=False)
    few = ("train.steps=1", "train.log_every=1", "train.eval_images=1", "train.sample_every=0", "data.batch_size=1")
    config = tiny(*asked(f"method.perceptual.weights={file}", *few))
    training.train(config, tmp_path, say=lambda text: None)
    rows = read_metrics(tmp_path)
    train = next(row for row in rows if row["split"] == "train")
    assert train["g_perceptual"] > 0
    assert train["g_loss"] == pytest.approx(train["g_gan"] + train["g_reconstruction"] + train["g_perceptual"], rel=1e-5)
    assert next(row for row in rows if row["split"] == "validation")["g_perceptual"] > 0
    file_content = file.read_bytes()
    file.unlink()
    try:
        batch = {"source": np.zeros((1, 32, 32, 1), np.float32), "index": np.zeros(1, np.int32)}
        model = evaluation.load(tmp_path)
        assert np.isfinite(model.predict()(batch, 0)["target"]).all()
    finally:
        file.write_bytes(file_content)


def test_absent_weights_are_named_before_anything_is_written(tiny, tmp_path, monkeypatch):
    monkeypatch.delenv("MEDJAX_WEIGHTS", raising=False)
    with pytest.raises(CheckpointError, match="resnet18-f37072fd.pth.*torchvision.*perceptual.weight=0"):
        training.train(tiny(*asked()), tmp_path / "run", say=lambda text: None)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("method.perceptual.weight=-1.0", "at least 0, not -1"),
        ("method.perceptual.network=vgg99", "'vgg99' is none of"),
        ("method.perceptual.layers=('relu9_9',)", "no layer 'relu9_9'"),
        ("method.perceptual.layers=()", "to be told a layer"),
    ],
)
def test_bad_fields(tiny, tmp_path, override, told):
    with pytest.raises(ConfigError, match=told):
        training.train(tiny(*asked(override)), tmp_path / "run", say=lambda text: None)
