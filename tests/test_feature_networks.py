"""Feature networks and generators against the published PyTorch packages: sizes, names, and every tapped layer's values.

The golden values are those packages' own outputs for seeded weights (tests/golden/generate.py says which package).
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden import seeded
from safetensors import safe_open

from medjax import weights
from medjax.models.adapted import Adapted
from medjax.models.densenet import DenseNet
from medjax.models.inception import InceptionV3
from medjax.models.layers import adaptive_avg_pool, avg_pool
from medjax.models.lpips import LAYERS, LPIPSHeads
from medjax.models.resnet import ResNet
from medjax.models.resnet_generator import ResnetGenerator
from medjax.models.rrdb import RRDBNet
from medjax.models.srresnet import SRResNet
from medjax.models.unet import UNet
from medjax.models.vgg import VGG
from medjax.types import ConfigError
from medjax.weights.preprocess import Preprocess

pytestmark = pytest.mark.usefixtures("quick_compile")

FILE = Path(__file__).parent / "golden" / "networks.safetensors"
with safe_open(FILE, framework="numpy") as _golden:
    GOLDEN = {name: _golden.get_tensor(name) for name in _golden.keys()}  # noqa: SIM118
    FACTS = json.loads(_golden.metadata()["facts"])
FEATURES = ("vgg16", "vgg19", "alexnet", "inception_v3", "resnet18", "resnet50", "densenet121_xrv")
GENERATORS = tuple(name for name in FACTS if "_" in name and name not in (*FEATURES, "lpips_vgg", "lpips_alex"))
TOLERANCE = 1e-4


@functools.cache  # tracing a deep network takes a second
def _abstract(network, options):
    return weights.Network.abstract(network, **dict(options))


def torch_shapes(network, **options):
    """Names and shapes of the PyTorch state dict that a network's table stands for."""
    blank = jax.tree.map(lambda s: np.broadcast_to(np.float32(0), s.shape), _abstract(network, tuple(options.items())))
    return {name: a.shape for name, a in weights.to_state(blank, network.mapping(**options)).items()}


def seeded_variables(network, shapes, **options):
    state, abstract = seeded.state(shapes), _abstract(network, tuple(options.items()))
    return weights.from_state(state, abstract, network.mapping(**options), what="seeded", ignored=network.ignored)


def compare(where, outputs):
    """Largest relative error over the golden layers of one input; every golden layer is there."""
    layers = [name.removeprefix(f"{where}/") for name in GOLDEN if name.startswith(f"{where}/")]
    assert layers
    worst = 0.0
    for layer in layers:
        want, got = GOLDEN[f"{where}/{layer}"], seeded.sample(f"{where}/{layer}", outputs[layer])
        worst = max(worst, float(np.abs(want - got).max() / want[1]))
        assert np.abs(want[2:]).max() > 0, layer
    return worst


def sizes(name):
    return [tuple(size) for size in FACTS[name]["sizes"]]


# ------------------------------------------------------------------------------------- against the published packages


@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_network_is_the_published_one(name):
    """Names, shapes, parameters, and the values of every tapped layer within 1e-4 of the layer's largest."""
    network = weights.NETWORKS[name]
    shapes = torch_shapes(network)
    assert seeded.fingerprint(shapes) == FACTS[name]["fingerprint"]
    learnt = sum(int(np.prod(s)) for n, s in shapes.items() if not n.endswith(("running_mean", "running_var")))
    assert learnt == FACTS[name]["parameters"]
    variables, module = seeded_variables(network, shapes), network.make()
    apply = jax.jit(module.apply)
    bounds = {"low": -1024.0, "high": 1024.0} if name == "densenet121_xrv" else {}
    for size in sizes(name):
        where = f"{name}/{'x'.join(map(str, size))}"
        assert compare(where, apply(variables, seeded.image(where, size, **bounds))) < TOLERANCE
    assert any(size[1] != size[2] for size in sizes(name))
    assert set(network.layers) <= {layer.rsplit("/", 1)[-1] for layer in GOLDEN if layer.startswith(f"{name}/")}


def test_published_parameter_counts():
    """torchvision's `num_params`, the FID network without its logits, torchxrayvision's DenseNet-121, the GAN repositories."""
    counts = {name: FACTS[name]["parameters"] for name in FEATURES}
    assert counts == {
        "vgg16": 138_357_544, "vgg19": 143_667_240, "alexnet": 61_100_840, "inception_v3": 23_850_960,
        "resnet18": 11_689_512, "resnet50": 25_557_032, "densenet121_xrv": 6_966_034,
    }  # fmt: skip
    assert FACTS["inception_v3"]["parameters_without_logits"] == 21_785_568
    full = {
        "unet_256": (UNet(levels=8, use_bias=False), 256, 1), "resnet_9blocks": (ResnetGenerator(3), 32, 3),
        "rrdbnet": (RRDBNet(3), 8, 3), "msrresnet": (SRResNet(3), 8, 3),
    }  # fmt: skip
    for name, (module, side, channels) in full.items():
        params = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, side, side, channels)))["params"]
        assert sum(x.size for x in jax.tree.leaves(params)) == FACTS["published"][name], name


@pytest.mark.parametrize("name", GENERATORS)
def test_a_generator_or_discriminator_is_the_repositorys(name):
    """Its size is read from the seeded state dict alone; names, shapes and output agree with the PyTorch build."""
    network = weights.TRAINED[name.split("_")[0]]
    guess = OPTIONS[name]
    state = seeded.state(torch_shapes(network, **guess))
    options = network.options_of(state)
    assert options == guess
    shapes = torch_shapes(network, **options)
    assert seeded.fingerprint(shapes) == FACTS[name]["fingerprint"]
    abstract = _abstract(network, tuple(options.items()))
    variables = weights.from_state(state, abstract, network.mapping(**options), what=name, ignored=network.ignored)
    (size,) = sizes(name)
    where = f"{name}/{'x'.join(map(str, size))}"
    output = jax.jit(network.make(**options).apply)(variables, seeded.image(where, size))
    output = output[0][-1] if isinstance(output, list) else output
    assert compare(where, {"output": output}) < TOLERANCE


def _unet(outputs, levels, norm, channels):
    options = {"out_channels": outputs, "features": 4, "levels": levels, "norm": norm, "channels": channels}
    return {**options, "first_dropout": 1, "use_bias": norm == "instance"}


def _patchgan(layers, norm, channels):
    return {"features": 8, "layers": layers, "norm": norm, "use_bias": norm == "instance", "channels": channels}


OPTIONS = {
    "unet_batch": _unet(1, 8, "batch", 1),
    "unet_instance": _unet(2, 5, "instance", 3),
    "unet_none": _unet(1, 5, "none", 1),
    "resnet_instance": dict(out_channels=3, features=8, blocks=9, norm="instance", dropout=False, channels=3),
    "resnet_batch": dict(out_channels=1, features=8, blocks=6, norm="batch", dropout=True, channels=1),
    "patchgan_batch": _patchgan(3, "batch", 2),
    "patchgan_instance": _patchgan(2, "instance", 6),
    "patchgan_none": _patchgan(3, "none", 2),
    **{f"rrdb_{s}": dict(out_channels=3, features=16, blocks=2, growth=8, scale=s, channels=3) for s in (4, 2, 1)},
    **{f"srresnet_{s}": dict(out_channels=1, features=16, blocks=3, scale=s, channels=1) for s in (4, 3, 2)},
}


@pytest.mark.parametrize("trunk", ["vgg", "alex"])
def test_lpips_is_the_packages(trunk):
    """Preprocessing of [0, 1] images, trunk, heads and sum against the package on images in [-1, 1]."""
    name = f"lpips_{trunk}"
    network, body = weights.NETWORKS[name], weights.NETWORKS[FACTS[name]["trunk"]]
    assert seeded.fingerprint(torch_shapes(network)) == FACTS[name]["fingerprint"]
    maps = body.make(classifier=False)
    trunk_variables = seeded_variables(body, torch_shapes(body, classifier=False), classifier=False)
    heads = seeded_variables(network, torch_shapes(network))
    pair = [(seeded.image(f"{name} {k}", (2, 64, 80, 3)) + 1) / 2 for k in "ab"]

    @jax.jit
    def distance(a, b):
        return network.make().apply(heads, *(maps.apply(trunk_variables, body.preprocess(x)) for x in (a, b)))

    found = distance(*pair)
    for row, layer in zip(GOLDEN[name], (*LAYERS[trunk], "lpips"), strict=True):
        np.testing.assert_allclose(found[layer], row, rtol=TOLERANCE)
    same = distance(pair[0], pair[0])
    assert float(np.abs(same["lpips"]).max()) == 0


@pytest.mark.parametrize("size", [(16, 21), (45, 61)])
@pytest.mark.parametrize("antialias", [True, False])
def test_resizing_is_pytorchs(size, antialias):
    images = seeded.image("preprocess", (1, 37, 50, 3), low=0.0)
    plain = Preprocess(size=size, antialias=antialias, mean=(0.0,), std=(1.0,))
    np.testing.assert_allclose(plain(images), GOLDEN[f"preprocess/{size[0]}x{size[1]}/{antialias}"], atol=2e-6)


# --------------------------------------------------------------------------------------------- meanings and bad input


def test_a_grey_image_is_the_same_in_three_channels():
    grey = seeded.image("grey", (1, 40, 50, 1), low=0.0)
    colour = np.repeat(grey, 3, -1)
    for network in weights.NETWORKS.values():
        if network.preprocess:
            rule = network.preprocess
            one, three = rule(grey), rule(colour)
            np.testing.assert_allclose(one, three, atol=1e-6 * float(np.abs(one).max()))
            assert ("averaged" if rule.channels == 1 else "repeated") in rule.words
    xrv = weights.NETWORKS["densenet121_xrv"].preprocess
    ends = [float(xrv(np.full((1, 224, 224, 1), v, np.float32)).mean()) for v in (0, 1)]
    assert ends == pytest.approx([-1024, 1024])
    fid = weights.NETWORKS["inception_v3"].preprocess
    assert fid(np.ones((1, 8, 8, 1))).shape == (1, 299, 299, 3) and "299x299, bilinear without" in fid.words


def test_features_are_the_named_layers_of_images_in_0_1():
    """Preprocessing included, at the size asked for; the same function again for the same choice, so nothing recompiles."""
    network = weights.NETWORKS["resnet18"]
    variables = seeded_variables(network, torch_shapes(network))
    images = seeded.image("features", (2, 40, 50, 1), low=0.0)
    rule = network.preprocess.at((32, 48))
    features = network.features(variables, layers=("layer2", "pool"), preprocess=rule)
    found, direct = jax.jit(features)(images), jax.jit(network.make().apply)(variables, rule(images))
    assert list(found) == ["layer2", "pool"]
    for layer in found:
        np.testing.assert_allclose(found[layer], direct[layer], rtol=1e-4, atol=1e-5 * float(np.abs(direct[layer]).max()))
    again = network.features(variables, layers=("layer2", "pool"), preprocess=network.preprocess.at((32, 48)))
    assert again.func is features.func
    with pytest.raises(ConfigError, match="resnet18 has no layer 'pool3'; it has relu, layer1"):
        jax.eval_shape(network.features(variables, layers=("pool3",), preprocess=rule), images)


def test_the_pytorch_u_net_draws_no_dropout_in_its_innermost_block():
    """With two levels that block is the only one inside: dropout from 1 on changes nothing, from 0 on it does."""
    x = seeded.image("dropout", (1, 8, 8, 1))
    outputs = {}
    for first in (0, 1):
        module = UNet(features=2, levels=2, norm="none", first_dropout=first)
        variables = jax.jit(module.init)(jax.random.key(0), x)
        variables = jax.tree.map(lambda p: p + 0.3, variables)
        drawn = jax.jit(lambda v, x, m=module: m.apply(v, x, rngs={"dropout": jax.random.key(1)}))(variables, x)
        outputs[first] = np.abs(np.asarray(drawn) - np.asarray(jax.jit(module.apply)(variables, x))).max()
    assert outputs[1] < 1e-6 < 1e-3 < outputs[0]


def test_pooling_leaves_the_padding_out_and_divides_as_torch_does():
    assert float(avg_pool(jnp.ones((1, 3, 3, 1)), 3, 1, 1).min()) == 1
    ramp = jnp.arange(10.0).reshape(1, 10, 1, 1) * jnp.ones((1, 10, 4, 1))
    # torch.nn.AdaptiveAvgPool2d(4) over 10: rows 0-2, 2-4, 5-7, 7-9
    np.testing.assert_allclose(adaptive_avg_pool(ramp, 4)[0, :, 0, 0], [1, 3, 6, 8])


def test_lpips_has_a_finite_gradient_at_dead_positions():
    """A position where every channel is 0 after the ReLU has no direction; its gradient is 0, not NaN."""
    maps = {layer: np.zeros((1, 2, 2, n), np.float32) for layer, n in LAYERS["alex"].items()}
    module, ones = LPIPSHeads("alex"), {layer: np.ones_like(m) for layer, m in maps.items()}
    heads = {"params": {f"lin{i}": {"kernel": np.ones((1, 1, m.shape[-1], 1))} for i, m in enumerate(maps.values())}}
    slope = jax.jit(jax.grad(lambda m: module.apply(heads, m, ones)["lpips"].sum()))(maps)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(slope))


def test_an_adapted_net_keeps_its_parameters_where_they_were_and_its_size():
    """A colour super-resolution net for [0, 1] takes and gives grey images in [-1, 1] of one size."""
    net = SRResNet(3, features=4, blocks=1, scale=2)
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    variables = jax.tree.map(lambda s: np.zeros(s.shape, np.float32), shapes)  # only the bilinear enlargement is left
    x = np.broadcast_to(np.linspace(-0.8, 0.8, 40, dtype=np.float32)[:, None, None], (1, 40, 11, 1))  # 11 is no multiple
    y = jax.jit(Adapted(net, channels=3, value_range="unit", scale=2, multiple=2).apply)(variables, x)
    assert y.shape == x.shape
    np.testing.assert_allclose(y[0, 8:-8], x[0, 8:-8], atol=1e-5)  # a ramp survives halving and doubling


@pytest.mark.parametrize(
    "module, shape, message",
    [
        (VGG(16), (1, 64, 64, 1), r"VGG16 takes \[B, H, W, 3\] of at least 32x32, not \[1, 64, 64, 1\]"),
        (VGG(13), (1, 64, 64, 3), "VGG has depth 16 or 19, not 13"),
        (InceptionV3(), (1, 64, 64, 3), "Inception-v3 takes .* at least 75x75"),
        (ResNet(20), (1, 64, 64, 3), "ResNet has depth 10, 18, 34, 50, not 20"),
        (DenseNet(), (1, 16, 64, 1), "DenseNet-121 takes .* at least 32x32"),
        (ResnetGenerator(), (1, 30, 32, 1), "multiples of 4 from 8 on, not 30x32"),
        (RRDBNet(scale=3), (1, 8, 8, 1), "enlarges by 8, 4, 2 or 1, not 3"),
        (RRDBNet(scale=1), (1, 10, 8, 1), "at scale 1 takes multiples of 4, not 10x8"),
        (SRResNet(scale=5), (1, 8, 8, 1), "enlarges by 2, 3, 4 or 8, not 5"),
        (Adapted(SRResNet(), value_range="bytes"), (1, 8, 8, 1), "value_range is signed or unit, not 'bytes'"),
    ],
)
def test_input_that_a_network_cannot_take_is_told(module, shape, message):
    with pytest.raises(ConfigError, match=message):
        jax.eval_shape(module.init, jax.random.key(0), jnp.zeros(shape))
