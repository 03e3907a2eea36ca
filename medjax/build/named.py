"""Trained models by name: files of `medjax export-weights` in a folder, each used as the run that it came from.

A file's metadata hold what `config.json` says of the run, without the places of its machine; see `trained.load`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flax.traverse_util import unflatten_dict
from ml_collections import ConfigDict

from medjax import weights
from medjax.build import config as configs
from medjax.types import CheckpointError, PyTree
from medjax.weights.files import told

VARIABLE = "MEDJAX_MODELS"
SUFFIX = ".safetensors"
# Fields that name places on the machine of a run, and mean nothing elsewhere.
PLACES = (
    "data.root", "data.split_file", "data.mri_pairs.cache", "init_from", "method.enhancer", "method.perceptual.weights",
    "method.guide.classifier",
)  # fmt: skip
_COMMAND = "medjax export-weights {file} --workdir=RUN"


def folder_of(given: str | Path = "") -> Path:
    """The folder of models: the one `given`, else `$MEDJAX_MODELS`, else `experiments/models` of the checkout."""
    chosen = given or os.environ.get(VARIABLE) or configs.config_folder().parent / "experiments" / "models"
    return Path(chosen).expanduser()


def find(name: str, folder: str | Path = "") -> Path:
    """The file of the model `name` in `folder_of(folder)`.

    Raises CheckpointError where there is none, with the names that there are and the command that makes one.
    """
    where = folder_of(folder)
    file = where / f"{name}{SUFFIX}"
    if Path(name).name != name or not file.is_file():
        there = ", ".join(sorted(path.stem for path in where.glob(f"*{SUFFIX}"))) or "none"
        raise CheckpointError(
            f"no model {name!r} in {where} (there: {there}); {_COMMAND.format(file=where / (Path(name).name + SUFFIX))} puts a "
            f"trained run there, --models=DIR or {VARIABLE} name another folder"
        )
    return file


def metadata_of(config: ConfigDict, resolved: Mapping[str, Any], *, net: str, step: int) -> dict[str, str]:
    """What a file of weights says of its run: the net, the step, and as JSON its config and what was resolved from it."""
    kept = {name: resolved[name] for name in ("fov_mm", "imported") if name in resolved}
    return {"net": net, "step": str(step), "run": json.dumps({"config": _portable(config), "resolved": kept})}


def _portable(config: ConfigDict) -> dict[str, Any]:
    """The config as JSON without the places of this machine."""
    config = config.copy_and_resolve_references()
    for field in PLACES:
        section, _, last = field.rpartition(".")
        if configs.config_at(config, field):
            (configs.config_at(config, section) if section else config)[last] = ""
    content = configs.to_json(config)
    content["evaluation"]["weights"] = dict.fromkeys(content["evaluation"]["weights"], "")
    if content["train"]["compilation_cache"]:
        del content["train"]["compilation_cache"]  # the reader's default
    return content


def weights_of(file: str | Path) -> tuple[int, dict[str, tuple[PyTree, PyTree]]]:
    """(step, {net: (params, stats)}) of a file of exported weights, as `Checkpoints.weights` gives them.

    Raises CheckpointError for a file that cannot be read, or does not tell of its run.
    """
    facts = told(file)
    if not {"net", "step", "architecture"} <= set(facts):
        raise CheckpointError(f"{file} does not tell what run its weights are of, as files of medjax export-weights do")
    if facts["architecture"] in weights.TRAINED:
        variables = dict(weights.import_trained(file, facts["architecture"], **json.loads(facts["options"])).variables)
    else:
        variables = unflatten_dict({tuple(name.split(".")): array for name, array in weights.read_state(file).items()})
    params = variables.pop("params")
    return int(facts["step"]), {facts["net"]: (params, variables)}
