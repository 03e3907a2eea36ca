"""Models by name: a file of exported weights is the run it came from, and what is absent is told with what is there."""

from __future__ import annotations

import json
import re

import jax
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from medjax.build import config as configs
from medjax.build import importing, named, trained
from medjax.cli import main
from medjax.types import CheckpointError

pytestmark = pytest.mark.usefixtures("quick_compile")


@pytest.fixture(scope="module")
def models(trained, diffusion_run, cyclegan_run, tmp_path_factory):
    """A folder of three models; of each kind the net that predicts."""
    folder = tmp_path_factory.mktemp("models")
    for name, run in (("gan", trained), ("drawn", diffusion_run), ("translator", cyclegan_run)):
        assert main(["export-weights", str(folder / f"{name}.safetensors"), f"--workdir={run}"]) == 0
    return folder


def test_a_named_model_enhances_as_its_run_does(models, trained, tmp_path, monkeypatch):
    picture = np.random.default_rng(0).integers(0, 255, (40, 33), np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    monkeypatch.setenv(named.VARIABLE, str(models))
    ways = {"run": [f"--workdir={trained}"], "named": ["--model=gan"], "given": ["--model=gan", f"--models={models}"]}
    for name, words in ways.items():
        assert main(["enhance", str(tmp_path / "a.png"), f"--output={tmp_path / name}", *words]) == 0
    run, *others = (np.asarray(Image.open(tmp_path / name / "a.png")) for name in ways)
    assert (run != picture).any()
    for other in others:
        np.testing.assert_array_equal(other, run)


@pytest.mark.parametrize(("name", "net"), [("drawn", "denoiser"), ("translator", "g_ab")])
def test_the_net_that_predicts_comes_back_to_the_bit(name, net, models, diffusion_run, cyclegan_run):
    run = {"drawn": diffusion_run, "translator": cyclegan_run}[name]
    ours, theirs = trained.load(models / f"{name}.safetensors"), trained.load(run)
    assert list(ours.state.nets) == [net] and ours.step == theirs.step
    jax.tree.map(np.testing.assert_array_equal, ours.state.nets[net].params, theirs.state.nets[net].params)


def test_the_places_of_a_machine_stay_there(trained, tmp_path, tiny):
    config = tiny("data.root=/nowhere/data", "init_from=/nowhere/run", "evaluation.weights.vgg19=/nowhere/vgg.pth")
    told = named.metadata_of(config, {"fov_mm": 200.0, "data_root": "/nowhere/data"}, net="generator", step=7)
    assert "/nowhere" not in json.dumps(told) and json.loads(told["run"])["resolved"] == {"fov_mm": 200.0}
    file = tmp_path / "m.safetensors"
    importing.export(trained, file)
    assert configs.read(file).generator == configs.read(trained).generator
    assert "train.compilation_cache" in dict(configs.flatten(configs.read(file)))


def test_what_is_absent_is_told_with_what_is_there(models, tmp_path, capsys):
    image = tmp_path / "a.png"
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(image)
    cases = {
        ("--model=restorer", f"--models={models}"): "no model 'restorer' in .* \\(there: drawn, gan, translator\\); medjax exp",
        ("--model=../gan", f"--models={models}"): "no model '../gan'",
        ("--model=gan", f"--models={tmp_path / 'absent'}"): "there: none",
    }
    for words, told in cases.items():
        assert main(["enhance", str(image), f"--output={tmp_path / 'out'}", *words]) == 1
        error = capsys.readouterr().err
        assert re.search(told, error) and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
    for words in ([], ["--model=gan", f"--workdir={models}"]):
        with pytest.raises(SystemExit):
            main(["enhance", str(image), f"--output={tmp_path / 'out'}", *words])


def test_weights_that_tell_of_no_run_are_refused(models, tmp_path):
    save_file(load_file(models / "gan.safetensors"), tmp_path / "bare.safetensors")
    with pytest.raises(CheckpointError, match="does not tell what run its weights are of"):
        trained.load(tmp_path / "bare.safetensors")
    with pytest.raises(CheckpointError, match="is absent"):
        trained.load(tmp_path / "absent.safetensors")


@pytest.mark.slow
def test_models_are_trained_scored_and_exported_with_a_card(flags, tmp_path, monkeypatch, capsys):
    from experiments import train_models

    words = ["--variant=tiny", "--only=restorer_cxr", f"--workdir={tmp_path / 'runs'}", f"--output={tmp_path / 'models'}", *flags]
    assert train_models.main([*words, "--config.evaluation.baselines=()", "--config.evaluation.features=()"]) == 0
    file = named.find("restorer_cxr_tiny", tmp_path / "models")
    card = file.with_suffix(".md").read_text()
    assert "| model | " in card and "test images of phantom_cxr | psnr | ssim |" in card
    assert trained.load(file).config.name == "restorer_cxr"
    assert "medjax enhance --model=restorer_cxr_tiny" in capsys.readouterr().out
    monkeypatch.setattr(train_models, "MOST_BYTES", 100)
    assert train_models.main([*words, "--config.evaluation.baselines=()", "--config.evaluation.features=()"]) == 2
    assert not file.exists() and "more than 0: narrow the network" in capsys.readouterr().err
