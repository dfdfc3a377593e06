"""The few HTML elements that the report is built of. Everything that comes from outside is escaped here."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

import cv2

from facette_runtime import __version__
from facette_runtime.types import Image

_CSS = Path(__file__).with_name("report.css")


def page(title: str, parts: Sequence[str]) -> str:
    """A whole page with its style sheet inside."""
    name = html.escape(title)
    head = f'<meta charset="utf-8">\n<title>{name}</title>\n<meta name="viewport" content="width=device-width, initial-scale=1">'
    style = _CSS.read_text(encoding="utf-8")
    foot = f"Written by facette {__version__}. Percentiles are of single frames after warm-up, linearly interpolated."
    body = "\n".join([*parts, f"<footer>{foot}</footer>"])
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n<style>\n{style}</style>\n</head>\n'
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def heading(title: str, below: str) -> str:
    """The page's title and a line below it."""
    return f"<header><h1>{html.escape(title)}</h1><p>{html.escape(below)}</p></header>"


def section(title: str) -> str:
    """A section's title."""
    return f"<h2>{html.escape(title)}</h2>"


def note(text: str) -> str:
    """A remark in small grey letters."""
    return f'<p class="note">{html.escape(text)}</p>'


def tiles(figures: Sequence[tuple[str, str, str]]) -> str:
    """Large numbers: value, unit, and what it is."""
    cells = [
        f'<div class="tile"><b>{html.escape(value)} <small>{html.escape(unit)}</small></b><span>{html.escape(what)}</span></div>'
        for value, unit, what in figures
    ]
    return f'<div class="tiles">{"".join(cells)}</div>'


def grid(cards: Sequence[str], small: bool = False) -> str:
    """Cards side by side where the window is wide enough; empty for no cards."""
    return f'<div class="grid{" small" if small else ""}">{"".join(cards)}</div>' if cards else ""


def card(content: str, title: str = "") -> str:
    """A white box; ``content`` is HTML already."""
    return f'<div class="card">{f"<h3>{html.escape(title)}</h3>" if title else ""}{content}</div>'


def picture_card(image_bgr: Image, caption: str) -> str:
    """A picture inside the page: uint8 [h, w, 3], BGR."""
    encoded, data = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert encoded
    text = html.escape(caption)
    source = "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
    return f'<figure class="card"><img src="{source}" alt="{text}"><figcaption>{text}</figcaption></figure>'


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], marked: Sequence[bool] = ()) -> str:
    """A table; columns of numbers are aligned right, ``marked`` rows stand out."""
    columns = [[row[place] for row in rows if row[place]] for place in range(len(headers))]
    kinds = [' class="n"' if column and all(map(_is_number, column)) else "" for column in columns]
    head = "".join(f"<th{kind}>{html.escape(text)}</th>" for text, kind in zip(headers, kinds, strict=True))
    body = []
    for place, row in enumerate(rows):
        cells = "".join(f"<td{kind}>{html.escape(text)}</td>" for text, kind in zip(row, kinds, strict=True))
        mark = ' class="marked"' if marked and marked[place] else ""
        body.append(f"<tr{mark}>{cells}</tr>")
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text == "–"
    return True
