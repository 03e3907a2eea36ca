"""Self-contained HTML pages: a title, sections, and blocks made of text, tables and figures.

A block is a string of HTML made by a function here; what goes in is plain text and is escaped. No script, no network:
pictures are PNG within the file, so a page can be mailed.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from medjax.figures import png
from medjax.files import replace

CSS = """
body { font: 16px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: #1c1c1c; background: #fff;
       max-width: 60rem; margin: 2rem auto 4rem; padding: 0 1.25rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; padding-bottom: .2rem; border-bottom: 1px solid #d4d4d4; }
p, ul { margin: .5rem 0; }
.subtitle { color: #555; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
caption { caption-side: top; text-align: left; color: #444; padding-bottom: .3rem; }
th { text-align: left; border-bottom: 1.5px solid #444; padding: .3rem .8rem .3rem 0; vertical-align: bottom;
     max-width: 11rem; }
td { border-bottom: 1px solid #e4e4e4; padding: .3rem .8rem .3rem 0; vertical-align: top; }
td.number, th.number { text-align: right; }
td.number, td:first-child { white-space: nowrap; }
td small { color: #555; font-size: .86em; }
tr.strong small { font-weight: 400; }
tr.strong td { font-weight: 600; background: #eef5fa; }
figure { margin: 1.2rem 0; }
figure img { max-width: 100%; height: auto; display: block; }
figcaption { font-size: .88rem; color: #444; margin-top: .4rem; max-width: 48rem; }
code, pre { font: .85rem/1.45 "DejaVu Sans Mono", ui-monospace, monospace; }
code { background: #f3f3f3; padding: 0 .2em; }
pre { background: #f6f6f6; padding: .8rem; overflow-x: auto; white-space: pre-wrap; }
.note { border-left: 4px solid #0072B2; background: #eef5fa; padding: .5rem .9rem; margin: .9rem 0; }
.warning { border-left: 4px solid #D55E00; background: #fdf1e8; padding: .5rem .9rem; margin: .9rem 0; }
summary { cursor: pointer; color: #333; }
.verdict { font-weight: 600; white-space: nowrap; }
tr:has(+ tr.how) td { border-bottom: 0; } tr.how td { color: #555; font-size: 0.9em; padding-top: 0; }
.holds { color: #00684b; } .fails { color: #a63f00; } .void, .untestable { color: #555; }
"""


class Section(NamedTuple):
    """A heading and what stands under it: HTML blocks made by the functions of this module."""

    heading: str
    blocks: Sequence[str]


def text(content: str) -> str:
    """Paragraphs (split by empty lines) and lists (lines that start with "- "); `code` and **bold** are understood."""
    blocks = []
    for part in re.split(r"\n\s*\n", content.strip()):
        lines = part.split("\n")
        if all(line.startswith("- ") for line in lines):
            blocks.append("<ul>" + "".join(f"<li>{_inline(line[2:])}</li>" for line in lines) + "</ul>")
        else:
            blocks.append(f"<p>{_inline(part)}</p>")
    return "\n".join(blocks)


def _inline(content: str) -> str:
    content = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(content, quote=False))
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", content)


def note(content: str) -> str:
    """A paragraph set apart: what the reader must know to read on."""
    return f'<div class="note">{text(content)}</div>'


def warning(content: str) -> str:
    """A paragraph the reader must not miss."""
    return f'<div class="warning">{text(content)}</div>'


def table(
    header: Sequence[str], rows: Sequence[Sequence[Any]], *, caption: str = "", strong: Sequence[int] = ()
) -> str:
    """A table; a column whose cells all begin like numbers stands to the right. strong: which rows to set off."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    numeric = [
        bool(cells) and all(re.match(r"^([-+−<≤]?\s?\d|–?$)", row[i]) for row in cells) for i in range(len(header))
    ]
    kind = [' class="number"' if right else "" for right in numeric]
    head = "".join(f"<th{k}>{_inline(name)}</th>" for k, name in zip(kind, header, strict=True)) if any(header) else ""
    lines = []
    for number, row in enumerate(cells):
        mark = ' class="strong"' if number in strong else ""
        lines.append(
            f"<tr{mark}>" + "".join(f"<td{k}>{_cell(cell)}</td>" for k, cell in zip(kind, row, strict=True)) + "</tr>"
        )
    title = f"<caption>{_inline(caption)}</caption>" if caption else ""
    body = "\n".join(lines)
    return f'<div class="scroll"><table>{title}<thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def _cell(content: str) -> str:
    """A cell's text, the interval after a number set smaller."""
    return re.sub(r"(?<=\d )(\[[^\]]+\])$", r"<small>\1</small>", _inline(content))


def figure(content: Figure | bytes, caption: str) -> str:
    """A matplotlib Figure, or the bytes of a PNG file, with its caption."""
    data = png(content) if isinstance(content, Figure) else content
    width = f' style="width: {content.get_figwidth() / 7 * 54:.1f}rem"' if isinstance(content, Figure) else ""
    source = base64.b64encode(data).decode()
    alternative = html.escape(re.sub(r"[`*]", "", caption))
    image = f'<img src="data:image/png;base64,{source}" alt="{alternative}"{width}>'
    return f"<figure>{image}<figcaption>{_inline(caption)}</figcaption></figure>"


def details(title: str, content: str) -> str:
    """Preformatted text, folded away under its title."""
    return f"<details><summary>{_inline(title)}</summary><pre>{html.escape(content)}</pre></details>"


def claims_table(claims: Sequence[Mapping[str, Any]]) -> str:
    """The verdicts of a study, a row for each claim, and under it how it was tested."""
    lines = []
    for claim in claims:
        verdict = str(claim["verdict"])
        values = [_inline(_plain(claim.get(name))) for name in ("id", "claim", "paper", "ours", "n")]
        mark = f'<span class="verdict {html.escape(verdict.split()[0])}">{html.escape(verdict)}</span>'
        lines.append("<tr>" + "".join(f"<td>{value}</td>" for value in [*values, mark]) + "</tr>")
        lines.append(f'<tr class="how"><td></td><td colspan="5">{_inline(_plain(claim.get("how")))}</td></tr>')
    counts = {v: sum(c["verdict"] == v for c in claims) for v in ("holds", "fails", "void", "untestable")}
    caption = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    head = "".join(f"<th>{name}</th>" for name in ("id", "claim", "paper", "ours", "n", "verdict"))
    body = "\n".join(lines)
    start = f'<div class="scroll"><table><caption>Verdicts: {caption}</caption>'
    return f"{start}<thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>"


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{k}: {_plain(v)}" for k, v in value.items())
    if isinstance(value, float):
        return f"{value:.4g}"
    return "–" if value is None else str(value)


def page(title: str, sections: Sequence[Section], *, subtitle: str = "") -> str:
    """The whole page. A section without a heading stands as it is, and one without blocks is left out."""
    parts = [f"<h1>{_inline(title)}</h1>", f'<p class="subtitle">{_inline(subtitle)}</p>' if subtitle else ""]
    for heading, blocks in sections:
        if blocks:
            parts += [f"<h2>{_inline(heading)}</h2>" if heading else "", *blocks]
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
    )
    body = "\n".join(part for part in parts if part)
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}<style>{CSS}</style></head><body>\n{body}\n</body></html>\n'


def save(path: str | Path, content: str) -> Path:
    """Write a page in one move, so that a reader never finds half of it; returns its path."""
    path = Path(path)
    replace(path, content)
    return path
