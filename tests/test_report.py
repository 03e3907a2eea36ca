"""A report that stands alone, says what it is about, and does not print what it does not know."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from medjax import evaluate, report
from medjax.metrics.tables import summarise
from medjax.report import blocks
from medjax.types import DataError
from medjax.writers import Writer

VOID = {"meta", "img", "br", "link", "input"}


class Checker(HTMLParser):
    """Fails on tags that do not nest, and gathers the text and what is loaded from elsewhere."""

    def __init__(self, content):
        super().__init__()
        self.open, self.text, self.loads = [], [], []
        self.feed(content)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.loads += [v for k, v in attrs if k in ("src", "href") and not v.startswith("data:image/png;base64,")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def evaluation(n=20, gain=1.0):
    rng = np.random.default_rng(0)
    base = rng.normal(31.7, 1, n)
    psnr = {"input": base, "nlm": base + 2, "clahe": base - 12, "model": base + 2 + gain + rng.normal(0, 0.1, n)}
    scores = {
        row: {"psnr": v, "ssim": v / 40, "spectrum_ratio": v / 33, "checkerboard2": v / 33} for row, v in psnr.items()
    }
    images = {
        k: rng.random((3, 32, 32, 1)).astype(np.float32) for k in ("source", "target", "model", "best_baseline", "std")
    }
    share = np.arange(10) / 10
    return evaluate.Evaluation(
        names=[f"{i:08d}_000.png" for i in range(n)],
        scores=scores,
        columns={"view": ["PA", "AP"] * (n // 2)},
        uncertainty={
            name: np.full(n, v) for name, v in (("rank_correlation", 0.4), ("ause", 0.2), ("ause_random", 0.5))
        },
        sparsification={"fraction": share.tolist(), "curve": (1 - share / 2).tolist(), "oracle": (1 - share).tolist()},
        examples=images
        | {"names": np.array(["b<1>.png", "m.png", "w.png"]), "ranks": np.array(["best", "median", "worst"])}
        | {"baseline": np.array("nlm")},
        warnings=["the input row looks like that of shuffled pairs"],
    )


def fill(workdir, *, dataset, trained="nih_cxr14", **options):
    found = evaluation(**options)
    protocol = {"resolution": [256, 256], "degradation": {"steps": ["gaussian_noise", "jpeg"]}}
    summary = summarise(found, protocol=protocol, dataset=dataset, split="test", by="view")
    evaluate.write(found, workdir, summary=summary)
    config = {"name": "pix2pix_cxr", "variant": "tiny", "seed": 3, "data": {"source": trained, "batch_size": 1}}
    (workdir / "config.json").write_text(json.dumps({"config": config, "versions": {"jax": "0.10.2"}}))
    with Writer(workdir, tensorboard=False) as writer:
        for step in (1, 2, 3):
            writer.scalars(step, "train", {"g_gan": 1.0, "g_reconstruction": 2.0, "d_loss": 0.7, "gamma/e32": 0.01})
        writer.scalars(3, "validation", {"psnr": 33.0, "ssim": 0.8})
    return summary


def read(path):
    content = path.read_text()
    checked = Checker(content)
    return content, " ".join("".join(checked.text).split()), checked


def test_a_full_report_stands_alone_and_says_all_it_knows(tmp_path):
    summary = fill(tmp_path, dataset="nih_cxr14")
    (tmp_path / "claims.json").write_text(
        json.dumps(
            [{"id": "A1", "claim": "x < y", "paper": 0.9, "ours": 0.8, "n": 3, "verdict": "fails", "how": "p = 0.2"}]
        )
    )
    path = report.build(tmp_path)
    content, text, checked = read(path)
    assert path.name == "report.html" and not checked.loads and "<script" not in content
    assert "These are real images" in text and "phantoms, not patients" not in text
    assert (
        f"{summary['rows']['model']['psnr']['mean']:.2f}" in text and "better than the best classical baseline" in text
    )
    assert "non-local means (best baseline)" in text and "< 0.001" in text and "shuffled pairs" in text
    assert "x < y" in text and "1 fails" in text and "b<1>.png" in text
    for heading in ("What was run", "Results", "Pictures", "By group", "Training", "Protocol and versions"):
        assert f"<h2>{heading}</h2>" in content
    assert content.count("data:image/png") == 10


def test_phantoms_are_named_loudly_and_a_change_of_data_too(tmp_path):
    fill(tmp_path, dataset={"name": "phantom_cxr", "seed": 0}, trained="nih_cxr14")
    _, text, _ = read(report.build(tmp_path))
    assert "phantoms, not patients" in text and "These are real images" not in text
    assert "trained on nih_cxr14 and is judged here on phantom_cxr" in text


@pytest.mark.parametrize(
    ("gain", "words"), [(1.0, "better than"), (-1.0, "worse than"), (0.0, "not distinguishable from")]
)
def test_the_verdict_says_no_more_than_the_interval(gain, words):
    found = evaluation(gain=gain)
    summary = summarise(found, protocol={}, dataset="d", split="test")
    if gain == 0.0:
        summary["differences"]["best_baseline"]["psnr"]["ci95"] = [-0.1, 0.1]
    assert f"**{words}**" in blocks.verdict(summary)


def test_one_image_gets_no_interval_and_no_verdict(tmp_path):
    found = evaluation(n=2)
    found.names, found.columns = found.names[:1], {}
    found.scores = {row: {m: v[:1] for m, v in metrics.items()} for row, metrics in found.scores.items()}
    found.uncertainty, found.examples = {}, {}
    evaluate.write(found, tmp_path, summary=summarise(found, protocol={}, dataset="d", split="test"))
    _, text, _ = read(report.build(tmp_path))
    assert "better than" not in text and "nan" not in text.lower()


def test_an_evaluation_elsewhere_is_reported_with_its_run(tmp_path):
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    run.mkdir()
    fill(run, dataset="nih_cxr14")
    found = evaluation()
    evaluate.write(found, elsewhere, summary=summarise(found, protocol={}, dataset="actualmed", split="test"))
    path = report.build(elsewhere, run=run)
    _, text, _ = read(path)
    assert path.parent == elsewhere and "actualmed, test split" in text and "pix2pix_cxr:tiny" in text


def test_a_run_that_was_not_evaluated_has_its_curves(tmp_path):
    with Writer(tmp_path, tensorboard=False) as writer:
        writer.scalars(1, "train", {"g_loss": 1.0})
    _, text, _ = read(report.build(tmp_path, title="A run"))
    assert "A run" in text and "Not evaluated yet" in text and "Results" not in text


def test_nothing_to_report_is_an_error_that_says_so(tmp_path):
    with pytest.raises(DataError, match="nothing to report"):
        report.build(tmp_path)
    (tmp_path / "claims.json").write_text("[{")
    with pytest.raises(DataError, match="claims.json"):
        report.build(tmp_path)


def test_text_is_escaped_and_marked_up():
    made = report.text("a < b & **bold** `x<1>`\n\n- one\n- two")
    assert (
        made == "<p>a &lt; b &amp; <strong>bold</strong> <code>x&lt;1&gt;</code></p>\n<ul><li>one</li><li>two</li></ul>"
    )


def test_numbers_stand_to_the_right_and_words_to_the_left():
    made = report.table(("row", "PSNR"), [("input", "31.2 [30.1, 32.2]"), ("model", "–")], strong=[1])
    assert re.findall(r"<td( class=\"number\")?>", made) == ["", ' class="number"'] * 2
    assert "<small>[30.1, 32.2]</small>" in made and '<tr class="strong">' in made
    assert "<tbody>\n\n</tbody>" in report.table(("a",), [])


def test_a_page_is_composed_of_sections(tmp_path):
    content = report.page("T & t", [report.Section("One", [report.note("hello")]), report.Section("Empty", [])])
    path = report.save(tmp_path / "page.html", content)
    _, text, _ = read(path)
    assert "hello" in text and "Empty" not in text and "<title>T &amp; t</title>" in content
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_p_values_and_numbers_read_as_in_a_paper():
    assert [blocks.p_value(p) for p in (0.0001, 0.0312, None)] == ["< 0.001", "0.031", "–"]
    assert blocks.cell("psnr", {"mean": 1.234, "ci95": [1, 2]}, sign=True) == "+1.23 [+1.00, +2.00]"
    assert blocks.cell("ssim", {"mean": 0.91234, "ci95": None}) == "0.9123"


def test_patients_and_regions_have_tables_of_their_own(tmp_path):
    names = [f"{patient}_{k}" for patient in "ab" for k in range(3)]
    rng = np.random.default_rng(0)
    scores = {
        row: {m: rng.normal(base + gain, 0.1, 6) for m, base in {"psnr": 30, "ssim": 0.8, "psnr_inside": 20}.items()}
        for row, gain in (("input", 0), ("monotone", 1), ("model", 4))
    }
    found = evaluate.Evaluation(names, scores, columns={"patient": [n[0] for n in names]})
    summary = summarise(found, protocol={}, dataset="mri_pairs", split="test")
    evaluate.write(found, tmp_path, summary=summary)
    page = report.build(tmp_path).read_text()
    assert "2 patients (6 images)" in page and "patient by patient" in page and "Inside the region" in page
    assert "too few patients for a test to tell" in page
