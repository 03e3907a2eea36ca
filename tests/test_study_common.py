"""What every study keeps to: its own module loads no jax."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

STUDIES = ("pix2pix_attention", "cgan_srgan", "mri_translation", "super_resolution", "led")


def test_jax_is_not_loaded_before_its_flags_are_set():
    """`set_cpu_flags` does nothing once jax is there, so a study's own module must not import it."""
    code = "import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(f'experiments.{name}')\n"
    code += "    if 'jax' in sys.modules:\n        sys.exit(f'{name} loads jax')"
    command, root = [sys.executable, "-c", code, *STUDIES], Path(__file__).parents[1]
    found = subprocess.run(command, cwd=root, stderr=subprocess.PIPE, text=True)
    assert found.returncode == 0, found.stderr
