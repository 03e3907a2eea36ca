"""medjax: medical image enhancement and synthesis in JAX and Flax."""

from importlib import metadata

try:
    __version__ = metadata.version("medjax")
except metadata.PackageNotFoundError:  # used from a checkout
    __version__ = "0"
