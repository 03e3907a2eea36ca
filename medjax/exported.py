"""Predictions written by `medjax export`, run by jax alone.

    from medjax import exported

    predict, about = exported.load("p2p.jax")
    enhanced = predict(images)  # float32 [B, H, W, C] in [-1, 1]; a run that draws takes a key: predict(images, key)

A file holds one program of StableHLO as `jax.export` serialises it, weights inside, for one shape and the platforms that
`FILE.json` beside it names. That is a flatbuffer of arrays and operations, not a pickle: reading it runs no code, and calling
it runs array operations alone. Neither Flax nor any network of this library is imported.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from jax import export

from medjax.types import CheckpointError


def beside(path: str | Path) -> Path:
    """The file that tells what an exported program is: `FILE.json`."""
    return Path(f"{path}.json")


def load(path: str | Path) -> tuple[Callable[..., jax.Array], dict[str, Any]]:
    """(the prediction, compiled for this machine's device; what `FILE.json` says of it).

    The prediction takes `about["inputs"]` in their order: `images`, and of a run that draws `key`, uint32 `[2]`, such as
    `jax.random.key_data(jax.random.key(seed))`. It gives `about["output"]`.

    Raises CheckpointError for files that are absent, damaged or not of one export, and for another platform's program.
    """
    about = read_about(path)
    program = Path(path).read_bytes()
    if hashlib.sha256(program).hexdigest() != about["sha256"]:
        raise CheckpointError(f"{path} is not the program that {beside(path)} tells of: its sha256 differs; export it again")
    found = export.deserialize(bytearray(program))
    here = export.default_export_platform()
    if here not in found.platforms:
        raise CheckpointError(f"{path} was exported for {', '.join(found.platforms)}, and jax runs on {here} here")
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in found.in_avals]
    return jax.jit(found.call).lower(*shapes).compile(), about


def read_about(path: str | Path) -> dict[str, Any]:
    """What `FILE.json` says of the program FILE. Raises CheckpointError where either is absent or it cannot be read."""
    if not Path(path).is_file():
        raise CheckpointError(f"the exported program {path} is absent; medjax export makes it")
    try:
        about = json.loads(beside(path).read_text())
        return {**about, "sha256": str(about["sha256"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{beside(path)}, which tells what {path} is, cannot be read ({error})") from error
