"""Runs of conditional diffusion: what their configs refuse, how they resume and stop, and files through them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from helpers import leaves
from PIL import Image

from medjax.build import config as configs
from medjax.build import diffusion, networks, training
from medjax.cli import main
from medjax.types import ConfigError
from medjax.writers import read_metrics

pytestmark = pytest.mark.usefixtures("quick_compile")

NAME = "led_diffusion:tiny"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("method.steps=21", "21 sampling steps cannot be taken where the diffusion has 20 steps of noise"),
        ("method.start=30", "cannot start at step 30: this diffusion has 20"),
        ("method.schedule=sine", "unknown diffusion schedule 'sine'; known: linear, cosine"),
        ("method.prediction=score", "unknown prediction 'score'"),
        ("method.weighting=p2", "unknown loss weighting 'p2'"),
        ("method.sampler=heun", "unknown sampler 'heun'; known: ddpm, ddim, dpm2m"),
        ("method.condition=enhanced", "needs an enhancer"),
        ("denoiser.name=unet", "unknown denoiser 'unet'; known: denoiser"),
        ("data.scale=2", "keeps the size of its condition"),
    ],
)
def test_bad_fields_are_told(tiny, override, told):
    with pytest.raises(ConfigError, match=told):
        networks.objective(tiny(override, name=NAME), 10)


def test_a_schedule_that_ends_before_the_noise_is_told(tiny):
    with pytest.warns(UserWarning, match="the last of 20 times the schedule 'linear' leaves 82% of an image's power"):
        networks.objective(tiny("method.schedule=linear", name=NAME), 10)


def test_the_paper_is_as_published():
    config = configs.get("led_diffusion:paper")
    m, c = config.method, config
    assert (m.num_times, c.data.batch_size, c.train.epochs, c.optimizer.learning_rate) == (1000, 32, 150, 1e-5)
    assert c.data.image_size == 256 and training.num_steps(config, 1000) == 4650
    assert config.train.eval_every * config.train.patience < 4650 / 4, "it can end early"


def test_a_run_stops_early_and_stays_complete(tiny, tmp_path):
    """With no patience left the next validation that is no better is the last; the same command again changes nothing."""
    workdir, said = tmp_path / "run", []
    config = tiny("train.patience=1", "train.best=step:min", "train.steps=8", "train.sample_every=0", "train.save_every=0",
                  "train.eval_images=1", name=NAME)  # fmt: skip
    state = training.train(config, workdir, say=said.append)
    assert int(state.step) == 4 and "step was best at step 2 (2); ended early at step 4" in said
    rows = read_metrics(workdir)
    assert int(training.train(config, workdir, say=said.append).step) == 4 and "complete at step 4" in said[-1]
    assert read_metrics(workdir) == rows


def test_a_resumed_run_is_the_unbroken_one_to_the_bit(unbroken_diffusion, tiny, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(unbroken_diffusion[0], workdir)
    shutil.rmtree(workdir / "checkpoints" / "4")
    state = training.train(tiny(name=NAME), workdir, say=lambda text: None)
    for name, value in leaves(state).items():
        np.testing.assert_array_equal(value, unbroken_diffusion[1][name], err_msg=name)


def test_files_come_back_drawn_with_the_options_of_the_command(diffusion_run, tmp_path):
    """Fifty pixels by sixty; a map with samples, none without, and other draws from another sampler."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (50, 60), np.uint8)).save(tmp_path / "a.png")
    words = ["enhance", str(tmp_path / "a.png"), f"--workdir={diffusion_run}"]
    assert main([*words, f"--output={tmp_path / 'plain'}"]) == 0
    more = ["--sampler=dpm2m", "--steps=3", "--start=10", "--samples=2"]
    assert main([*words, f"--output={tmp_path / 'more'}", *more]) == 0
    assert [p.name for p in (tmp_path / "plain").iterdir()] == ["a.png"]
    assert sorted(p.name for p in (tmp_path / "more").iterdir()) == ["a.png", "a_std.tiff"]
    plain, drawn = (np.asarray(Image.open(tmp_path / f / "a.png")) for f in ("plain", "more"))
    assert plain.shape == drawn.shape == (50, 60) and (plain != drawn).any()


def test_flags_that_cannot_be_used_are_told(diffusion_run, tiny, tmp_path, capsys):
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / "a.png")

    def told(*flags):
        words = ["enhance", str(tmp_path / "a.png"), f"--workdir={diffusion_run}", f"--output={tmp_path / 'o'}"]
        assert main([*words, *flags]) == 2
        return capsys.readouterr().err

    assert "21 sampling steps cannot be taken where the diffusion has 20" in told("--steps=21")
    assert "cannot start at step 21: this diffusion has 20" in told("--start=21")
    assert "2 sampling steps cannot be taken where the diffusion starts at step 1 of its 20" in told("--start=1")
    assert "unknown sampler 'euler'" in told("--sampler=euler")
    assert not (tmp_path / "o").exists()
    with pytest.raises(ConfigError, match="--steps is for runs of diffusion, not for one of pix2pix"):
        diffusion.resampled(tiny(), {"sampler": None, "steps": 3})


def test_a_result_says_how_its_images_were_drawn(tiny):
    stated = diffusion.stated(diffusion.resampled(tiny(name=NAME), {"steps": 5, "start": 7}))["sampling"]
    assert (stated["sampler"], stated["steps"], stated["start"], stated["condition"]) == ("ddim", 5, 7, "source")
    assert diffusion.stated(tiny()) == {}
