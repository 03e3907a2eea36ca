"""The tables of `experiments.benchmarks.report`: for each kind of result a function from a file's content to Markdown lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
OURS, EAGER = "medjax", "torch eager"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    clean = lambda cell: str(cell).replace("|", "\\|").replace("\n", " ")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(clean(cell) for cell in row) + " |" for row in rows]


def shown(value: Any) -> str:
    """A value of any kind in a cell: four digits of a number, a dash for nothing."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {shown(x)}" for name, x in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(shown(x) for x in value)
    return str(value)


def circumstances(content: Mapping[str, Any]) -> str:
    """Device, load, flags and versions of a file, from itself or from its first rows."""
    rows = [row for row in content["rows"] if isinstance(row, Mapping)]
    first = lambda name: next((x[name] for x in (content, *rows) if x.get(name) is not None), None)
    parts = [shown(first(name)) for name in ("title", "device_kind") if first(name)]
    if first("threads"):
        parts.append(f"{first('threads')} cores")
    if content.get("load") is not None:
        parts.append(f"load {content['load']:.2f} before it began")
    if content.get("overrides"):
        parts.append("with " + " ".join(map(str, content["overrides"])))
    versions: dict[str, Any] = {}
    for each in (content, *rows):
        versions |= {name: x for name, x in (each.get("versions") or {}).items() if name not in versions}
    kept = [f"{name} {versions[name]}" for name in ("jax", "jaxlib", "flax", "torch", "python", "commit") if name in versions]
    return "; ".join([*parts, ", ".join(kept)] if kept else parts) or "no circumstances are told"


def milliseconds(row: Row) -> str:
    """Median and range."""
    low, high = row["ms_range"]
    digits = 1 if row["ms"] < 100 else 0
    return f"{row['ms']:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _key(row: Row) -> tuple:
    return (row.get("case", row["config"]), row["batch"], row["precision"])


def ratios(content: Mapping[str, Any]) -> list[str]:
    """medjax beside PyTorch: a verdict on each goal, then every implementation's time, compilation and memory."""
    groups: dict[tuple, dict[str, Row]] = {}
    for row in content["rows"]:
        groups.setdefault(_key(row), {})[row["implementation"]] = row
    goals = [_verdict(key, group) for key, group in groups.items() if EAGER in group and "ms" in group[EAGER]]
    lines = []
    if goals:
        head = ("case", "batch", "medjax ms", "torch eager ms", "medjax / eager", "goal", "verdict", "/ channels_last",
                "/ compile")  # fmt: skip
        lines += [*table(head, goals), ""]
    head = ("case", "batch", "type", "implementation", "ms", "CPU ms", "images/s", "GFLOP", "GFLOP/s", "compile s", "process MB",
            "device MB", "of peak")  # fmt: skip
    rows = [_line(key, row) for key, group in groups.items() for row in group.values()]
    return lines + table(head, rows)


def _verdict(key: tuple, group: Mapping[str, Row]) -> tuple[str, ...]:
    ours, eager = group[OURS], group[EAGER]
    ratio, goal = ours["ms"] / eager["ms"], ours.get("goal")
    other = lambda form: f"{ours['ms'] / group[form]['ms']:.2f}" if "ms" in group.get(form, {}) else "-"
    told = "-" if goal is None else "reached" if ratio <= goal else "missed"
    against = (shown(None if goal is None else f"at most {goal:g}"), told, other("torch channels_last"), other("torch compile"))
    return (key[0], str(key[1]), milliseconds(ours), milliseconds(eager), f"{ratio:.2f}", *against)


def _line(key: tuple, row: Row) -> tuple[str, ...]:
    case, batch, precision = key
    if "skipped" in row:
        return (case, str(batch), precision, row["implementation"], f"left out: {row['skipped']}", *("-" for _ in range(8)))
    rate = None if not row.get("gflop") else 1000 * row["gflop"] / row["ms"]
    share = "-" if row.get("peak_share") is None else f"{row['peak_share']:.1%}"
    compiling = row.get("compile_s", row.get("first_s") if row["implementation"] == "torch compile" else None)
    numbers = (row["cpu_ms"], row["images_per_second"], row.get("gflop"), rate, compiling, row["rss_mb"], row.get("device_mb"))
    texts = [shown(None if x is None else float(f"{x:.4g}")) for x in numbers]
    return (case, str(batch), precision, row["implementation"], milliseconds(row), *texts, share)


def precision(content: Mapping[str, Any]) -> list[str]:
    """Where the loss curves end in both types."""
    head = ("run", "loss", "steps", "float32", "bfloat16", "difference", "spread of float32", "forms", "finite", "kept as")
    rows = []
    for r in content["rows"]:
        kept = ", ".join(sorted({*r["kept_float32"], *r["kept_bfloat16"]}))
        told = (f"{r['difference']:+.1%}", f"{r['spread']:.1%}", f"{r['forms']:.1e}", shown(r["finite"]), kept)
        rows.append((r["run"], r["loss"], str(r["steps"]), shown(r["float32"]), shown(r["bfloat16"]), *told))
    text = (
        "Means over the last quarter of the steps, from the same weights over the same batches; forms: the largest difference of "
        "the loss with plain convolutions, all in float32, over the first 100 steps, relative to its mean."
    )
    return [text, "", *table(head, rows)]


def startup(content: Mapping[str, Any]) -> list[str]:
    """Seconds from the command to the first step, and where they go."""
    parts = [name for name in content["rows"][0]["parts"] if name != "total_s"]
    head = ("config", "cache", "starts", "to the first step, s", *(p.removesuffix("_s").replace("_", " ") for p in parts), "MB")
    rows = []
    for r in content["rows"]:
        low, high = r["parts"]["total_s"]["range"]
        total = f"{r['parts']['total_s']['median']:.2f} [{low:.2f}, {high:.2f}]"
        each = (f"{r['parts'][name]['median']:.2f}" for name in parts)
        rows.append((r["config"], r["cache"], str(r["repeats"]), total, *each, f"{r['rss_mb']:.0f}"))
    return table(head, rows)


def roofline(content: Mapping[str, Any]) -> list[str]:
    """The published models' steps and draws, each beside the device's peak and its floor."""
    head = ("model", "batch", "type", "ms", "images/s", "GFLOP", "TFLOP/s", "of peak", "floor ms", "floor of", "floor / time",
            "compile s", "device MB")  # fmt: skip
    share = lambda value: "-" if value is None else f"{value:.1%}"
    rows = []
    for r in content["rows"]:
        rate = tuple(shown(r.get(name)) for name in ("images_per_second", "gflop", "tflops"))
        floor = (share(r.get("peak_share")), shown(r.get("floor_ms")), shown(r.get("floor_of")), share(r.get("floor_share")))
        rest = (shown(r.get("compile_s")), shown(r.get("device_mb")))
        rows.append((r["name"], str(r["batch"]), r["precision"], milliseconds(r), *rate, *floor, *rest))
    return table(head, rows)


def checks(content: Mapping[str, Any]) -> list[str]:
    """The rows of `experiments.gpu_check`: what was checked, the result, the figures; then the table of the published models."""
    rows = [(r.get("check", "-"), r.get("result", "-"), r.get("figures", r.get("reason", "-"))) for r in content["rows"]]
    steps = [r["step"] for r in content["rows"] if "step" in r]
    return table(("check", "result", "figures"), rows) + (["", *roofline({"rows": steps})] if steps else [])


def data(content: Mapping[str, Any]) -> list[str]:
    """Batches a second by way, then each stage for one image on the host and on the device, and how far the latter's result is
    from the former's, in grey levels of 255.
    """
    head = ("stage", "host ms", "device ms", "largest difference, of 255", "of the mean change", "of the change's deviation")
    rows = []
    for r in content.get("stages", ()):
        apart = r.get("device_minus_host") or {}
        told = (shown(apart.get(name)) for name in ("largest", "mean", "deviation"))
        rows.append((r["stage"], shown(r["host_ms"]), shown(r.get("device_ms")), *told))
    return [*plain(content), "", *table(head, rows)]


def scaling(content: Mapping[str, Any]) -> list[str]:
    """Steps on so many devices beside those of one; or, `on` paper, what real links would cost."""
    if content.get("on") != "paper":
        return plain(content)
    links = list(content["links"])
    costs = (f"{name}, {of}" for name in links for of in ("ms", "efficiency"))
    head = ("model", "devices", "batch", "parameters", "GFLOP an image", "floor ms", "all-reduce MB", *costs)
    rows = []
    for r in content["rows"]:
        each = (text for name in links for text in (shown(r["ms"][name]), f"{r['efficiency'][name]:.0%}"))
        about = (r["devices"], r["batch"], r["parameters"], r["gflop"], r["floor_ms"], r["bytes"] / 1e6)
        rows.append((r["model"], *map(shown, about), *each))
    text = f"Not run, by arithmetic: {content['device']}, {content['precision']}, no step hiding any of its all-reduce."
    return [text, "", *table(head, rows)]


def memory(content: Mapping[str, Any]) -> list[str]:
    """What a training step needs, by XLA's analysis, and the process that took it."""
    parts = ("arguments", "temporaries", "total")
    head = ("system", "batch", "form", *(f"{part} MB" for part in parts), "GFLOP", "compile s", "process MB")
    megabytes = lambda count: "-" if count is None else f"{count / 1e6:,.0f}"
    rows = []
    for r in content["rows"]:
        sizes = (megabytes(r["bytes"][part]) for part in parts)
        rest = (shown(r["gflop"]), shown(r["compile_s"]), megabytes(r.get("process")))
        rows.append((r["system"], str(r["batch"]), r["form"], *sizes, *rest))
    return table(head, rows)


def plain(content: Mapping[str, Any]) -> list[str]:
    """A column for each field that some row has, in the order of their appearance, or for each name within it; long lists of
    numbers are left out.
    """
    rows = [_flat(row) for row in content["rows"]]
    fields = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in ("versions", "xla_flags")]
    short = lambda value: not (isinstance(value, list) and len(value) > 8)
    fields = [name for name in fields if all(short(row.get(name)) for row in rows)]
    return table(fields, [[shown(row.get(name)) for name in fields] for row in rows])


def _flat(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in row.items():
        nested = isinstance(value, Mapping) and name != "versions"
        found |= {f"{name} {key}": x for key, x in value.items()} if nested else {name: value}
    return found
