"""The scaling benchmark: arithmetic by hand, a compiled program's bytes, and (slow) two simulated devices measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.benchmarks import links, scaling

HLO = """
  %all-reduce.5 = (f32[64]{0}, f32[4,4,1,64]{3,2,1,0}) all-reduce(%a, %b), channel_id=1, replica_groups={{0,1}}
  ROOT %all-reduce = f32[] all-reduce(%c), channel_id=2
  %gathered = bf16[8,256]{1,0} all-gather(%d), dimensions={0}
  %fusion = f32[1000]{0} fusion(%all-reduce.5), kind=kLoop
"""


def test_a_ring_sends_every_gradient_nearly_twice():
    assert links.summed_bytes(1_000_000, 1) == 0
    assert links.summed_bytes(1_000_000, 2) == 4e6
    assert links.summed_bytes(57_183_617, 8) == pytest.approx(1.75 * 4 * 57_183_617)


def test_the_row_of_pix2pix_by_hand():
    """64 images of 82.5 GFLOP at 40% of 790 TFLOP/s: 16.7 ms; 400 MB over 450 and 12.5 GB/s: 0.89 and 32 ms."""
    found = links.row("pix2pix 256", links.MODELS["pix2pix 256"], 57_183_617, 82.5, count=8)
    assert found["floor_ms"] == pytest.approx(16.71, abs=0.01) and found["bytes"] == pytest.approx(400.3e6, rel=1e-3)
    assert found["ms"]["NVLink"] == pytest.approx(0.889, abs=0.001)
    assert found["efficiency"]["Ethernet 100 Gb/s"] == pytest.approx(16.71 / (16.71 + 32.02), abs=1e-3)
    line = links.markdown([found]).splitlines()[2]
    assert line.startswith("| pix2pix 256 | 57.2 M | 64 | 16.7 | 400 | 0.89 ms, 95% |") and line.endswith("34% |")


def test_bytes_of_a_compiled_program():
    from experiments.benchmarks.scaling_step import operand_bytes

    assert operand_bytes(HLO, "all-reduce") == 4 * (64 + 4 * 4 * 64 + 1)
    assert operand_bytes(HLO, "all-gather") == 2 * 8 * 256 and operand_bytes(HLO, "reduce-scatter") == 0


@pytest.mark.slow
def test_two_simulated_devices_are_measured(tmp_path, capsys):
    output = tmp_path / "scaling.json"
    argv = ["--config=pix2pix_cxr:tiny", "--devices=2", "--each=2", "--slices=1", "--steps=1", f"--output={output}"]
    assert scaling.main(argv) == 0
    one, two = json.loads(output.read_text())["rows"]
    assert (one["devices"], two["devices"], two["batch"]) == (1, 2, 4)
    assert one["bytes"]["all-reduce"] == 0 and two["bytes"]["all-reduce"] > 0.9 * two["gradient_bytes"]
    assert one["loss_difference"] == 0 and 0 < two["loss_difference"] < 1e-3 and two["parameter_difference"] < 1e-2
    assert "weak efficiency" in capsys.readouterr().out


@pytest.mark.slow
def test_the_table_in_the_readme_is_the_one_printed():
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    assert links.markdown(links.rows()) in readme
