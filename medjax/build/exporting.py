"""A run's prediction as one serialised program of StableHLO, weights inside: what `medjax export` writes."""

from __future__ import annotations

import functools
import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from medjax import files
from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.build import diffusion, networks
from medjax.build.trained import Model, load
from medjax.exported import beside
from medjax.models.conv import traced_for
from medjax.types import Array, ConfigError

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
OUTPUTS = {"image": "target", "unpaired": "target", "classification": "label"}
"""Kind of method -> what of its prediction is exported; the others make images from labels."""
_RANDOM = "threefry2x32"


def export_run(
    workdir: str | Path,
    output: str | Path,
    *,
    shape: tuple[int, int],
    batch: int = 1,
    platforms: Sequence[str] = (),
    which: str = "best",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write the prediction of a run for images `[batch, *shape, C]` to `output`, and `output.json`, which is returned, beside it.

    Images are float32 in [-1, 1], in and out, unclipped: those of `Objective.predict`. platforms: of PLATFORMS; (): that of this
    machine. For several the program holds the forms that suit each one and picks them where it is compiled.

    Raises ConfigError for a shape, platform or method that cannot be exported and for an output that exists, CheckpointError for
    a workdir that holds no run; nothing is written then.
    """
    output, platforms = Path(output), tuple(dict.fromkeys(platforms)) or (export.default_export_platform(),)
    _check(output, shape, batch, platforms, overwrite)
    config = configs.read(workdir)
    if (kind := networks.method(config).kind) not in OUTPUTS:
        raise ConfigError(f"{workdir} holds a run of {config.method.name}, which predicts from no image; nothing to export")
    model = load(workdir, which=which)
    if model.config.data.prefilter:
        warnings.warn(
            f"inputs of {workdir} pass a {model.config.data.prefilter} filter (data.prefilter), which the program leaves to its "
            "caller",
            stacklevel=2,
        )
    inputs = {"images": jax.ShapeDtypeStruct((batch, *shape, build_data.channels(model.config)), jnp.float32)}
    if diffusion.is_diffusion(model.config):
        inputs["key"] = jax.ShapeDtypeStruct((2,), jnp.uint32)
    try:
        predict = jax.jit(_for(_prediction(model, OUTPUTS[kind]), platforms))
        program = export.export(predict, platforms=platforms)(*inputs.values())
    except (TypeError, ValueError) as error:  # what jax says of shapes that do not fit each other
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{workdir} cannot predict images of {shape[0]}x{shape[1]} pixels: {reason}") from error
    content = bytes(program.serialize())
    about = _about(model, program, inputs, content)
    output.parent.mkdir(parents=True, exist_ok=True)
    files.replace(output, content)
    files.replace(beside(output), json.dumps(about, indent=2) + "\n")
    return about


def _check(output: Path, shape: tuple[int, int], batch: int, platforms: Sequence[str], overwrite: bool) -> None:
    if min(*shape, batch) < 1:
        raise ConfigError(f"a shape has a height, a width and a batch of at least 1, not {shape[0]}, {shape[1]} and {batch}")
    if unknown := [name for name in platforms if name not in PLATFORMS]:
        raise ConfigError(f"unknown platform {unknown[0]!r}; known: {', '.join(PLATFORMS)}")
    if output.is_dir():
        raise ConfigError(f"{output} is a folder, where the file of a program is to be written")
    if there := [path for path in (output, beside(output)) if path.exists() and not overwrite]:
        raise ConfigError(f"{there[0]} exists; give another --output, or --overwrite")


def _prediction(model: Model, name: str) -> Callable[..., Array]:
    """`images [B, H, W, C]` and a key's data, where the method draws, to `[B, ...]`; image b draws from stream b of the key."""

    def predict(images: Array, key: Array | None = None) -> Array:
        stream = jax.random.key(0) if key is None else jax.random.wrap_key_data(key, impl=_RANDOM)
        given = {"source": images, "target": images, "index": jnp.arange(len(images), dtype=jnp.int32)}
        return model.objective.predict(model.state, given, stream)[name]

    return predict


def _for(predict: Callable[..., Array], platforms: Sequence[str]) -> Callable[..., Array]:
    """`predict` in the forms of convolution that suit each of `platforms`."""

    def on(platform: str, *inputs: Array) -> Array:
        with traced_for(platform):
            return predict(*inputs)

    if len(platforms) == 1:
        return functools.partial(on, platforms[0])
    return lambda *inputs: jax.lax.platform_dependent(*inputs, **{name: functools.partial(on, name) for name in platforms})


def _about(model: Model, program: export.Exported, inputs: dict[str, Any], content: bytes) -> dict[str, Any]:
    """What the file beside the program says."""
    config, (out,) = model.config, program.out_avals
    told = lambda name, x, **more: {"name": name, "shape": list(x.shape), "dtype": np.dtype(x.dtype).name, **more}
    signed = {"range": [-1, 1], "layout": "batch, height, width, channel"}
    classes = {"range": [0, 1], "layout": "batch, class", "classes": list(config.data.classes)}
    return {
        "what": "the prediction of a medjax run, serialised by jax.export; medjax.exported.load reads it",
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "config": f"{config.name}:{config.variant}",
        "method": config.method.name,
        "checkpoint_step": model.step,
        "inputs": [told("images", inputs["images"], **signed), *(told(n, x) for n, x in inputs.items() if n != "images")],
        "output": told("output", out, **(signed if out.ndim == 4 else classes)),
        "random": _RANDOM if "key" in inputs else "",
        "prefilter": config.data.prefilter,
        "predict_norm": config.get("generator", {}).get("predict_norm", "none"),
        "precision": config.train.precision,
        "platforms": list(program.platforms),
        "calling_convention": program.calling_convention_version,
        "versions": configs.versions(),
    }
