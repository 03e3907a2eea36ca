"""Every shipped config and variant builds; the tiny ones train two steps; headers say what they must."""

from __future__ import annotations

import json
import re

import jax
import numpy as np
import pytest

from medjax.build import checks, networks, trained, training, volumes
from medjax.build import config as configs
from medjax.types import ConfigError
from medjax.writers import read_metrics

pytestmark = pytest.mark.usefixtures("quick_compile")


def module(name):
    return configs._load_module(configs.config_folder() / f"{name}.py")


EVERY = [f"{name}:{variant}" for name in configs.names() for variant in module(name).VARIANTS]
PARAMETERS = {  # generator, discriminator
    "pix2pix_cxr:paper": (54_407_809, 2_764_609),
    "pix2pix_cxr:unet_small": (54_407_809, 2_764_609),
    "pix2pix_mri:paper": (54_407_809, 2_764_609),
}


def test_there_are_configs_and_each_has_the_three_sizes():
    assert {"pix2pix_cxr", "restorer_cxr"} <= set(configs.names())
    for name in configs.names():
        assert {f"{name}:{v}" for v in ("paper", "small", "tiny")} <= set(EVERY)


@pytest.mark.parametrize("name", EVERY)
def test_builds(name):
    """Shapes alone: states, a step and a prediction of every variant, at its own size and at that of its scores."""
    config = configs.get(name)
    if "perceptual" in config.method:
        config.method.perceptual.weight = 0.0  # a published network's weights are the user's
    if "guide" in config.method:
        config.method.guide.weight = 0.0  # so is the classifier that guides
    objective = networks.objective(config, training.num_steps(config, 100))
    batch = trained.blank(config, batch_size=config.data.batch_size)
    if config.data.source in volumes.VOLUMETRIC:
        batch["region"] = batch["target"]
    checks.sizes(config, objective, batch)
    state = jax.eval_shape(objective.init, jax.random.key(0), batch)
    sizes = {n: sum(x.size for x in jax.tree.leaves(net.params)) for n, net in state.nets.items()}
    if name in PARAMETERS:
        assert (sizes["generator"], sizes["discriminator"]) == PARAMETERS[name]
    moved, metrics = jax.eval_shape(objective.step, state, batch, jax.random.key(0))
    assert jax.tree.structure(moved) == jax.tree.structure(state)
    assert {"loss", "g_loss"} & set(metrics)
    assert config.train.best == "step:max" or not config.data.clahe.clip, "validation images are never equalised"
    assert configs.to_json(config) == json.loads(json.dumps(configs.to_json(config)))


@pytest.mark.parametrize("name", [name for name in EVERY if name.endswith(":tiny")])
def test_tiny_trains(name, request, tiny, long, long_gan, long_cyclegan, tmp_path):
    """To its end, leaving what a run leaves; some are runs that the suite shares, with their overrides."""
    said, workdir, overrides = [], tmp_path / "run", ()
    shared = {
        "pix2pix_cxr:tiny": ("trained", long),
        "pix2pix_mri:tiny": ("trained_mri", ()),
        "cgan_cxr:tiny": ("gan_run", long_gan),
        "led_cyclegan:tiny": ("cyclegan_run", long_cyclegan),
        "led_diffusion:tiny": ("diffusion_run", ()),
        "classifier_cxr:tiny": ("trained_classifier", ("data.phantom_cxr.count=36",)),
    }
    if name in shared:
        workdir, overrides = request.getfixturevalue(shared[name][0]), shared[name][1]
    else:
        training.train(tiny(name=name), workdir, say=said.append)
        assert any("parameters" in line for line in said), said
    config = tiny(*overrides, name=name)
    last, every = config.train.steps, config.train.eval_every
    expected = [(i, split) for i in range(1, last + 1) for split in ("train", "validation")[: 1 + (i % every == 0)]]
    rows = read_metrics(workdir)
    assert [(r["step"], r["split"]) for r in rows] == expected
    assert all(np.isfinite(v) for row in rows for v in row.values() if isinstance(v, float))
    for left in ("config.json", "splits.json", "parameters.txt", f"samples/validation_{last:06d}.png", f"checkpoints/{last}"):
        assert (workdir / left).exists(), left
    state = training.train(config, workdir, say=said.append)
    assert f"complete at step {last}" in said[-1] and int(state.step) == last
    assert read_metrics(workdir) == rows, "the same command on a complete run changes nothing"


@pytest.mark.parametrize("name", configs.names())
def test_headers_give_paper_command_cost_and_number(name):
    text = module(name).__doc__
    assert f"medjax train --config={name}:" in text
    assert "| variant | what | cost |" in text and "number to reach" in text and re.search(r"\d dB|FID|AUC", text)
    for variant in module(name).VARIANTS:
        assert f"| {variant} |" in text, variant


@pytest.mark.parametrize("name", configs.names())
def test_an_unknown_variant_is_an_error(name):
    with pytest.raises(ConfigError, match="variant 'huge' is none of"):
        configs.get(f"{name}:huge")
