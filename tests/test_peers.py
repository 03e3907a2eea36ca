"""The peers in PyTorch: the same networks as medjax's, parameter for parameter, and the same steps. Skipped without torch."""

from __future__ import annotations

import importlib

import jax
import numpy as np
import pytest

from experiments.benchmarks import cases
from medjax.build import config as configs
from medjax.build import diffusion, networks, trained
from medjax.objective import train_step as one_step

torch = pytest.importorskip("torch")
from experiments.benchmarks import peers  # noqa: E402

TINY = ("data.crop_size=32", "data.batch_size=2", "train.ema=0.0")
SMALL = {
    "pix2pix_cxr:tiny": (*TINY, "generator.dropout=0.0"),
    "led_cyclegan:paper": (*TINY, "generator.features=4", "generator.blocks=2", "discriminator.features=4",
                           "discriminator.layers=2", "method.adversary=lsgan", "method.discriminator_weight=0.5"),
    "esrgan:paper": (*TINY, "generator.features=8", "generator.blocks=1", "generator.growth=4"),
    "led_diffusion:paper": (*TINY, "denoiser.features=8", "denoiser.multipliers=(1,2)", "denoiser.blocks=1",
                            "denoiser.attention_levels=(1,)"),
    "classifier_cxr:paper": (*TINY, "data.crop_size=64", "classifier.width=8"),
}  # fmt: skip


def set_up(name, overrides):
    """(objective, a batch of noise, the peer) of a config."""
    config = configs.get(name, overrides)
    found = cases.peer(name, overrides, "float32")
    batch, rng = trained.blank(config, batch_size=config.data.batch_size), np.random.default_rng(0)
    batch = {k: rng.uniform(-1, 1, x.shape).astype(np.float32) if x.ndim == 4 else x for k, x in batch.items()}
    made = importlib.import_module(f"experiments.benchmarks.peers.{found['model']}").make(found["options"])
    return networks.objective(config, 100_000), batch, made


def as_torch(batch):
    return {k: torch.from_numpy(x.transpose(0, 3, 1, 2).copy() if x.ndim == 4 else x) for k, x in batch.items()}


@pytest.mark.parametrize("case", cases.TRAIN, ids=[f"{case.config} {case.batch}" for case in cases.TRAIN])
def test_peers_have_as_many_parameters(case):
    objective, batch, made = set_up(case.config, [*case.overrides, "data.batch_size=1"])
    state = jax.eval_shape(objective.init, jax.random.key(0), batch)
    ours = {name: sum(x.size for x in jax.tree.leaves(net.params)) for name, net in state.nets.items()}
    assert {name: peers.count(net) for name, net in made.nets.items()} == ours


@pytest.mark.parametrize("name", SMALL)
def test_peers_make_the_same_images_of_the_same_weights(name, quick_compile):
    objective, batch, made = set_up(name, SMALL[name])
    state = jax.jit(objective.init)(jax.random.key(0), batch)
    rng = np.random.default_rng(1)  # where zeros are drawn, a whole branch would go unseen
    moved = lambda params: jax.tree.map(lambda x: x + 0.05 * rng.normal(size=x.shape).astype(np.float32), params)
    state = state._replace(nets={k: net._replace(params=moved(net.params)) for k, net in state.nets.items()})
    for net, module in made.nets.items():
        peers.load_flax(module.eval(), state.nets[net].params)
    with torch.inference_mode():
        if name.startswith("led_diffusion"):
            x, t, source = batch["target"], np.array([3, 700]), batch["source"]
            denoiser = networks.module(configs.get(name, SMALL[name]), "denoiser", diffusion.DENOISERS)
            ours = denoiser.apply({"params": state.nets["denoiser"].params}, x, t, source)
            theirs = made.nets["denoiser"](*as_torch({"x": x, "t": t, "source": source}).values())
        else:
            one = {k: batch[k][:1] for k in ("source", "target", "index")}  # pix2pix's norms take the statistics of an image
            (ours,) = objective.predict(state, one, jax.random.key(0)).values()
            theirs = made.predict(as_torch(one))
    theirs = theirs.numpy().transpose(0, 2, 3, 1) if theirs.ndim == 4 else theirs.numpy()
    np.testing.assert_allclose(ours, theirs, atol=2e-4, rtol=1e-3)


def test_peer_of_pix2pix_takes_the_same_step():
    """From the same weights and images: the same losses, before the first update of D and after it."""
    overrides = ["generator.dropout=0.0", "data.crop_size=64", "data.batch_size=2"]
    objective, batch, made = set_up("pix2pix_cxr:tiny", overrides)
    state = jax.jit(objective.init)(jax.random.key(0), batch)
    for name, net in made.nets.items():
        peers.load_flax(net, state.nets[name].params)
    step = jax.jit(one_step(objective))
    for tolerance in (1e-4, 1e-2):  # the second step starts where Adam's signs have made rounding visible
        state, ours = step(state, batch, jax.random.key(0))
        for name, value in made.step(as_torch(batch)).items():
            assert float(ours[name]) == pytest.approx(float(value), rel=tolerance), name
