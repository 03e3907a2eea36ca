"""Where weights lie, and reading them into the tree of their network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medjax.types import CheckpointError, PyTree
from medjax.weights.files import AbsentError, origin_sha256, read_state
from medjax.weights.layouts import from_state
from medjax.weights.networks import Network, network_of

VARIABLE = "MEDJAX_WEIGHTS"


class Weights(NamedTuple):
    """A file read: the Flax tree, the options its module is made with, the file's sha256 (of the file it was exported from,
    where its metadata say so), and whether that is the published one (None where no digest is published).
    """

    variables: PyTree
    options: dict[str, Any]
    sha256: str
    published: bool | None


def find(network: Network | str, path: str | Path = "") -> Path:
    """The file of a network's weights: `path`, else in `$MEDJAX_WEIGHTS` under the published name or `NAME.safetensors`.

    Raises AbsentError (a CheckpointError) in one sentence with the file's name and who publishes it.
    """
    network = network_of(network) if isinstance(network, str) else network
    if path:
        found = Path(path).expanduser()
        if not found.is_file():
            raise AbsentError(f"the weights {found} of {network.name} are absent; {_publisher(network)}")
        return found
    folder = os.environ.get(VARIABLE, "")
    if not folder:
        raise AbsentError(f"no weights of {network.name}: {_publisher(network)}; set {VARIABLE} to the folder that holds it")
    for name in _candidates(network):
        if (Path(folder).expanduser() / name).is_file():
            return Path(folder).expanduser() / name
    raise AbsentError(f"no weights of {network.name} in {folder}: {_publisher(network)}")


def _candidates(network: Network) -> list[str]:
    """Safe formats first, then the published name, with and without the folder it is published in."""
    published = Path(network.file)
    own = [f"{network.name}.safetensors", f"{network.name}.npz", f"{network.name}{published.suffix}"]
    safe = [str(published.with_suffix(".safetensors"))] if len(published.parts) == 1 else []
    return [*own[:2], *safe, network.file, own[2]]


def _publisher(network: Network) -> str:
    return f"{network.file} is published by {network.publisher}, licence: {network.licence}"


def load(path: str | Path, network: Network | str) -> PyTree:
    """`{"params", "batch_stats"}` of a network from a file, as numpy arrays; see `load_weights`."""
    return load_weights(path, network).variables


def load_weights(path: str | Path, network: Network | str) -> Weights:
    """A file as weights of `network`, of the published size.

    Raises CheckpointError for a file that cannot be read, for the weights of another architecture (first differing name and
    shapes), and for one that bears the published name and is not the published file.
    """
    network = network_of(network) if isinstance(network, str) else network
    state, digest = read_state(path), origin_sha256(path)
    published = digest.startswith(network.sha256) if network.sha256 else None
    if published is False and Path(path).name == Path(network.file).name:
        raise CheckpointError(
            f"{path} is not the published file: its sha256 begins with {digest[:8]}, not {network.sha256[:8]}; get it again"
        )
    return Weights(_tree(state, network, {}, path), {}, digest, published)


def import_trained(path: str | Path, network: Network | str, *, entry: str = "", **options: Any) -> Weights:
    """A file as weights of a generator or discriminator whose size its tensors tell.

    entry: of a `.pth` with several state dicts. options: what the tensors do not tell, over what they do.
    """
    network = network_of(network) if isinstance(network, str) else network
    if network.options_of is None:
        raise CheckpointError(f"{network.name} is a feature network: it has one size, read by weights.load")
    state = read_state(path, entry=entry)
    try:
        options = {**network.options_of(state), **options}
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return Weights(_tree(state, network, options, path), options, origin_sha256(path), None)


def _tree(state: Mapping[str, np.ndarray], network: Network, options: dict[str, Any], path: str | Path) -> PyTree:
    mapping, abstract = network.mapping(**options), network.abstract(**options)
    return from_state(state, abstract, mapping, what=f"{path} for {network.name}", ignored=network.ignored)


def is_published(path: str | Path, network: Network | str) -> bool:
    """Whether a file is, or was exported from, the one whose digest is published: what allows a metric's common name."""
    network = network_of(network) if isinstance(network, str) else network
    return bool(network.sha256) and origin_sha256(path).startswith(network.sha256)
