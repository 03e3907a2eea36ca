"""What is published: each network's module, its mapping table, where its weights come from and what it takes.

`NETWORKS` are the feature networks, `TRAINED` the generators and discriminators that users train in the public
repositories; a trained file's size (features, blocks, norm, channels) is read from its tensors.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from medjax.models import alexnet, densenet, inception, lpips, resnet, vgg
from medjax.models.discriminators import PatchGAN
from medjax.models.resnet_generator import ResnetGenerator
from medjax.models.resnet_generator import table as resnet_generator_table
from medjax.models.rrdb import RRDBNet
from medjax.models.rrdb import table as rrdb_table
from medjax.models.srresnet import SRResNet
from medjax.models.srresnet import table as srresnet_table
from medjax.models.unet import UNet
from medjax.types import Array, CheckpointError, ConfigError, PyTree
from medjax.weights import shapes
from medjax.weights.preprocess import Preprocess

Inputs = tuple[Any, ...]
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
TORCHVISION = "torchvision (download.pytorch.org/models)"
BSD_IMAGENET = "BSD-3-Clause (code); trained on ImageNet, whose terms apply"
LPIPS_LICENCE = "BSD-2-Clause"


@dataclasses.dataclass(frozen=True)
class Network:
    """A published architecture.

    make: `(**options) -> module`; mapping: `(**options) -> {Flax module: PyTorch module}`; options_of: `(state dict) ->
    options` for files of any size. file: the published name; sha256: its digest or the first digits of it, "" where none
    is published. ignored: tensors that carry nothing the module needs (regular expressions). preprocess: None where the
    module takes other than images. layers: those that metrics are usually taken over.
    """

    name: str
    make: Callable[..., nn.Module]
    mapping: Callable[..., dict[str, str]]
    file: str
    publisher: str
    licence: str
    sha256: str = ""
    preprocess: Preprocess | None = None
    layers: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    options_of: Callable[[Mapping[str, np.ndarray]], dict[str, Any]] | None = None
    inputs: Callable[..., Inputs] | None = None

    def abstract(self, **options: Any) -> PyTree:
        """`{"params", "batch_stats"}` as shapes, without drawing anything."""
        inputs = self.inputs(**options) if self.inputs else (_image(96, 96, self.preprocess.channels),)
        return jax.eval_shape(self.make(**options).init, jax.random.key(0), *inputs)

    def features(
        self, variables: PyTree, *, layers: Sequence[str] = (), preprocess: Preprocess | None = None, **options: Any
    ) -> Callable[[Array], dict[str, Array]]:
        """`images [B, H, W, 1 or 3] in [0, 1] -> {layer: array}`: what metrics and losses take, preprocessing included.

        layers: those wanted, else the usual ones of this network. preprocess: another rule than its own, for example
        `network.preprocess.at((64, 64))`. options: of the module, such as `classifier=False`. The weights are put on the device
        once and are arguments of a compiled caller.
        """
        made = tuple(sorted(options.items()))
        apply = _applier(self, tuple(layers) or self.layers, preprocess or self.preprocess, made)
        return jax.tree_util.Partial(apply, jax.device_put(variables))


@functools.lru_cache(maxsize=32)  # one function for one choice, so that jit knows it again
def _applier(
    network: Network, layers: tuple[str, ...], rule: Preprocess, options: tuple[tuple[str, Any], ...]
) -> Callable[[PyTree, Array], dict[str, Array]]:
    module = network.make(**dict(options))

    def apply(variables: PyTree, images: Array) -> dict[str, Array]:
        taps = module.apply(variables, rule(images))
        unknown = [layer for layer in layers if layer not in taps]
        if unknown:
            raise ConfigError(f"{network.name} has no layer {unknown[0]!r}; it has {', '.join(taps)}")
        return {layer: taps[layer] for layer in layers}

    return apply


def _image(height: int, width: int, channels: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, height, width, channels), np.float32)


def _maps(trunk: str) -> Inputs:
    maps = {layer: _image(4, 4, channels) for layer, channels in lpips.LAYERS[trunk].items()}
    return maps, maps


def _feature(name: str, module: Any, options: dict, file: str, sha256: str, **rest: Any) -> Network:
    """A network of torchvision's."""
    make, mapping = partial(module, **options), partial(rest.pop("table"), **options)
    rest = {"publisher": TORCHVISION, "licence": BSD_IMAGENET, **rest}
    return Network(name, make, mapping, file, sha256=sha256, **rest)


def _lpips(trunk: str, sha256: str) -> Network:
    publisher = "the lpips package 0.1.4 (its weights folder; github.com/richzhang/PerceptualSimilarity)"
    return _feature(
        f"lpips_{trunk}", lpips.LPIPSHeads, {"trunk": trunk}, f"v0.1/{trunk}.pth", sha256, table=lpips.table,
        publisher=publisher, licence=LPIPS_LICENCE, inputs=lambda **_: _maps(trunk), layers=tuple(lpips.LAYERS[trunk]),
        ignored=(r"lins\..*", r"net\..*", r"scaling_layer\..*"),
    )  # fmt: skip


_WHOLE = Preprocess(size=(224, 224), **IMAGENET)
_ANY = Preprocess(**IMAGENET)
_XRV_FILE = "nih-pc-chex-mimic_ch-google-openi-kaggle-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt"

NETWORKS: dict[str, Network] = {n.name: n for n in (
    _feature("vgg16", vgg.VGG, {"depth": 16}, "vgg16-397923af.pth", "397923af", table=vgg.table, preprocess=_ANY,
             layers=tuple(lpips.LAYERS["vgg"])),
    _feature("vgg19", vgg.VGG, {"depth": 19}, "vgg19-dcbb9e9d.pth", "dcbb9e9d", table=vgg.table, preprocess=_ANY,
             layers=("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4")),
    _feature("alexnet", alexnet.AlexNet, {}, "alexnet-owt-7be5be79.pth", "7be5be79", table=alexnet.table, preprocess=_ANY,
             layers=tuple(lpips.LAYERS["alex"])),
    _feature("inception_v3", inception.InceptionV3, {}, "pt_inception-2015-12-05-6726825d.pth", "6726825d",
             table=inception.table, preprocess=Preprocess(size=(299, 299), antialias=False), layers=("pool3",),
             publisher="pytorch-fid (github.com/mseitzer/pytorch-fid, release fid_weights)", licence="Apache-2.0"),
    _feature("resnet18", resnet.ResNet, {"depth": 18}, "resnet18-f37072fd.pth", "f37072fd", table=resnet.table,
             preprocess=_WHOLE, layers=("pool",)),
    _feature("resnet50", resnet.ResNet, {"depth": 50}, "resnet50-0676ba61.pth", "0676ba61", table=resnet.table,
             preprocess=_WHOLE, layers=("pool",)),
    _feature("resnet50_radimagenet", resnet.ResNet, {"depth": 50, "classifier": False}, "RadImageNet_pytorch/ResNet50.pt", "",
             table=resnet.radimagenet_table, preprocess=Preprocess(size=(224, 224), antialias=False), layers=("pool",),
             publisher="RadImageNet (github.com/BMEII-AI/RadImageNet)",
             licence="MIT (repository); CC BY 4.0 (RSNA's model card)"),
    _feature("densenet121_xrv", densenet.DenseNet, {}, _XRV_FILE, "", table=densenet.table,
             preprocess=Preprocess(channels=1, size=(224, 224), antialias=False, std=(0.5 / 1024,)), layers=("pool",),
             publisher="torchxrayvision (github.com/mlmed/torchxrayvision, release v1)", licence="Apache-2.0",
             ignored=("op_threshs",)),
    _lpips("vgg", "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"),
    _lpips("alex", "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"),
)}  # fmt: skip


# ------------------------------------------------------------------------------------------- what users trained


def _made(module: Any) -> Callable[..., nn.Module]:
    """The input's channels are read from the input."""
    return lambda *, channels=1, **options: module(**options)


def _resnet(*, channels: int = 1, dropout: bool = False, **options: Any) -> nn.Module:
    return ResnetGenerator(dropout=0.5 * dropout, **options)


def _square(*, channels: int = 1, levels: int = 4, **_: Any) -> Inputs:
    side = max(32, 2**levels)
    return (_image(side, side, channels),)


_JUNYANZ = {"publisher": "trained with pytorch-CycleGAN-and-pix2pix", "licence": "that of whoever trained it", "inputs": _square}
_BASICSR = {"publisher": "trained with BasicSR", "licence": "that of whoever trained it", "inputs": _square}
_RUNNING = (r".*running_(mean|var)",)  # before PyTorch 0.4 an instance norm kept statistics that it never read

TRAINED: dict[str, Network] = {n.name: n for n in (
    Network("unet", _made(UNet), shapes.unet_table, "latest_net_G.pth", options_of=shapes.unet, ignored=_RUNNING, **_JUNYANZ),
    Network("resnet", _resnet, resnet_generator_table, "latest_net_G.pth", options_of=shapes.resnet, ignored=_RUNNING,
            **_JUNYANZ),
    Network("patchgan", _made(PatchGAN), shapes.patchgan_table, "latest_net_D.pth", options_of=shapes.patchgan, ignored=_RUNNING,
            **_JUNYANZ),
    Network("rrdb", _made(RRDBNet), rrdb_table, "net_g_latest.pth", options_of=shapes.rrdb, **_BASICSR),
    Network("srresnet", _made(SRResNet), srresnet_table, "net_g_latest.pth", options_of=shapes.srresnet, **_BASICSR),
)}  # fmt: skip


def network_of(name: str) -> Network:
    """The network called `name`, from either table. Raises CheckpointError for another name."""
    every = NETWORKS | TRAINED
    if name not in every:
        raise CheckpointError(f"no network is called {name!r}; known: {', '.join(every)}")
    return every[name]
