"""A run of diffusion that refines what a CycleGAN makes: which run it takes, what it starts from, and what it refuses."""

from __future__ import annotations

import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from medjax.build import checks, diffusion, enhancer, networks, trained
from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.cli import main
from medjax.types import CheckpointError, ConfigError, DataError

pytestmark = pytest.mark.usefixtures("quick_compile")

NAME = "led_diffusion:tiny"
COMMAND = "medjax train --config=led_cyclegan --workdir="


@pytest.fixture
def on_pairs(tiny, led_pairs, cyclegan_run):
    """The config of a run on pairs of the CycleGAN that enhances for it, with overrides."""
    words = ("data.source=led_pairs", f"data.root={led_pairs}", "data.degradation.steps=()", f"method.enhancer={cyclegan_run}")
    return lambda *more: tiny(*words, *more, name=NAME)


def drawn_by(workdir, copy, **method):
    """A copy of a run whose config draws otherwise."""
    shutil.copytree(workdir, copy)
    stored = json.loads((copy / "config.json").read_text())
    stored["config"]["method"] |= method
    (copy / "config.json").write_text(json.dumps(stored))
    return copy


def test_hardly_any_noise_leaves_what_g_ab_makes(diffusion_run, cyclegan_run, tmp_path, capsys):
    """After one step of noise the draw is the start image, which is that of `medjax enhance` with the CycleGAN itself."""
    given = np.random.default_rng(0).integers(0, 256, (32, 32)).astype(np.uint8)
    Image.fromarray(given).save(tmp_path / "a.png")

    def made(workdir, *flags):
        output = tmp_path / ("refined" if flags else "first")
        assert main(["enhance", str(tmp_path / "a.png"), f"--workdir={workdir}", f"--output={output}", *flags]) == 0
        return np.asarray(Image.open(output / "a.png"), float)

    first = made(cyclegan_run)
    refined = made(diffusion_run, "--start=1", "--steps=1", "--condition=enhanced", f"--enhancer={cyclegan_run}")
    assert np.abs(refined - first).mean() < 15 < 30 < np.abs(refined - given).mean()
    assert "trained on the condition 'source' and shown 'enhanced' at inference" in capsys.readouterr().err


def test_what_cannot_be_enhanced_with_is_told(diffusion_run, cyclegan_run, tiny, tmp_path, capsys):
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "a.png")

    def told(*flags, status=2):
        words = ["enhance", str(tmp_path / "a.png"), f"--workdir={diffusion_run}", f"--output={tmp_path / 'o'}"]
        assert main([*words, *flags]) == status
        return capsys.readouterr().err

    assert "--enhancer changes nothing where images begin as noise alone" in told(f"--enhancer={cyclegan_run}")
    absent = told("--start=5", f"--enhancer={tmp_path / 'none'}", status=1)
    assert "holds no run whose enhancement could be used" in absent and f"{COMMAND}{tmp_path / 'none'}" in absent
    assert f"which {COMMAND}WORKDIR trains" in told("--condition=enhanced")
    assert "holds a run of diffusion, which learns no enhancement" in told("--start=5", f"--enhancer={diffusion_run}")
    assert not (tmp_path / "o").exists()
    larger = tiny("data.image_size=64", "method.start=5", f"method.enhancer={cyclegan_run}", name=NAME)
    with pytest.raises(ConfigError, match="is of images of 32 pixels, and config.data.image_size is 64"):
        networks.objective(larger, 4)


def test_a_run_is_trained_on_what_it_is_shown(on_pairs, cyclegan_run):
    """The loss of an untrained denoiser is that of nothing, whatever it is shown; f(x) is g_ab's prediction with its average."""
    config = on_pairs("method.trained_on=enhanced", "method.condition=enhanced", "method.start=10")
    batch = next(build_data.train_batches(config, build_data.open_data(config))(0))
    ours = jax.jit(enhancer.enhancer(config))(batch["source"])
    theirs = trained.load(cyclegan_run).predict()({"source": batch["source"]}, jax.random.key(1))["target"]
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    objective = networks.objective(config, 4)
    checks.sizes(config, objective, batch)
    state = jax.eval_shape(objective.init, jax.random.key(0), batch)
    assert "loss" in jax.eval_shape(objective.step, state, batch, jax.random.key(0))[1]


def test_an_enhancer_is_needed_where_images_are_drawn_with_it(diffusion_run, tmp_path):
    """A run of which only the training read one, or that no longer asks for it, is used without."""
    gone = str(tmp_path / "gone")
    free = drawn_by(diffusion_run, tmp_path / "free", enhancer=gone)
    assert trained.load(free).config.method.enhancer == gone
    with pytest.warns(UserWarning, match="trained on the condition 'enhanced' and shown 'source'"):
        trained.load(drawn_by(diffusion_run, tmp_path / "taught", enhancer=gone, trained_on="enhanced"))
    bound = drawn_by(diffusion_run, tmp_path / "bound", enhancer=gone, start=5)
    with pytest.raises(CheckpointError, match=f"train it with {COMMAND}{gone}"):
        trained.load(bound)
    trained.load(bound, sampling={"enhancer": ""})


def test_nobody_is_held_out_here_who_was_trained_on_there(on_pairs, tiny, cyclegan_run, led_pairs, tmp_path):
    """Pairs and phantoms by another name are the CycleGAN's own images, and their patients are known again."""
    config = on_pairs()
    data = build_data.open_data(config)
    checks.origins(config, data)
    swapped = {"train": "test", "validation": "validation", "test": "train"}
    patients = {name: sorted({data.source.records[i].patient for i in data.splits[swapped[name]]}) for name in data.splits}
    (tmp_path / "splits.json").write_text(json.dumps({"patients": patients}))
    with pytest.raises(DataError, match="6 patients are held out of led_pairs whose images trained"):
        build_data.open_data(on_pairs(f"data.split_file={tmp_path / 'splits.json'}"))
    with pytest.raises(ConfigError, match="keeps the splits that its pairs were made in"):
        build_data.open_data(on_pairs("data.folds=3"))
    other = tiny(f"method.enhancer={cyclegan_run}", "data.split=(0.25,0.25,0.5)", name=NAME)
    with pytest.raises(DataError, match="patients of phantom_cxr that are held out here were trained on in"):
        checks.origins(other, build_data.open_data(other))


def test_a_run_goes_on_with_the_enhancer_it_began_with(on_pairs, cyclegan_run, tmp_path):
    """Wherever it lies now; one that was trained on, or none at all, is another."""
    config = on_pairs("method.start=5")
    configs.write(config, tmp_path, **enhancer.facts(config))
    moved = tmp_path / "moved"
    shutil.copytree(cyclegan_run, moved)
    elsewhere = on_pairs("method.start=5", f"method.enhancer={moved}")
    configs.check_same(elsewhere, tmp_path)
    enhancer.check_same(elsewhere, tmp_path)
    shutil.rmtree(moved / "checkpoints" / "6")
    for other in (elsewhere, on_pairs("method.start=5", "method.enhancer=")):
        with pytest.raises(ConfigError, match=r"another enhancer \(step 6 of led_cyclegan:tiny there, (step 3|none)"):
            enhancer.check_same(other, tmp_path)


def test_a_result_says_by_what_its_images_were_begun(on_pairs, tiny):
    stated = diffusion.stated(on_pairs("method.start=5", "method.trained_on=enhanced"))["sampling"]
    assert (stated["enhancer"]["run"], stated["enhancer"]["checkpoint_step"]) == ("led_cyclegan:tiny", 6)
    assert "shown 'source' at inference" in stated["mismatch"]
    plain = diffusion.stated(on_pairs())["sampling"]
    assert plain["enhancer"] is None and "mismatch" not in plain
