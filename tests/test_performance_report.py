"""The page of performance: every number from a file, a verdict on every goal."""

from __future__ import annotations

import json

import pytest

from experiments.benchmarks import report


def row(implementation, ms, **more):
    facts = {"case": "pix2pix", "goal": 0.9, "config": "pix2pix_cxr:paper", "batch": 1, "precision": "float32"}
    times = {"ms": ms, "ms_range": [ms - 1, ms + 1], "cpu_ms": 2 * ms, "images_per_second": 1000 / ms, "rss_mb": 1234.5}
    return {"implementation": implementation, **facts, **times, **more}


@pytest.fixture
def folder(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))

    skipped = {**row("torch compile", 1.0), "skipped": "no compiler"}
    del skipped["ms"]
    rows = [row("medjax", 84.0, gflop=42.0, compile_s=5.5, versions={"jax": "0.10.2"}), row("torch eager", 100.0), skipped]
    write("train_step/cpu.json", {"benchmark": "train_step", "load": 0.1, "rows": rows, "notes": ["how it was counted"]})
    write("scaling/cpu.json", {"benchmark": "scaling", "rows": [{"devices": 8, "ms": 12.5, "equal": True}]})
    sizes = {"arguments": 2e6, "outputs": 8, "temporaries": 3e6, "total": 5e6}
    costs = {"system": "CGAN", "batch": 4, "form": "plain", "bytes": sizes, "gflop": 1.5, "compile_s": 2.0, "process": None}
    write("memory/cpu.json", {"benchmark": "memory", "rows": [costs]})
    facts = {"model": "pix2pix", "devices": 8, "batch": 64, "parameters": 57_000_000, "gflop": 82.5, "floor_ms": 16.7}
    linked = {**facts, "bytes": 4e8, "ms": {"NVLink": 0.89}, "efficiency": {"NVLink": 0.95}}
    about = {"on": "paper", "device": "NVIDIA H200", "precision": "bfloat16", "links": {"NVLink": 4.5e11}}
    write("scaling/paper.json", {"benchmark": "scaling", **about, "rows": [linked]})
    stages = [{"stage": "decode", "host_ms": 3.2}, {"stage": "jpeg", "host_ms": 0.5, "device_ms": 0.4, "device_minus_host": {
        "largest": 1e-5, "mean": 2e-6, "deviation": 0.0}}]  # fmt: skip
    write("data/cpu.json", {"benchmark": "data", "rows": [{"cache": "none", "images_per_second": 120.0}], "stages": stages})
    write("profile/cpu.json", {"benchmark": "profile", "rows": [{"case": "pix2pix", "share": {"layouts": 0.25}}]})
    write("other/evaluation.json", {"rows": {"input": {}}})
    return tmp_path


def test_page_has_the_ratio_and_the_verdict(folder, capsys):
    assert report.main([f"--results={folder}"]) == 0
    page = (folder / "PERFORMANCE.md").read_text()
    assert "| pix2pix | 1 | 84.0 [83.0, 85.0] | 100 [99, 101] | 0.84 | at most 0.9 | reached | - | - |" in page
    assert "left out: no compiler" in page and "| 500 | 5.5 |" in page  # 42 GFLOP in 84 ms
    assert "| 8 | 12.5 | yes |" in page and "- how it was counted" in page and "jax 0.10.2" in page
    assert page.index("## Training steps") < page.index("## Several devices") and "evaluation" not in page
    assert "| CGAN | 4 | plain | 2 | 3 | 5 | 1.5 | 2 | - |" in page
    assert "| pix2pix | 8 | 64 | 57,000,000 | 82.5 | 16.7 | 400 | 0.89 | 95% |" in page and "NVLink, ms" in page
    assert "| none | 120 |" in page and "| decode | 3.2 | - | - | - | - |" in page
    assert "| jpeg | 0.5 | 0.4 | 1e-05 | 2e-06 | 0 |" in page
    assert "| case | share layouts |" in page and "| pix2pix | 0.25 |" in page
    assert "from 6 files" in capsys.readouterr().out


def test_a_missed_goal_is_told(folder):
    path = folder / "train_step" / "cpu.json"
    path.write_text(path.read_text().replace('"goal": 0.9', '"goal": 0.8'))
    assert report.main([f"--results={folder}"]) == 0
    assert "| 0.84 | at most 0.8 | missed |" in (folder / "PERFORMANCE.md").read_text()


@pytest.mark.parametrize("content, told", [("{", "no JSON"), (json.dumps({"benchmark": "data", "rows": []}), "no rows")])
def test_a_broken_file_is_named(folder, capsys, content, told):
    (folder / "broken.json").write_text(content)
    assert report.main([f"--results={folder}"]) == 1
    said = capsys.readouterr().err
    assert "broken.json" in said and told in said


def test_no_results_are_told(tmp_path, capsys):
    assert report.main([f"--results={tmp_path}"]) == 1
    assert "no benchmark" in capsys.readouterr().err
