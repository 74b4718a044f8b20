"""HTML for notebooks: what comes from users, files and clusters is escaped, and loses its control characters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from jobs.text import single_line


def text(value: object) -> str:
    """A value as escaped text on one line."""
    return escape(single_line(str(value)))


def table(header: Sequence[str], rows: Sequence[Sequence[str]], note: str) -> str:
    """A table with a caption below it."""
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in header)
    body = "".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{text(note)}</p>"


def fields(title: str, values: Mapping[str, object]) -> str:
    """A table with a line for each value that is not empty."""
    rows = "".join(
        f'<tr><th scope="row" style="text-align:left">{text(name)}</th><td style="text-align:left">{text(value)}</td></tr>'
        for name, value in values.items()
        if value not in (None, "", {}, [])
    )
    return f"<table><caption>{text(title)}</caption><tbody>{rows}</tbody></table>"
