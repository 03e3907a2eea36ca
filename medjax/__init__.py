"""medjax: medical image enhancement and synthesis in JAX and Flax."""

from importlib import metadata

from medjax.xla import keep_memory, set_cpu_flags

try:
    __version__ = metadata.version("medjax")
except metadata.PackageNotFoundError:  # used from a checkout
    __version__ = "0"

__all__ = ["__version__", "keep_memory", "set_cpu_flags"]
