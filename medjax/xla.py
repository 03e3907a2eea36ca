"""What makes XLA fast on a CPU and has to be said from outside: a flag of its own, and that the C library keeps freed memory.

Flags count only where they stand in the environment before jax is loaded; nothing of it is imported here.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata

from medjax.types import ConfigError

# XLA's fused CPU convolutions are slow; an unknown flag aborts the process, so only versions that know it get it.
_CPU_FLAG = "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution"
_CPU_FLAG_VERSIONS = ("0.10.",)
# glibc's mallopt: never trim the heap, and serve every size from it, by one arena, so that all sizes can use what was freed.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_KEEP = ((_TRIM_THRESHOLD, -1), (_MMAP_MAX, 0), (_ARENA_MAX, 1))


def set_cpu_flags(*, required: bool = False) -> bool:
    """Make a CPU faster at most networks, by up to a third, through a flag of XLA; call it before jax is imported.

    Returns whether XLA will see the flag. It is left out where jax is loaded already, the installed jaxlib is not known to have
    it, `XLA_FLAGS` names it (the user's own choice stands), or `MEDJAX_XLA_FLAGS=0`. Calls `keep_memory` too. Every command
    calls this itself.

    required: raise ConfigError where jax is loaded already, instead of returning False.
    """
    keep_memory()
    chosen = os.environ.get("XLA_FLAGS", "")
    if os.environ.get("MEDJAX_XLA_FLAGS") == "0":
        return False
    if "xla_cpu_experimental_ynn_fusion_type" in chosen:
        return _CPU_FLAG in chosen
    if "jax" in sys.modules:
        if required:
            raise ConfigError("jax is loaded already and reads XLA_FLAGS no more: call set_cpu_flags before anything imports jax")
        return False
    if not metadata.version("jaxlib").startswith(_CPU_FLAG_VERSIONS):
        return False
    os.environ["XLA_FLAGS"] = f"{chosen} {_CPU_FLAG}".strip()
    return True


def fault(error: Exception) -> str | None:
    """What to tell the user of an error that XLA raised, where it is theirs to mend; None for any other."""
    if "RESOURCE_EXHAUSTED" in str(error):
        first = str(error).splitlines()[0][:200]
        return (
            f"the memory of the device ran out ({first}): a smaller batch or tile, config.train.microbatch, config.train.remat "
            "and config.data.cache=host need less"
        )
    if wanted := os.environ.get("JAX_PLATFORMS"):
        with suppress(ImportError):
            import jax

            try:
                jax.devices()
            except (RuntimeError, AssertionError):  # the latter where the platform's package is absent
                told = f" ({str(error).splitlines()[0]})" if str(error) else ""
                return f"JAX_PLATFORMS={wanted}: there is no such device here, or what drives it is not installed{told}"
    return None


def keep_memory() -> bool:
    """Let this process keep the memory that it frees, for what it allocates next: XLA takes the buffers of a step anew each time,
    and pages that go back to the system in between are zeroed by it again, at up to a quarter of a step.

    Returns whether it is so: glibc alone can, and the user's own choice stands (`MALLOC_...`, `GLIBC_TUNABLES`), as does
    `MEDJAX_XLA_FLAGS=0`; memory that was once needed stays with the process until it ends.
    """
    chosen = any(name.startswith("MALLOC_") for name in os.environ) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    mallopt = None if chosen or os.environ.get("MEDJAX_XLA_FLAGS") == "0" else _mallopt()
    return mallopt is not None and all([mallopt(*option) for option in _KEEP])


def _mallopt() -> Callable[[int, int], int] | None:
    with suppress(OSError, TypeError):  # Windows has no C library under no name
        return getattr(ctypes.CDLL(None), "mallopt", None)
    return None
