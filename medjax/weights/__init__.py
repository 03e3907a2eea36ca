"""Published PyTorch weights to Flax trees and back: read safely, every tensor used exactly once, errors that name it.

`find(network, path)` tells where a network's file is, `load(path, network)` reads it into `{"params", "batch_stats"}`,
`import_trained` reads a generator or discriminator that somebody trained, of the size the file has, and `export` writes
safetensors with a model card. `.safetensors` and `.npz` are read always, `.pth` and `.pt` where torch is installed and
by `weights_only=True` alone. Nothing is fetched: weights lie where `$MEDJAX_WEIGHTS` says, or at a path given.
"""

from __future__ import annotations

from medjax.weights.cards import export
from medjax.weights.drawn import DRAWN, drawn
from medjax.weights.files import AbsentError, read_state
from medjax.weights.layouts import from_state, to_state
from medjax.weights.lookup import Weights, find, import_trained, is_published, load, load_weights
from medjax.weights.networks import NETWORKS, TRAINED, Network, network_of
from medjax.weights.preprocess import Preprocess

__all__ = [
    "DRAWN", "AbsentError", "NETWORKS", "TRAINED", "Network", "Preprocess", "Weights", "drawn", "export", "find", "from_state",
    "import_trained", "is_published", "load", "load_weights", "network_of", "read_state", "to_state",
]  # fmt: skip
