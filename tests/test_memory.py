"""Rematerialisation and micro-batches: the same step from less memory, and the benchmark that says how much less."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import leaves

from experiments.benchmarks import memory
from medjax import losses, objectives
from medjax.build import networks, trained, training
from medjax.images import diffaugment
from medjax.models.blocks import BatchNorm, Dropout
from medjax.models.cgan import Generator
from medjax.models.conditional_discriminator import ConditionalDiscriminator
from medjax.models.discriminators import MultiScale, PatchGAN
from medjax.models.restorer import Restorer
from medjax.models.sr_discriminator import SRDiscriminator
from medjax.models.unet import UNet
from medjax.objective import Player, descend
from medjax.objectives.adversarial import adversarial, alone
from medjax.objectives.cgan import class_loss
from medjax.rng import named
from medjax.types import ConfigError

pytestmark = pytest.mark.usefixtures("quick_compile")

KEY = jax.random.key(5)
SIZES = (("label", 3), ("age", 0))


def batch_of(count=4, side=16):
    rng = np.random.default_rng(0)
    images = {name: rng.uniform(-1, 1, (count, side, side, 1)).astype(np.float32) for name in ("source", "target")}
    columns = {"label": np.arange(count, dtype=np.int32) % 3, "age": rng.uniform(0, 1, count).astype(np.float32)}
    return {**images, **columns, "index": np.arange(count, dtype=np.int32) + 7}


def assert_close(ours, theirs, *, atol):
    ours, theirs = leaves(ours), leaves(theirs)
    assert ours.keys() == theirs.keys()
    for path, value in ours.items():
        np.testing.assert_allclose(value, theirs[path], rtol=1e-9, atol=atol, err_msg=path)


@pytest.fixture
def double(monkeypatch):
    """Networks that compute in float64, also where they say float32."""
    with jax.enable_x64(True):
        monkeypatch.setattr(jnp, "float32", jnp.float64)
        yield lambda tree: jax.tree.map(lambda x: x.astype(np.float64) if np.issubdtype(x.dtype, np.floating) else x, tree)


def player(module):
    return Player(module, optax.sgd(1.0))  # a step of it is the gradient


# ------------------------------------------------------------------------------------------------ micro-batches


SMALL = {"image_size": 16, "features": 4, "most_features": 8, "embedding": 4}


def supervised(microbatch):
    return objectives.supervised(player(Restorer((4,), (1,))), loss=losses.charbonnier, microbatch=microbatch)


class Linear(nn.Module):
    """A classifier of three classes."""

    @nn.compact
    def __call__(self, x, *, train=False):
        return nn.Dense(3)(jnp.tanh(nn.Dense(8)(x.reshape(x.shape[0], -1))))


def classification(microbatch):
    return objectives.classification(player(Linear()), class_weights=(1.0, 2.0, 3.0), microbatch=microbatch)


def pix2pix(microbatch):
    g = player(UNet(features=4, levels=2, norm="instance", dropout=0.0))
    d = player(PatchGAN(features=4, layers=1, norm="none"))
    return objectives.pix2pix(g, d, reconstruction=losses.l2, feature_matching_weight=3.0, microbatch=microbatch)


def cgan(microbatch):
    """With everything that draws for each image: the latent and D's augmentation."""
    g = player(Generator(SIZES, **SMALL, norm="instance", conditional_norm=True))
    d = player(ConditionalDiscriminator(SIZES, **SMALL, hidden=8, conditioning="auxiliary", dropout=0.0))
    return objectives.cgan(
        g, d, columns=("label", "age"), latent=8, adversary=losses.lsgan(), gradient_penalty=losses.r1(2.0),
        augment=lambda images, keys: diffaugment(keys, images), auxiliary=lambda *a: class_loss(*a, columns=("label", "age")),
        microbatch=microbatch,
    )  # fmt: skip


SLOW = [pytest.param(make, marks=pytest.mark.slow) for make in (pix2pix, cgan)]


@pytest.mark.parametrize("make", [supervised, classification, *SLOW])
def test_a_step_in_micro_batches_is_the_step_of_the_whole_batch(make, double):
    """Without statistics of a batch and without dropout, in float64: parameters and metrics."""
    batch = double(batch_of())
    whole = make(0)
    state = double(jax.jit(whole.init)(KEY, batch))
    moved, metrics = jax.jit(whole.step)(state, batch, KEY)
    assert any(not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(moved), strict=True))
    assert {x.dtype for x in jax.tree.leaves(moved.nets)} <= {np.dtype(np.float64)}
    for microbatch in (1, 2) if make in (supervised, classification) else (2,):  # GANs compile for longer
        parts, terms = jax.jit(make(microbatch).step)(state, batch, KEY)
        assert_close(parts, moved, atol=1e-11)
        assert_close(terms, metrics, atol=1e-11)


def test_one_part_is_no_part():
    """A micro-batch as large as the batch leaves the program as it was, and there is no step in turn."""
    batch = batch_of()
    state = jax.eval_shape(pix2pix(0).init, KEY, batch)
    whole, same, half = (str(jax.make_jaxpr(pix2pix(n).step)(state, batch, KEY)) for n in (0, 4, 2))
    assert same.count(" scan[") == whole.count(" scan[") and len(same) == len(whole)
    assert half.count(" scan[") == whole.count(" scan[") + 2


class Level(nn.Module):
    """A generator of one number times its input, with dropout; or normalised by the batch."""

    norm: bool = False

    @nn.compact
    def __call__(self, x, *, train=False):
        w = self.param("w", nn.initializers.ones, ())
        return w * (BatchNorm(name="norm")(x, train=train) if self.norm else Dropout(0.5)(x))


def level(microbatch, **options):
    """Its loss is the mean of what it makes, and so is its gradient, as w is 1."""
    loss = lambda fake, target: fake.mean((1, 2, 3))  # noqa: E731
    return objectives.supervised(player(Level(**options)), loss=loss, microbatch=microbatch)


def test_running_statistics_pass_through_the_parts_in_their_order():
    batch = batch_of()
    state = level(2, norm=True).init(KEY, batch)
    moved, _ = jax.jit(level(2, norm=True).step)(state, batch, KEY)
    parts = batch["source"].astype(np.float64).reshape(2, -1)
    mean, var = 0.0, 1.0
    for part in parts:
        mean, var = 0.9 * mean + 0.1 * part.mean(), 0.9 * var + 0.1 * part.var(ddof=1)
    stats = moved.nets["generator"].stats["batch_stats"]["norm"]
    np.testing.assert_allclose([stats["mean"][0], stats["var"][0]], [mean, var], rtol=1e-5)


def test_dropout_is_drawn_anew_for_every_part():
    """Ones that are kept count twice: the gradient is the mean over parts of what each one's own key keeps."""
    batch = {name: np.ones((2, 8, 8, 1), np.float32) for name in ("source", "target")}
    objective = level(1)
    state = objective.init(KEY, batch)
    moved, metrics = jax.jit(objective.step)(state, batch, KEY)
    keys = [named(jax.random.fold_in(KEY, i), "dropout") for i in range(2)]
    made = [player(Level()).apply({"w": jnp.ones(())}, {}, batch["source"][:1], train=True, rng=key) for key in keys]
    kept = [float(y.mean()) for y, _ in made]
    assert kept[0] != kept[1]
    assert float(metrics["g_loss"]) == pytest.approx(np.mean(kept), rel=1e-6)
    assert float(moved.nets["generator"].params["w"]) == pytest.approx(1 - np.mean(kept), rel=1e-5)


class Gain(nn.Module):
    """One number times its input; as a critic, the mean of that over each image."""

    critic: bool = False

    @nn.compact
    def __call__(self, x, *, train=False):
        y = self.param("w", nn.initializers.constant(5.0), ()) * x
        return [[y.mean((1, 2, 3), keepdims=True)]] if self.critic else y


def test_a_relativistic_adversary_compares_with_the_means_of_its_part():
    """The step of two parts has the mean of the terms that each part has as a batch of its own."""
    make = lambda microbatch: adversarial(  # noqa: E731
        player(Gain()), player(Gain(critic=True)), seen=alone, adversary=losses.relativistic_average(), microbatch=microbatch
    )
    batch = batch_of()
    state, step = make(0).init(KEY, batch), jax.jit(make(0).step)
    halves = [step(state, {k: v[i : i + 2] for k, v in batch.items()}, KEY)[1]["d_loss"] for i in (0, 2)]
    found = jax.jit(make(2).step)(state, batch, KEY)[1]["d_loss"]
    assert float(found) == pytest.approx(float(np.mean(halves)), rel=1e-6)
    assert abs(float(found) - float(step(state, batch, KEY)[1]["d_loss"])) > 1e-4


@pytest.mark.parametrize("microbatch", [3, 8, -1])
def test_uneven_parts_are_refused_with_both_numbers(microbatch, tiny):
    net = player(Level())
    nets = {"generator": net.init(KEY, jnp.ones((1, 4, 4, 1)))}
    with pytest.raises(ConfigError, match=f"a batch of 4 images is no multiple of micro-batches of {microbatch}"):
        descend({"generator": net}, nets, lambda *a: None, batch_of(), KEY, microbatch=microbatch)
    config = tiny("data.batch_size=4", f"train.microbatch={microbatch}")
    with pytest.raises(ConfigError, match=f"config.data.batch_size, 4, is no multiple of config.train.microbatch, {microbatch}"):
        networks.objective(config, 1)


# --------------------------------------------------------------------------------------------- rematerialisation


def generator(**options):
    module = Generator(SIZES, **SMALL, conditional_norm=True, dropout=0.3, **options)
    batch = batch_of()
    return module, (np.random.default_rng(1).normal(size=(4, 8)), {"label": batch["label"], "age": batch["age"]})


def conditional(**options):
    module = ConditionalDiscriminator(SIZES, **SMALL, hidden=8, norm="batch", spectral=True, minibatch_std=True, **options)
    batch = batch_of()
    return module, (batch["target"], {"label": batch["label"], "age": batch["age"]})


def srgan(**options):
    return SRDiscriminator(features=4, stages=2, dense=8, grid=1, **options), (batch_of()["target"],)


def patchgan(**options):
    return PatchGAN(features=4, layers=2, **options), (batch_of()["target"],)


def multiscale(**options):
    return MultiScale(scales=2, features=4, layers=1, **options), (batch_of()["target"],)


@pytest.mark.parametrize("make", [generator, conditional, srgan, patchgan, multiscale])
def test_blocks_computed_again_are_the_same_function(make, double):
    """Parameters and their initial values, outputs, feature maps, statistics, dropout's draws, gradients; in float64."""
    (plain, inputs), (again, _) = make(), make(remat=True)
    inputs = double(jax.tree.map(np.asarray, inputs))
    variables = [jax.jit(lambda m=m: m.init({"params": KEY}, *inputs))() for m in (plain, again)]
    for path, value in leaves(variables[0]).items():
        np.testing.assert_array_equal(leaves(variables[1])[path], value, err_msg=path)
    params = double(dict(variables[0]))
    rest = {name: params.pop(name) for name in list(params) if name != "params"}

    def loss(module):
        def run(params):
            y, changed = module.apply({**params, **rest}, *inputs, train=True, rngs={"dropout": KEY}, mutable=list(rest))
            return sum(jnp.square(x - 0.3).mean() for x in jax.tree.leaves(y)), (y, changed)

        return jax.grad(run, has_aux=True)

    steps = [jax.jit(loss(module)) for module in (plain, again)]
    found = [step(params) for step in steps]
    assert_close(found[1], found[0], atol=1e-12)
    assert len(found[0][1][1]) == len(rest) and all(np.abs(g).max() > 0 for g in jax.tree.leaves(found[0][0]) if g.ndim > 1)
    traced = [str(step.trace(params).jaxpr) for step in steps]
    assert "remat" not in traced[0] and "remat" in traced[1]


@pytest.mark.parametrize("name", ["cgan_cxr:tiny", "srgan_cxr:tiny", "esrgan:tiny_gan", "esrgan:light"])
def test_one_field_reaches_every_network_of_a_config(name, tiny):
    for remat in (False, True):
        config = tiny(f"train.remat={remat}", name=name)
        tables = {"generator": networks.GENERATORS, "discriminator": networks.DISCRIMINATORS}
        made = [networks.module(config, section, table) for section, table in tables.items() if section in config]
        assert made and all(getattr(module, "net", module).remat is remat for module in made)


@pytest.mark.parametrize(
    ("name", "told"),
    [("pix2pix_cxr:tiny", "the generator 'unet'"), ("restorer_cxr:tiny", "'restorer'"), ("classifier_cxr:tiny", "classifier")],
)
def test_a_network_without_the_option_is_named(name, told, tiny, tmp_path):
    with pytest.raises(ConfigError, match=f"config.train.remat: .*{told}.* has no blocks that can be computed again"):
        training.train(tiny("train.remat=True", name=name), tmp_path / "run", say=lambda text: None)
    assert not (tmp_path / "run").exists()


def test_a_run_with_both_trains_and_may_be_resumed_without_remat(tiny, tmp_path):
    both = ("train.remat=True", "train.microbatch=1", "train.eval_every=0", "train.sample_every=0")
    training.train(tiny(*both, "train.steps=2", name="srgan_cxr:tiny"), tmp_path / "run", say=lambda text: None)
    plain = tiny(*both[1:], "train.steps=2", name="srgan_cxr:tiny")
    said = []
    assert int(training.train(plain, tmp_path / "run", say=said.append).step) == 2 and "complete at step 2" in said[-1]
    assert trained.load(tmp_path / "run", which="latest").step == 2
    with pytest.raises(ConfigError, match="train.microbatch: 1 there, 2 now"):
        training.train(tiny("train.microbatch=2", *both[2:], "train.steps=2", name="srgan_cxr:tiny"), tmp_path / "run")


# ---------------------------------------------------------------------------------------------------- the figures


def test_xla_reserves_less_for_either(monkeypatch):
    """Temporaries of the compiled step of four residual blocks, batch 8, as the benchmark measures them here."""
    monkeypatch.setitem(memory.SYSTEMS, "tiny", {"L1": ("esrgan:tiny", ("data.crop_size=64", "generator.blocks=4"))})
    rows = {form: memory.measure("tiny", "L1", 8, form, apart=False) for form in ("plain", "remat", "micro")}
    plain, remat, micro = (row["bytes"]["temporaries"] for row in rows.values())
    assert remat < 0.8 * plain and micro < 0.4 * plain, (plain, remat, micro)
    for row in rows.values():
        parts = row["bytes"]
        assert parts["total"] == parts["arguments"] + parts["outputs"] + parts["temporaries"] and parts["arguments"] > 0
        assert row["process"] is None and set(row["parameters"]) == {"generator"} and memory.total(row) == parts["total"]


def row(system, batch, form, gib):
    return {"system": system, "batch": batch, "form": form, "bytes": {"total": int(gib * memory.GIB)}, "process": None}


def test_the_verdict_rests_on_the_stages_as_they_are_and_gives_figures():
    plain = {"A": (0.5, 2.0), "B": (3.0, 12.0), "C": (1.5, 6.0)}
    rows = [row(name, batch, "plain", size) for name, sizes in plain.items() for batch, size in zip((1, 4), sizes, strict=True)]
    rows[4:4] = [row("B", 4, "remat", 9.0), row("B", 4, "micro", 3.25)]
    word, text = memory.verdict(rows)
    assert word == "fails"
    assert "B takes 3.00 at batch 1, 12.00 at batch 4 (too much from batch 4 on), there 3.25 with micro-batches of one" in text
    assert "A takes 0.50 at batch 1, 2.00 at batch 4;" in text and "one image in B takes 2 times the memory of C" in text
    assert memory.verdict(rows, limit=12 * memory.GIB)[0] == "holds", "the direct one is no stage"
    assert memory.verdict([*rows[:2], {"system": "B", "batch": 1, "form": "plain", "failed": "?"}])[0] == "untestable"
    lines = memory.table([*rows, {"system": "C", "batch": 16, "form": "plain", "failed": "not compiled"}]).splitlines()
    assert lines[0].split() == ["system", "batch", *(word for form in memory.FORMS for word in form.split())]
    assert lines[4].split() == ["B", "4", "12.00", "9.00", "3.25", "-"] and lines[-1].split() == ["C", "16", "-", "-", "-", "-"]


def test_a_late_process_is_told():
    late = memory.measure("tiny", "CGAN 32", 2, "plain", seconds=0.05)
    assert late == {"system": "CGAN 32", "batch": 2, "form": "plain", "failed": "not compiled within 0.05 s"}
    assert memory.total(late) is None


def test_every_system_of_the_benchmark_is_a_config_that_builds():
    """The step itself of the one that no config makes alone: SRGAN over VGG19, whose weights are shapes."""
    for scale, systems in memory.SYSTEMS.items():
        for system in systems:
            step, objective, batch, variables = memory.prepare(scale, system, 2, "remat, micro")
            assert (variables is not None) == (system == memory.VGG)
            assert batch["target"].shape[1] == int(system.replace(",", "").split(" to ")[-1].removeprefix("CGAN ").split()[0])
            if system in (memory.VGG, "CGAN 512"):
                state = jax.eval_shape(objective.init, KEY, batch)
            if system == memory.VGG:
                moved, metrics = jax.eval_shape(step, state, batch, KEY, variables)
                assert jax.tree.structure(moved) == jax.tree.structure(state) and "g_perceptual" in metrics
