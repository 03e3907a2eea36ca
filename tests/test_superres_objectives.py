"""The two phases of super-resolution: their losses against numpy, their configs, their joint, and what is scored beside them."""

from __future__ import annotations

import json
import math
import shutil
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import crashed, leaves
from ml_collections import ConfigDict
from safetensors.numpy import save_file

from medjax import losses, objectives, weights
from medjax.build import evaluation, networks, training
from medjax.build import perceptual as build_perceptual
from medjax.build.companions import interpolated
from medjax.cli import main
from medjax.models.layers import Conv2d
from medjax.models.sr_discriminator import SRDiscriminator
from medjax.models.srresnet import SRResNet
from medjax.models.vgg import VGG
from medjax.objective import Player, train_step
from medjax.state import interpolate
from medjax.types import CheckpointError, ConfigError, DataError
from medjax.weights.networks import Network
from medjax.weights.preprocess import Preprocess

pytestmark = pytest.mark.usefixtures("quick_compile")

KEY = jax.random.key(5)
RNG = np.random.default_rng(1)


def log_sigmoid(x):
    return -np.log1p(np.exp(-x))


REAL, FAKE = RNG.normal(size=(4, 1, 1, 1)), RNG.normal(size=(4, 1, 1, 1)) - 0.5


# ---------------------------------------------------------------------------------------------- losses against numpy


def test_relativistic_average_is_equations_1_to_3_of_esrgan():
    """In float64: D_Ra(x, y) = sigmoid(C(x) - E[C(y)]), and 1 - sigmoid(d) = sigmoid(-d)."""
    real, fake = REAL - FAKE.mean(), FAKE - REAL.mean()
    d_loss = -log_sigmoid(real).mean() - log_sigmoid(-fake).mean()
    g_loss = -log_sigmoid(-real).mean() - log_sigmoid(fake).mean()
    adversary = losses.adversary("relativistic_average")
    assert adversary.uses_real
    assert float(adversary.discriminator(REAL, FAKE)) == pytest.approx(d_loss, rel=1e-6)
    assert float(adversary.generator(REAL, FAKE)) == pytest.approx(g_loss, rel=1e-6)
    assert float(adversary.generator(REAL + 9, FAKE + 9)) == pytest.approx(g_loss, rel=1e-4)  # only differences count
    assert float(adversary.discriminator(FAKE, REAL)) == pytest.approx(g_loss, rel=1e-6)  # the two exchange their roles


def test_relativistic_hinge_is_its_formula():
    real, fake = REAL - FAKE.mean(), FAKE - REAL.mean()
    adversary = losses.adversary("relativistic_hinge")
    d_loss = np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + fake).mean()
    g_loss = np.maximum(0, 1 + real).mean() + np.maximum(0, 1 - fake).mean()
    assert float(adversary.discriminator(REAL, FAKE)) == pytest.approx(d_loss, rel=1e-6)
    assert float(adversary.generator(REAL, FAKE)) == pytest.approx(g_loss, rel=1e-6)


def test_the_gradient_of_the_mean_reaches_every_logit():
    """dL_D / dC(x_r)_i by hand: the image's own term and, through E[C(x_r)], a share of every generated one's."""
    real, fake = REAL - FAKE.mean(), FAKE - REAL.mean()
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    expected = -sigmoid(-real) / 4 - sigmoid(fake).mean() / 4
    found = jax.grad(losses.relativistic_average().discriminator)(jnp.asarray(REAL), jnp.asarray(FAKE))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_r1_of_a_known_critic():
    """D(x) = x'Ax / 2 + b'x has the gradient (A + A')x / 2 + b; the penalty is half of gamma times its mean squared norm."""
    a, b, images = RNG.normal(size=(12, 12)), RNG.normal(size=12), RNG.normal(size=(5, 3, 4, 1))

    def critic(x):
        flat = x.reshape(len(x), -1)
        return jnp.einsum("bi,ij,bj->b", flat, a, flat) / 2 + flat @ b

    gradient = images.reshape(5, -1) @ (a + a.T) / 2 + b
    expected = 10 / 2 * np.square(gradient).sum(1).mean()
    assert float(jax.jit(partial(losses.r1(10.0), critic))(images)) == pytest.approx(expected, rel=1e-4)
    assert float(losses.r1(0.0)(critic, jnp.asarray(images))) == 0.0
    slope = jax.grad(lambda s: losses.r1(1.0)(lambda x: s * critic(x), jnp.asarray(images)))(1.0)
    assert float(slope) == pytest.approx(2 * expected / 10, rel=1e-4)  # a second derivative, which a step takes
    for gamma in (-1.0, math.nan):
        with pytest.raises(ConfigError, match="gamma of at least 0"):
            losses.r1(gamma)


# ------------------------------------------------------------------------------------------------------- objectives


def features(images):
    """One fixed layer of a network that sees edges."""
    return {"edges": jnp.diff(images, axis=1), "grey": images}


def batch_of(n=3):
    target = RNG.uniform(-0.8, 0.8, (n, 16, 16, 1)).astype(np.float32)
    source = target.reshape(n, 8, 2, 8, 2, 1).mean((2, 4))
    return {"source": source, "target": target, "index": np.arange(n, dtype=np.int32)}


BATCH = batch_of()
NET = SRResNet(features=4, blocks=1, scale=2, base="bicubic", direct=True)
CRITIC = SRDiscriminator(features=4, stages=2, grid=2, dense=6, norm="none")


def still(make, **options):
    """The objective with optimisers that do not move, so that a step's terms are those of the weights it began with."""
    return make(Player(NET, optax.sgd(0.0)), Player(CRITIC, optax.sgd(0.0)), **options)


def parts(objective):
    """Terms of one step; and output, logits of real and of generated images, from the weights themselves."""
    state = jax.jit(objective.init)(KEY, BATCH)
    _, metrics = jax.jit(objective.step)(state, BATCH, KEY)
    nets = state.nets
    fake = jax.jit(NET.apply)({"params": nets["generator"].params}, BATCH["source"])
    judge = jax.jit(lambda x: CRITIC.apply({"params": nets["discriminator"].params}, x)[0][-1])
    logits = (np.asarray(judge(jnp.asarray(x)), np.float64) for x in (BATCH["target"], fake))
    return {k: float(v) for k, v in metrics.items()}, np.asarray(fake, np.float64), *logits


def test_srgan_adds_up_as_published():
    """0.006 of the squared distance of feature maps, 1e-3 of -log D(G(x)), no pixel loss."""
    loss = losses.perceptual(features, {"edges": 1.0}, distance="l2")
    terms, fake, real_logits, fake_logits = parts(still(objectives.srgan, perceptual=loss))
    edges = np.diff(fake / 2, axis=1) - np.diff(BATCH["target"].astype(np.float64) / 2, axis=1)
    expected = 0.006 * np.square(edges).mean() - 1e-3 * log_sigmoid(fake_logits).mean()
    assert terms["g_loss"] == pytest.approx(expected, rel=1e-4) and "g_reconstruction" not in terms
    d_loss = -log_sigmoid(real_logits).mean() - log_sigmoid(-fake_logits).mean()
    assert terms["d_loss"] == pytest.approx(d_loss, rel=1e-4)


def test_esrgan_adds_up_as_published():
    """L_percep + 5e-3 of the relativistic average loss + 1e-2 of L1 (Wang et al. 2018, eq. 3)."""
    loss = losses.perceptual(features, {"grey": 1.0})
    terms, fake, real, out = parts(still(objectives.esrgan, perceptual=loss))
    l1 = np.abs(fake - BATCH["target"]).mean()
    adversary = -log_sigmoid(-(real - out.mean())).mean() - log_sigmoid(out - real.mean()).mean()
    assert terms["g_loss"] == pytest.approx(l1 / 2 + 5e-3 * adversary + 1e-2 * l1, rel=1e-4)
    assert terms["g_perceptual"] == pytest.approx(l1 / 2, rel=1e-4)


@pytest.mark.parametrize("make", [objectives.srgan, objectives.esrgan])
def test_a_perceptual_weight_needs_a_loss_and_the_discriminator_sees_the_image_alone(make):
    with pytest.raises(ConfigError, match="needs a perceptual loss"):
        still(make)
    state = jax.eval_shape(still(make, perceptual_weight=0.0).init, KEY, BATCH)
    assert state.nets["discriminator"].params["conv_0_0"]["kernel"].shape == (3, 3, 1, 4)


def test_the_second_phase_learns_and_does_not_look_at_its_neighbours():
    """Targets that are brighter than their inputs: the enlargement of the source is not the answer, and is near it."""
    players = Player(NET, optax.adam(1e-2)), Player(SRDiscriminator(4, 2, grid=1, dense=6), optax.adam(1e-3))
    objective = objectives.esrgan(*players, perceptual_weight=0.0, reconstruction_weight=1.0, gradient_penalty=losses.r1(1.0))
    smooth = 0.3 * np.sin(np.linspace(0, 6, 48, dtype=np.float32)).reshape(3, 16, 1, 1) * np.ones((1, 1, 16, 1), np.float32)
    batch = {**BATCH, "target": smooth + 0.4, "source": smooth.reshape(3, 8, 2, 8, 2, 1).mean((2, 4))}
    state, step, seen = jax.jit(objective.init)(KEY, batch), jax.jit(train_step(objective)), []
    for _ in range(25):
        state, metrics = step(state, batch, KEY)
        assert all(np.isfinite(v) for v in metrics.values())
        seen.append(float(metrics["g_reconstruction"]))
    assert seen[0] == pytest.approx(0.4, abs=0.05) and np.mean(seen[-3:]) < 0.6 * np.mean(seen[:3])
    predict = jax.jit(objective.predict)
    both = predict(state, {k: BATCH[k] for k in ("source", "index")}, KEY)["target"]
    swapped = predict(state, {"source": BATCH["source"][::-1], "index": BATCH["index"][::-1]}, KEY)["target"]
    assert both.shape == BATCH["target"].shape
    np.testing.assert_allclose(both, swapped[::-1], atol=1e-5)


# ---------------------------------------------------------------------------------------- perceptual loss from a config


class Edges(nn.Module):
    """A published network of one layer."""

    @nn.compact
    def __call__(self, x, *, train=False):
        del train
        y = Conv2d(2, (3, 3), padding=(1, 1), use_bias=True, name="conv")(x)
        return {"conv": y, "relu": nn.relu(y)}


@pytest.fixture
def edges(monkeypatch, tmp_path):
    """That network among those known, and its weights in a file."""
    network = Network("edges", Edges, lambda: {"conv": "features.0"}, "edges-0.pth", "nobody", "none", preprocess=Preprocess(1))
    monkeypatch.setitem(weights.NETWORKS, "edges", network)
    kernel = RNG.normal(size=(2, 1, 3, 3)).astype(np.float32)
    save_file({"features.0.weight": kernel, "features.0.bias": np.zeros(2, np.float32)}, tmp_path / "edges.safetensors")
    return tmp_path / "edges.safetensors", kernel


def section(**changes):
    return ConfigDict({"weight": 1.0, "network": "vgg19", "weights": "", "layers": ("conv5_4",), "distance": "l1", **changes})


def test_a_section_gives_the_mean_over_its_layers(edges):
    path, kernel = edges
    chosen = section(network="edges", weights=str(path), layers=("conv", "relu"), distance="l2")
    found = build_perceptual.perceptual_loss(chosen)(BATCH["target"], 0.5 * BATCH["target"])
    padded = np.pad(BATCH["target"].astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=0)[..., 0]
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    a = np.einsum("bhwij,oij->bhwo", windows, kernel[:, 0])  # mapped to [0, 1], then to [-1, 1] by the network's own rule
    distance = lambda x, y: np.square(x - y).mean((1, 2, 3))  # noqa: E731
    expected = (distance(a, a / 2) + distance(np.maximum(a, 0), np.maximum(a / 2, 0))) / 2
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"weight": -1.0}, ConfigError, "perceptual.weight is at least 0, not -1"),
        ({"weight": math.nan}, ConfigError, "perceptual.weight is at least 0"),
        ({"network": "vgg20"}, ConfigError, "perceptual.network 'vgg20' is none of vgg16, vgg19"),
        ({"layers": ("relu9_9",)}, ConfigError, "perceptual.layers: vgg19 has no layer 'relu9_9'; it has conv1_1"),
        ({"layers": ()}, ConfigError, "perceptual.layers: vgg19 has to be told a layer"),
        ({}, CheckpointError, "no weights of vgg19: vgg19-dcbb9e9d.pth is published by torchvision .*=FILE, "
         "or train without it by --config.method.perceptual.weight=0"),
        ({"weights": "/nowhere/vgg19.pth"}, CheckpointError, "the weights /nowhere/vgg19.pth of vgg19 are absent; .*torchvision"),
    ],
)  # fmt: skip
def test_what_a_section_cannot_be(changes, error, message, monkeypatch):
    monkeypatch.delenv("MEDJAX_WEIGHTS", raising=False)
    with pytest.raises(error, match=message):
        build_perceptual.perceptual_loss(section(**changes))


def test_a_weight_of_nought_needs_no_network_and_a_vgg_no_dense_layers():
    assert build_perceptual.perceptual_loss(section(weight=0.0, network="vgg20")) is None
    network = weights.NETWORKS["vgg19"]
    bare = jax.eval_shape(VGG(19, classifier=False).init, KEY, jnp.zeros((1, 32, 32, 3)))
    whole = network.abstract()
    kept = build_perceptual._needed(whole, network, {"classifier": False})
    assert jax.tree.map(jnp.shape, kept) == jax.tree.map(jnp.shape, bare)
    assert set(whole["params"]) - set(kept["params"]) == {"fc6", "fc7", "fc8"}


@pytest.mark.parametrize("name", ["esrgan:paper_gan", "srgan_cxr:paper"])
def test_the_published_losses_without_weights_stop_before_anything_is_written(name, tiny, tmp_path, monkeypatch):
    monkeypatch.delenv("MEDJAX_WEIGHTS", raising=False)
    phantoms = ("data.source=phantom_cxr", "data.phantom_cxr.count=10", "train.needs_init=False", "data.limit=0")
    with pytest.raises(CheckpointError, match="published by torchvision.*--config.method.perceptual.weight=0"):
        training.train(tiny(*phantoms, name=name), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# ----------------------------------------------------------------------------------------------------- the two phases


@pytest.fixture(scope="module")
def first(tiny, tmp_path_factory):
    """The L1 phase."""
    workdir = tmp_path_factory.mktemp("first") / "run"
    training.train(tiny("train.save_every=1", name="esrgan:tiny"), workdir, say=lambda text: None)
    return workdir


@pytest.fixture(scope="module")
def second(first, tiny, tmp_path_factory):
    """The GAN phase from it, unbroken; (workdir, last state, config)."""
    workdir = tmp_path_factory.mktemp("second") / "run"
    config = tiny(f"init_from={first}", "train.save_every=1", name="esrgan:tiny_gan")
    return workdir, training.train(config, workdir, say=lambda text: None), config


def refused(config, tmp_path, error, message):
    with pytest.raises(error, match=message):
        training.train(config, tmp_path / "refused", say=lambda text: None)
    assert not (tmp_path / "refused" / "config.json").exists()


def test_a_second_phase_without_a_first_is_refused(tiny, tmp_path, capsys):
    message = "esrgan:tiny_gan is a second phase: set --config.init_from=WORKDIR"
    refused(tiny(name="esrgan:tiny_gan"), tmp_path, ConfigError, message)
    assert main(["train", "--config=esrgan:small_gan", f"--workdir={tmp_path / 'refused'}"]) == 2
    assert "--config.train.needs_init=False" in capsys.readouterr().err and not (tmp_path / "refused").exists()


def test_a_first_phase_that_does_not_fit_is_refused(first, tiny, tmp_path):
    start = partial(tiny, f"init_from={first}", name="esrgan:tiny_gan")
    refused(start("generator.base=bilinear"), tmp_path, ConfigError, "generator.base is 'bilinear' here and 'bicubic' in")
    refused(start("data.scale=2"), tmp_path, ConfigError, "data.scale is 2 here and 4 in")
    imported = start()
    imported.generator = ConfigDict({**imported.generator, "value_range": "unit"})  # the same parameters, of images in [0, 1]
    refused(imported, tmp_path, ConfigError, "generator.value_range is 'unit' here and 'signed' in")
    leak = "patients of phantom_cxr that are held out here were trained on in .*run: phantom_"
    refused(start("data.split=(0.5,0.25,0.25)"), tmp_path, DataError, leak)
    wider = r"net 'generator' of .* has another architecture: \['body_0'\]\['conv1'\]\['bias'\] is \(8,\) there and \(12,\) here"
    refused(start("generator.features=12"), tmp_path, CheckpointError, wider)
    config = tiny(name="restorer_cxr:tiny")
    config.data.scale = 2
    refused(config, tmp_path, ConfigError, "'restorer' keeps the size of its input: at config.data.scale=2 take rrdb or srresnet")


@pytest.mark.parametrize("phase", ["first", "second"])
def test_both_phases_resume_to_the_bit(phase, first, second, tiny, tmp_path):
    """A crash at step 3, after the checkpoint of step 2."""
    unbroken, config = second[1:]
    if phase == "first":
        config = tiny("train.save_every=1", name="esrgan:tiny")
        unbroken = training.train(config, first, say=lambda text: None)  # complete: its last state
    crashed(config, tmp_path / "run", step=3)
    said = []
    state = training.train(config, tmp_path / "run", say=said.append)
    assert said == ["resuming at step 2"]
    expected = leaves(unbroken)
    for name, value in leaves(state).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_an_evaluation_shows_the_phases_side_by_side(first, second, capsys):
    workdir = second[0]
    assert main(["evaluate", f"--workdir={workdir}", f"--interpolate={first}", "--alpha=0.25"]) == 0
    shown = capsys.readouterr().out
    summary = json.loads((workdir / "evaluation.json").read_text())
    assert list(summary["rows"]) == ["nearest", "bilinear", "bicubic", "lanczos", "l1", "interpolated", "model"]
    assert "| interpolated" in shown and summary["best_baseline"] not in ("l1", "interpolated")
    stated = summary["protocol"]["companions"]
    assert stated["l1"].endswith("of esrgan:tiny") and stated["interpolated"].startswith("0.25 of this run's weights and 0.75")
    assert {"l1", "interpolated", "bicubic"} <= set(summary["differences"])


def test_an_interpolation_ends_at_its_two_runs(first, second):
    """A share of 1 is this run, one of 0 the other; between them lies the mean of every weight."""
    own, other = evaluation.load(second[0]), evaluation.load(first)
    params = lambda model: leaves(model.state.nets["generator"].params)  # noqa: E731
    ends = {0.0: params(other), 1.0: params(own), 0.5: {k: (params(own)[k] + v) / 2 for k, v in params(other).items()}}
    for share, expected in ends.items():
        for name, value in params(interpolated(own, first, share)).items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-6, atol=1e-8, err_msg=name)
    with pytest.raises(ConfigError, match="alpha from 0 to 1, not 1.5"):
        interpolated(own, first, 1.5)


def test_a_first_phase_that_is_gone_costs_its_row_alone(second, tmp_path):
    shutil.copytree(second[0], tmp_path / "run")
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    stored["config"]["init_from"] = str(tmp_path / "gone")
    (tmp_path / "run" / "config.json").write_text(json.dumps(stored))
    with pytest.warns(UserWarning, match="the first phase of this run, .*gone, is gone"):
        summary = evaluation.score_run(tmp_path / "run", progress=False)
    assert list(summary["rows"]) == ["nearest", "bilinear", "bicubic", "lanczos", "model"]


def test_interpolation_names_the_first_parameter_that_differs(trained, second):
    small = {"generator": ({"conv": {"kernel": np.zeros((3, 3))}}, {})}
    large = {"generator": ({"conv": {"kernel": np.zeros((3, 5))}}, {})}
    with pytest.raises(CheckpointError, match=r"'generator' of there .*\['conv'\]\['kernel'\] is \(3, 3\) there and \(3, 5\)"):
        interpolate(small, large, 0.5, origin="there")
    with pytest.raises(CheckpointError, match=r"nothing to interpolate with in there: it has \['other'\]"):
        interpolate({"other": small["generator"]}, large, 0.5, origin="there")
    with pytest.raises(ConfigError, match="scales, bases and ranges of enlargement"):
        interpolated(evaluation.load(second[0]), trained, 0.5)


def test_methods_of_configs_differ_as_published(tiny):
    """SRGAN's adversary does not read real logits, ESRGAN's does; both take R1."""
    for name, relativistic in (("srgan_cxr:tiny", False), ("esrgan:tiny_gan", True)):
        config = tiny("method.r1=1.0", name=name)
        assert losses.adversary(config.method.adversary).uses_real is relativistic
        batch = {"source": np.zeros((2, 8, 8, 1)), "target": np.zeros((2, 32, 32, 1)), "index": np.arange(2)}
        objective = networks.objective(config, 4)
        state = jax.eval_shape(objective.init, KEY, batch)
        assert "d_penalty" in jax.eval_shape(objective.step, state, batch, KEY)[1]
