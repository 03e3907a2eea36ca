"""Export: safetensors in PyTorch's names and layouts, with a model card beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from medjax.files import replace
from medjax.types import CheckpointError, PyTree
from medjax.weights.layouts import to_state
from medjax.weights.networks import Network


def export(
    path: str | Path,
    variables: PyTree,
    network: Network,
    *,
    options: Mapping[str, Any] | None = None,
    source_sha256: str = "",
    facts: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write `path` (.safetensors) and the model card `path` with `.md`; returns the card.

    The tensors have the published names, so the public repositories' `load_state_dict` takes them, and reading the file back
    gives the same bits. options: what the module is made with; source_sha256: of the file the weights came from; facts:
    lines for the card's table (training data, protocol, ...); metadata: further entries of the file's own.
    """
    options = dict(options or {})
    state = to_state(variables, network.mapping(**options))
    return write(Path(path), state, architecture=network.name, options=options, source_sha256=source_sha256, facts={
        "publisher": network.publisher, "licence": network.licence, **(facts or {}),
    }, metadata=metadata)  # fmt: skip


def write(
    path: Path, state: Mapping[str, np.ndarray], *, architecture: str, options: Mapping[str, Any], source_sha256: str = "",
    facts: Mapping[str, str] | None = None, metadata: Mapping[str, str] | None = None,
) -> Path:  # fmt: skip
    """A state dict as safetensors with its card. Both are written whole or not at all."""
    from safetensors.numpy import save

    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path} cannot be exported to: the name must end in .safetensors")
    told = {"format": "pt", "architecture": architecture, "options": json.dumps(dict(options)), "source_sha256": source_sha256}
    told |= metadata or {}
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, save(dict(state), metadata={name: value for name, value in told.items() if value}))
    card = path.with_suffix(".md")
    replace(card, _card(path.name, state, architecture, options, {"source sha256": source_sha256, **(facts or {})}))
    return card


_PYTORCH = """Tensors have PyTorch's names and layouts. In PyTorch:

    model.load_state_dict(safetensors.torch.load_file("{name}"))

A batch norm's `num_batches_tracked` is left out; PyTorch fills it in. """


def _card(name: str, state: Mapping[str, np.ndarray], architecture: str, options: Mapping[str, Any], facts: Mapping) -> str:
    learnt = sum(a.size for n, a in state.items() if not n.endswith(("running_mean", "running_var")))
    rows = {
        "architecture": architecture,
        "options": ", ".join(f"{k}={v}" for k, v in options.items()) or "as published",
        "parameters": f"{learnt:,} in {len(state)} tensors, float32",
        **facts,
        "written by": f"medjax {version('medjax')}",
    }
    use = "" if "Flax layout" in architecture else _PYTORCH.format(name=name)
    table = "\n".join(f"| {k} | {str(v).replace('|', '/')} |" for k, v in rows.items() if v)
    return f"""# {name}

| | |
|---|---|
{table}

{use}For research: not a medical device, and no
substitute for the image it was given. What it was trained on bounds what it can be trusted with.
"""
