"""Weights trained elsewhere to a workdir that `enhance`, `evaluate` and `init_from` accept, and a run's weights back out.

`MODELS` are the names of `medjax import-weights --model=`. Sizes come from the tensors; what they cannot tell is in the
table, and any field of the config can be overridden, first of all where the data are. A net for colour images is shown the
grey image three times and its output is averaged; one that enlarges is shown the image reduced by as much
(see `medjax.models.adapted`).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from medjax import weights
from medjax.build import config as configs
from medjax.build import named, networks
from medjax.build.published import BASE, NETWORK
from medjax.checkpoint import Checkpoints
from medjax.state import Net, check_same_tree
from medjax.types import CheckpointError, ConfigError
from medjax.weights.cards import write

# --model -> (network of weights.TRAINED, fields of config.generator, side of the images). The repository's test.py leaves
# batch norm in train mode, so its models are used with the statistics of the one image.
_GAN = {"predict_norm": "batch"}
MODELS: dict[str, tuple[str, dict[str, Any], int]] = {
    "unet_256": ("unet", _GAN, 256),
    "unet_128": ("unet", _GAN, 128),
    "resnet_9blocks": ("resnet", _GAN, 256),
    "resnet_6blocks": ("resnet", _GAN, 256),
    "rrdbnet": ("rrdb", {"value_range": "unit"}, 256),
    "srresnet": ("srresnet", {"value_range": "unit"}, 256),
}
EXPECTED = {
    "unet_256": {"levels": 8}, "unet_128": {"levels": 7}, "resnet_9blocks": {"blocks": 9}, "resnet_6blocks": {"blocks": 6},
}  # fmt: skip


def import_weights(
    model: str,
    file: str | Path,
    workdir: str | Path,
    *,
    discriminator: str | Path = "",
    entry: str = "",
    overrides: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> ConfigDict:
    """Make `workdir` (config.json and a checkpoint holding weights alone) of a trained PyTorch model; returns its config.

    model: one of MODELS. discriminator: the PatchGAN trained with it, so that a GAN run can start from both. entry: of a
    `.pth` with several state dicts. overrides: like `data.source=folder`.
    Raises ConfigError for another model or field, CheckpointError for a workdir that is in use, for a file that cannot be
    read, and for weights of another architecture; nothing is written then.
    """
    workdir = Path(workdir)
    _check(model, workdir)
    network, fields, side = MODELS[model]
    found = weights.import_trained(file, network, entry=entry)
    wrong = {k: v for k, v in EXPECTED.get(model, {}).items() if found.options[k] != v}
    if wrong:
        told = ", ".join(f"{k} is {found.options[k]} there and {v} here" for k, v in wrong.items())
        raise CheckpointError(f"{file} is no {model}: {told}")
    judge = weights.import_trained(discriminator, "patchgan", entry=entry) if discriminator else None
    config = configs.override(_config(model, network, {**found.options, **fields}, side, judge), overrides)
    nets = {"generator": _net(found)} | ({"discriminator": _net(judge)} if judge else {})
    _check_fits(config, nets, {"generator": file, "discriminator": discriminator})
    _write(config, workdir, nets, model=model, file=Path(file).name, sha256=found.sha256)
    count = sum(x.size for x in jax.tree.leaves(nets["generator"].params))
    say(f"{model} of {count:,} parameters from {Path(file).name} in {workdir}")
    return config


def _check(model: str, workdir: Path) -> None:
    if model not in MODELS:
        raise ConfigError(f"unknown model {model!r}; known: {', '.join(MODELS)}")
    if (workdir / "config.json").exists() or any((workdir / "checkpoints").glob("[0-9]*")):
        raise CheckpointError(f"{workdir} holds a run already; take another --workdir")


def _net(found: weights.Weights) -> Net:
    variables = dict(found.variables)
    params = variables.pop("params")
    return Net(params, variables, ())


def _config(model: str, network: str, options: dict[str, Any], side: int, judge: weights.Weights | None) -> ConfigDict:
    """The config that a training of this model here would have."""
    config = configs.get("restorer_cxr" if judge is None else "pix2pix_cxr")
    section = {"name": "published_unet" if network == "unet" else network, **options}
    if network in ("unet", "resnet"):
        section["dropout"] = 0.5 * bool(options.get("dropout", network == "unet"))
    if options.get("scale", 1) > 1:  # what such a net undoes
        config.data.degradation.update(steps=("down_up",), down_up={"factor": float(options["scale"])})
    native = network in ("rrdb", "srresnet")  # fully convolutional, and trained on crops at the pixels of the files
    config.data.update(image_size=side, load_size=0 if native else side, crop_size=side, limit=0)
    config.update(name=f"imported_{model}", variant="imported")
    config.generator = ConfigDict(section)
    if judge is not None:
        kept = {name: value for name, value in judge.options.items() if name != "channels"}
        config.discriminator = ConfigDict({"name": "patchgan", "scales": 1, **kept})
    config.train.ema = 0.0
    return config


def _check_fits(config: ConfigDict, nets: dict[str, Net], files: dict[str, str | Path]) -> None:
    """The networks that the config describes are those of the files."""
    side = config.data.crop_size
    batch = {name: jnp.zeros((1, side, side, 1)) for name in ("source", "target")} | {"index": jnp.zeros(1, jnp.int32)}
    blank = jax.eval_shape(networks.objective(config, 1).init, jax.random.key(0), batch)
    for name, net in blank.nets.items():
        check_same_tree(net.params, nets[name].params, what=f"the {name} in {files[name]}")
        check_same_tree(net.stats, nets[name].stats, what=f"running statistics of the {name} in {files[name]}")


def _write(config: ConfigDict, workdir: Path, nets: dict[str, Net], **origin: str) -> None:
    """The workdir appears whole or not at all."""
    workdir.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=workdir.parent, prefix=f".{workdir.name}."))
    try:
        _save_weights(made, nets)
        parameters = {name: sum(x.size for x in jax.tree.leaves(net.params)) for name, net in nets.items()}
        configs.write(config, made, steps=0, parameters=parameters, imported=origin)
        made.chmod(0o755)
        workdir.mkdir(exist_ok=True)
        for part in sorted(made.iterdir()):  # checkpoints before config.json, which makes it a run's
            part.replace(workdir / part.name)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _save_weights(workdir: Path, nets: dict[str, Net]) -> None:
    """A checkpoint of step 0 with the item `weights` alone, as `medjax.checkpoint` reads it."""
    tree = {name: {"params": net.params, "stats": net.stats} for name, net in nets.items()}
    options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False)
    with ocp.CheckpointManager(workdir.resolve() / "checkpoints", options=options) as manager:
        manager.save(0, args=ocp.args.Composite(weights=ocp.args.StandardSave(tree)), force=True)


# ------------------------------------------------------------------------------------------------------------- export


def export(workdir: str | Path, file: str | Path, *, which: str = "best", net: str = "") -> Path:
    """Write a run's network as safetensors with a model card beside; returns the card.

    net: "" is the one that predicts. The file's metadata tell of the run, so that `medjax enhance --model` takes it.
    The U-Net, the ResNet generator, the PatchGAN, RRDBNet and SRResNet get the published names and load in the public
    repositories; others the names they have here. Raises ConfigError for a net that the run does not have.
    """
    config = configs.read(workdir)
    with Checkpoints(workdir, best=config.train.best, read_only=True) as checkpoints:
        step, found = checkpoints.weights(which)
    net = net or networks.method(config).averaged[0]
    if net not in found:
        raise ConfigError(f"{workdir} has no net called {net!r}; it has {', '.join(found)}")
    params, stats = found[net]
    held = net if net in config else "discriminator" if net.startswith("d_") else "generator"  # CycleGAN has two of each
    variables, section, path = {"params": params, **stats}, config[held].to_dict(), Path(file)
    told = named.metadata_of(config, configs.resolved(workdir), net=net, step=step)
    facts, network = _facts(config, configs.resolved(workdir), step), NETWORK.get(section["name"], "")
    if network in ("rrdb", "srresnet"):
        section.setdefault("scale", config.data.scale if config.data.scale > 1 else 4)
    if network and _is_published(section):
        options = _options(network, section, params)
        return weights.export(path, variables, weights.TRAINED[network], options=options, facts=facts, metadata=told)
    state = {".".join(p): a for p, a in flatten_dict(variables).items()}
    options = {k: v for k, v in section.items() if k != "name"}
    return write(path, state, architecture=f"medjax {section['name']}, Flax layout", options=options, facts=facts, metadata=told)


def _is_published(section: dict[str, Any]) -> bool:
    """Attention, several scales, a group norm, biases where there is no norm, a light tail and another enlargement beneath
    than the published one are this library's own.
    """
    base = section.get("base", BASE.get(section["name"])) != BASE.get(section["name"])
    own = section.get("attention_at") or section.get("scales", 1) != 1 or section.get("direct") or base
    biased = section.get("norm") == "none" and section["name"] != "resnet" and section.get("use_bias") is not False
    return not (own or biased or section.get("norm") == "group")


def _options(network: str, section: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    """What the mapping table has to know."""
    options = {k: v for k, v in section.items() if k in ("features", "blocks", "levels", "layers", "norm", "scale", "growth")}
    if network == "unet":
        options["levels"] = sum(module.startswith("encoder_") and "norm" not in module for module in params)
    if network == "resnet":
        options["dropout"] = bool(section.get("dropout"))
    return options


def _facts(config: ConfigDict, resolved: dict[str, Any], step: int) -> dict[str, str]:
    origin = resolved.get("imported", {})
    lines = {
        "publisher": f"imported from {origin['file']} (sha256 {origin['sha256'][:16]}...)" if origin else "trained with medjax",
        "licence": "that of whoever trained it, and of the training data",
        "training data": "unknown to medjax" if origin else config.data.source,
        "config": f"{config.name}:{config.variant}, seed {config.seed}, step {step}",
        "images": f"{config.data.crop_size} pixels in training, {config.data.image_size} scored",
    }
    return {**lines, "norm at test time": config.get("generator", {}).get("predict_norm", "none")}
