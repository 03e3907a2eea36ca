"""What the benchmarks measure: the six models at the sizes of their papers, or at those that 2 CPU cores can step, with goals.

A case names a config, what of it is changed, and how the same is built in PyTorch (`experiments.benchmarks.peers`). A goal is
the largest share of eager PyTorch's time that medjax may take on a CPU. Nothing here imports jax or torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from medjax.build import config as configs
from medjax.types import ConfigError

FORMS = ("eager", "channels_last", "compile")


class Case(NamedTuple):
    """`name` in tables; `config` with `overrides` at `batch`; `goal`, and what `task` is measured: train, or of inference
    predict, or forward, one call of a denoiser.
    """

    name: str
    config: str
    batch: int
    goal: float
    overrides: tuple[str, ...] = ()
    task: str = "train"


def _sizes(side: int) -> tuple[str, ...]:
    return tuple(f"data.{name}={side}" for name in ("crop_size", "load_size", "image_size"))


_PLAIN = ("train.ema=0.0",)
_CYCLEGAN = (*_sizes(128), "method.adversary=lsgan", "method.discriminator_weight=0.5", *_PLAIN)
_RRDB = (*_sizes(192), *_PLAIN)
_DENOISER = ("denoiser.multipliers=(1,2,2,4)", "denoiser.attention_levels=()", *_PLAIN)
_DDPM = (*_sizes(128), *_DENOISER)

TRAIN = (
    Case("pix2pix, U-Net, 256", "pix2pix_cxr:paper", 1, 0.9),
    Case("pix2pix, U-Net, 256", "pix2pix_cxr:paper", 4, 1.0),
    Case("CycleGAN, ResNet-9, 128", "led_cyclegan:paper", 1, 1.05, _CYCLEGAN),
    Case("ESRGAN, RRDB of 6 blocks by L1, 48 to 192", "esrgan:paper", 4, 1.1, (*_RRDB, "generator.blocks=6")),
    Case("DDPM, 18M, 128", "led_diffusion:paper", 4, 1.2, _DDPM),
    Case("ResNet-18, 224", "classifier_cxr:paper", 8, 1.1, _PLAIN),
    Case("CGAN, 128", "cgan_cxr:paper", 16, 1.1, _PLAIN),
)
INFERENCE = (
    Case("pix2pix, U-Net, 256", "pix2pix_cxr:paper", 1, 0.85, task="predict"),
    Case("pix2pix, U-Net, 256", "pix2pix_cxr:paper", 4, 0.85, task="predict"),
    Case("CycleGAN, ResNet-9, 128", "led_cyclegan:paper", 1, 0.85, _CYCLEGAN, "predict"),
    Case("ESRGAN, RRDB of 23 blocks, 128 to 512", "esrgan:paper", 1, 0.85, (*_sizes(512), *_PLAIN), "predict"),
    Case("DDPM, 18M, one call, 128", "led_diffusion:paper", 1, 0.85, _DDPM, "forward"),
    Case("DDPM, 18M, DDIM of 50 steps, 64", "led_diffusion:paper", 1, 0.85, (*_sizes(64), *_DENOISER), "predict"),
    Case("ResNet-18, 224", "classifier_cxr:paper", 8, 0.85, _PLAIN, "predict"),
    Case("CGAN, 128", "cgan_cxr:paper", 16, 0.85, _PLAIN, "predict"),
)


def chosen(cases: Sequence[Case], words: Sequence[str]) -> list[Case]:
    """The cases whose name or config holds one of `words`; all for none. Raises ConfigError for a word that is in none."""
    names = [f"{case.name} {case.config}".lower() for case in cases]
    for word in words:
        if not any(word.lower() in name for name in names):
            raise ConfigError(f"no case {word!r}; there are: {'; '.join(dict.fromkeys(case.name for case in cases))}")
    return [case for case, name in zip(cases, names, strict=True) if not words or any(word.lower() in name for word in words)]


def peer(config: str, overrides: Sequence[str], precision: str, *, task: str = "train") -> dict[str, Any]:
    """Options of `peers.build` but its form, for a config that has a peer. Raises ConfigError where it has none."""
    c = configs.get(config, overrides)
    make = _PEERS.get(c.method.name)
    found = make(c) if make else None
    if found is None:
        raise ConfigError(
            f"{config} has no peer in PyTorch: the systems as published have one (pix2pix, CycleGAN by least squares, the L1 "
            "phase of RRDB at scale 4, DDPM of epsilon, ResNet-18, the CGAN that is told the label beside the image)"
        )
    model, shapes, options = found
    options |= {"learning_rate": c.optimizer.learning_rate}
    if task == "forward":
        options["steps"] = 0
    return {"model": model, "precision": precision, "shapes": shapes, "options": options, "task": task}


Found = tuple[str, dict[str, tuple], dict[str, Any]] | None


def _images(c: ConfigDict, *names: str, side: int | None = None) -> dict[str, tuple]:
    side = side or c.data.crop_size
    return {name: (c.data.batch_size, 1, side, side) for name in names}


def _labels(c: ConfigDict) -> dict[str, tuple]:
    return {"label": ((c.data.batch_size,), len(c.data.classes))}


def _of(section: ConfigDict, *names: str) -> dict[str, Any]:
    return {name: section[name] for name in names}


def _pix2pix(c: ConfigDict) -> Found:
    m, g, d = c.method, c.generator, c.discriminator
    plain = (m.adversary, m.reconstruction, m.reconstruction_weight) == ("vanilla", "l1", 100.0)
    if not plain or m.feature_matching_weight or g.name != "unet" or g.attention_at or g.norm != "batch" or d.scales != 1:
        return None
    options = {"generator": _of(g, "features", "dropout"), "discriminator": _of(d, "features", "layers")}
    return "pix2pix", _images(c, "source", "target"), {"size": c.data.crop_size, **options}


def _cyclegan(c: ConfigDict) -> Found:
    m, g, d = c.method, c.generator, c.discriminator
    weights = (m.identity_weight, m.structure_weight, m.illumination_weight, g.dropout)
    if (m.adversary, m.discriminator_weight, g.norm, d.norm) != ("lsgan", 0.5, "instance", "instance") or any(weights):
        return None
    options = {"generator": _of(g, "features", "blocks"), "discriminator": _of(d, "features", "layers")}
    return "cyclegan", _images(c, "a", "b", "source"), options | _of(m, "cycle_weight", "pool")


def _rrdb(c: ConfigDict) -> Found:
    g = c.generator
    if g.name != "rrdb" or c.method.reconstruction != "l1" or (c.data.scale, g.base, g.direct) != (4, "none", False):
        return None
    shapes = _images(c, "source", side=c.data.crop_size // 4) | _images(c, "target")
    return "rrdb", shapes, {"generator": _of(g, "features", "blocks", "growth")}


def _diffusion(c: ConfigDict) -> Found:
    m, d = c.method, c.denoiser
    stated = (m.prediction, m.weighting, m.schedule, m.sampler, m.samples, m.start)
    plain = stated == ("epsilon", "uniform", "linear", "ddim", 1, 0)
    if not plain or d.unshuffle != 1 or d.dropout or d.attention_kind != "transformer" or c.optimizer.clip:
        return None
    options = {"denoiser": _of(d, "features", "multipliers", "blocks", "attention_levels"), **_of(m, "num_times", "steps")}
    return "diffusion", _images(c, "source", "target"), options


def _resnet(c: ConfigDict) -> Found:
    k = c.classifier
    stated = (k.depth, k.norm, k.stem, k.contrast, k.pool, k.dropout, c.data.labels)
    if stated != (18, "batch", "published", 0.0, "mean", 0.0, "single"):
        return None
    options = {"classes": len(c.data.classes), "width": k.width, "label_smoothing": c.method.label_smoothing}
    return "resnet", _images(c, "target") | _labels(c), options | _of(c.optimizer, "weight_decay", "clip")


def _cgan(c: ConfigDict) -> Found:
    m, g, d = c.method, c.generator, c.discriminator
    extra = (m.r1, m.augment, m.guide.weight, g.conditional_norm, g.dropout, d.contrast, d.spectral, d.minibatch_std)
    if (m.adversary, g.norm, d.norm, d.conditioning) != ("vanilla", "batch", "none", "concatenation") or any(extra):
        return None
    if c.data.labels != "single" or c.data.columns:
        return None
    both = {"stages": (c.data.crop_size // 4).bit_length() - 1, "classes": len(c.data.classes)}
    generator = {**both, **_of(g, "features", "most_features", "embedding"), "latent": m.latent}
    discriminator = {**both, **_of(d, "features", "most_features", "embedding", "hidden", "dropout")}
    return "cgan", _images(c, "target") | _labels(c), {"generator": generator, "discriminator": discriminator}


_PEERS = {
    "pix2pix": _pix2pix, "cyclegan": _cyclegan, "supervised": _rrdb, "diffusion": _diffusion, "classification": _resnet,
    "cgan": _cgan,
}  # fmt: skip
