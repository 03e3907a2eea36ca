"""The flag for a CPU: set in time or not at all, and never over the user's own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import medjax
from medjax import xla
from medjax.types import ConfigError

FLAG = xla._CPU_FLAG


@pytest.fixture
def fresh(monkeypatch):
    """A process that has not loaded jax, without flags, at a version that knows the flag."""
    monkeypatch.delitem(sys.modules, "jax")
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.delenv("MEDJAX_XLA_FLAGS")
    monkeypatch.setattr(xla.metadata, "version", lambda name: "0.10.2")
    return monkeypatch


def test_flag_is_added_to_the_users_flags_once(fresh):
    fresh.setenv("XLA_FLAGS", "--xla_dump_to=x")
    assert medjax.set_cpu_flags() and medjax.set_cpu_flags()
    assert os.environ["XLA_FLAGS"] == f"--xla_dump_to=x {FLAG}"


@pytest.mark.parametrize(
    "name, value, kept",
    [("MEDJAX_XLA_FLAGS", "0", ""), ("XLA_FLAGS", "--xla_cpu_experimental_ynn_fusion_type=dot", None)],
)
def test_the_users_choice_stands(fresh, name, value, kept):
    fresh.setenv(name, value)
    assert not medjax.set_cpu_flags()
    assert os.environ["XLA_FLAGS"] == (value if kept is None else kept)


def test_a_jaxlib_that_may_not_know_the_flag_gets_none(fresh):
    fresh.setattr(xla.metadata, "version", lambda name: "0.11.0")
    assert not medjax.set_cpu_flags() and not os.environ["XLA_FLAGS"]


def test_too_late_is_told(fresh):
    fresh.setitem(sys.modules, "jax", pytest)
    assert not medjax.set_cpu_flags() and not os.environ["XLA_FLAGS"]
    with pytest.raises(ConfigError, match="before anything imports jax"):
        medjax.set_cpu_flags(required=True)


_FAULTS = """
import resource, sys
import medjax
kept = medjax.keep_memory()
import numpy as np
take = lambda: np.ones(8 << 20)  # 64 MiB, more than any threshold of malloc's own
take()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    take()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the C library is another")
@pytest.mark.parametrize(
    "choice, kept", [({}, True), ({"MALLOC_TRIM_THRESHOLD_": "131072"}, False), ({"MEDJAX_XLA_FLAGS": "0"}, False)]
)
def test_freed_memory_is_kept(choice, kept):
    """Taking what was just freed costs no page fault; the user's own choice stands."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "MEDJAX_XLA"))}
    found = subprocess.run([sys.executable, "-c", _FAULTS], capture_output=True, text=True, env=plain | choice, check=True).stdout
    told, faults = found.split()
    assert told == str(kept) and (int(faults) < 100) is kept


def test_importing_medjax_loads_no_jax():
    """So that the public call can come first in a notebook."""
    command = [sys.executable, "-c", "import medjax, sys; print('jax' in sys.modules)"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.stdout.strip() == "False"


def test_faults_that_are_the_users_to_mend(monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    told = xla.fault(RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nmore"))
    assert "allocating 9 bytes.)" in told and "config.train.microbatch" in told and "more" not in told
    assert xla.fault(RuntimeError("a bug")) is None


def test_an_absent_platform_is_told_in_a_sentence(tmp_path):
    command = [sys.executable, "-m", "medjax.cli", "train", "--config=pix2pix_cxr:tiny", f"--workdir={tmp_path / 'run'}"]
    environment = {**os.environ, "JAX_PLATFORMS": "rocm", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith("medjax: JAX_PLATFORMS=rocm: there is no such device")
    assert "Traceback" not in done.stderr and not (tmp_path / "run").exists()
