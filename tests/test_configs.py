"""Every shipped config and variant builds; the tiny ones train two steps; headers say what they must."""

from __future__ import annotations

import json
import re

import jax
import numpy as np
import pytest

from medjax.build import config as configs
from medjax.build import networks, training
from medjax.types import ConfigError
from medjax.writers import read_metrics

pytestmark = pytest.mark.usefixtures("quick_compile")

EVERY = [f"{name}:{variant}" for name in configs.names() for variant in configs._load_module(configs.config_folder() / f"{name}.py").VARIANTS]
PARAMETERS = {  # generator, discriminator
    "pix2pix_cxr:paper": (54_407_809, 2_764_609 + 0),
    "pix2pix_cxr:unet_small": (54_407_809, 2_764_609),
}


def test_there_are_configs_and_each_has_the_three_sizes():
    assert {"pix2pix_cxr", "restorer_cxr"} <= set(configs.names())
    for name in configs.names():
        assert {f"{name}:{v}" for v in ("paper", "small", "tiny")} <= set(EVERY)


@pytest.mark.parametrize("name", EVERY)
def test_builds(name):
    """Shapes alone: states, a step and a prediction of every variant, at its own size and at that of its scores."""
    config = configs.get(name)
    objective = networks.objective(config, training.num_steps(config, 100))
    image = np.zeros((config.data.batch_size, config.data.crop_size, config.data.crop_size, 1), np.float32)
    batch = {"source": image, "target": image, "index": np.zeros(config.data.batch_size, np.int32)}
    training.check_sizes(config, objective, batch)
    state = jax.eval_shape(objective.init, jax.random.key(0), batch)
    sizes = {n: sum(x.size for x in jax.tree.leaves(net.params)) for n, net in state.nets.items()}
    if name in PARAMETERS:
        assert (sizes["generator"], sizes["discriminator"]) == PARAMETERS[name]
    moved, metrics = jax.eval_shape(objective.step, state, batch, jax.random.key(0))
    assert jax.tree.structure(moved) == jax.tree.structure(state) and "g_loss" in metrics
    assert configs.to_json(config) == json.loads(json.dumps(configs.to_json(config)))


@pytest.mark.parametrize("name", [name for name in EVERY if name.endswith(":tiny")])
def test_tiny_trains(name, request, tiny, tmp_path):
    said = []
    if name == "pix2pix_cxr:tiny":
        workdir = request.getfixturevalue("trained")
    else:
        workdir = tmp_path / "run"
        training.train(tiny(name=name), workdir, say=said.append)
        assert "parameters" in said[0]
    rows = read_metrics(workdir)
    splits = [(r["step"], r["split"]) for r in rows]
    assert splits == [(1, "train"), (2, "train"), (2, "validation"), (3, "train"), (4, "train"), (4, "validation")]
    assert all(np.isfinite(v) for row in rows for v in row.values() if isinstance(v, float))
    for left in ("config.json", "splits.json", "parameters.txt", "samples/validation_000004.png", "checkpoints/4"):
        assert (workdir / left).exists(), left
    state = training.train(tiny(name=name), workdir, say=said.append)
    assert "complete at step 4" in said[-1] and int(state.step) == 4
    assert read_metrics(workdir) == rows, "the same command on a complete run changes nothing"


@pytest.mark.parametrize("name", configs.names())
def test_headers_give_paper_command_cost_and_number(name):
    text = configs._load_module(configs.config_folder() / f"{name}.py").__doc__
    assert f"medjax train --config={name}:" in text
    assert "| variant | what | cost |" in text and "number to reach" in text and re.search(r"\d dB|FID|AUC", text)
    for variant in configs._load_module(configs.config_folder() / f"{name}.py").VARIANTS:
        assert f"| {variant} |" in text, variant


@pytest.mark.parametrize("name", configs.names())
def test_an_unknown_variant_is_an_error(name):
    with pytest.raises(ConfigError, match="variant 'huge' is none of"):
        configs.get(f"{name}:huge")
