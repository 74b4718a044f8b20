"""The page: one HTML file from a report's values and the templates, with a policy that allows nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from jobs.text import one_line, single_line
from scheduler.cache import cache_folder
from scheduler.report import status_looks
from scheduler.report.calendar import fine_dates
from scheduler.report.date_pairs import MOST_FLIPS
from scheduler.report.findings import problem_groups
from scheduler.report.line_chart import STYLES, place
from scheduler.report.report import Report
from scheduler.times import format_duration, format_local

TEMPLATES = Path(__file__).parent / "templates"
WIDE, NARROW = (960, 280), (360, 250)
"""Width and height of a chart in pixels, on wide and on narrow screens."""


def _bytecode_cache() -> Any | None:
    """Where compiled templates are kept, for compiling takes as long as the rest; None where the cache cannot be written."""
    import jinja2

    folder = cache_folder() / "templates"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return None
    return jinja2.FileSystemBytecodeCache(str(folder)) if os.access(folder, os.W_OK) else None


@lru_cache(maxsize=1)
def template_environment() -> Any:
    """The templates, with autoescape."""
    import jinja2

    environment = jinja2.Environment(
        bytecode_cache=_bytecode_cache(),
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        diff=lambda text: single_line(str(text).expandtabs(4))[:400],
        line=lambda text, limit=400: one_line(str(text), limit),
        number=lambda value, digits=4: "" if value is None else f"{value:.{digits}f}",
        signed=lambda value, digits=4: "" if value is None else f"{value:+.{digits}f}".replace("-", "−"),
        percent=lambda value, digits=0: "" if value is None else f"{100 * value:.{digits}f} %",
        duration=lambda seconds: "" if seconds is None else format_duration(seconds),
        local=lambda local, timezone: format_local(local, timezone),
    )
    return environment


def render_page(report: Report, live: str = "") -> str:
    """The page as HTML. ``live``: the state that it shows; it asks the server that it came from for another, and nobody else."""
    environment = template_environment()
    style = environment.get_template("style.css.j2").render(sprites=report.sprites, style_count=STYLES)
    script = (TEMPLATES / "script.js").read_text(encoding="utf-8")
    charts = [(chart, place(chart, *WIDE), place(chart, *NARROW)) for chart in report.charts]
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            "img-src data:",
            f"connect-src {chr(39)}self{chr(39)}" if live else "connect-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    page: str = environment.get_template("page.html.j2").render(
        report=report,
        charts=charts,
        most_flips=MOST_FLIPS,
        fine=fine_dates(report.groups, report.tasks),
        problem_groups=problem_groups(report.findings.problems),
        shown_statuses=_shown_statuses(report),
        looks=status_looks,
        policy=policy,
        style=style,
        script=script,
        live=live,
        data=_json({**report.stories, "charts": _chart_data(report), "live": live, "timezone": report.timezone}),
    )
    return page


def _shown_statuses(report: Report) -> set[str]:
    return {cell.status for month in report.months for cells in month.rows.values() for cell in cells if cell is not None}


def _hash(text: str) -> str:
    """What a Content-Security-Policy calls an inline script or style by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json(value: Mapping[str, Any]) -> str:
    """JSON that may stand in a script element: no markup in it."""
    text = msgspec.json.encode(value).decode()
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _chart_data(report: Report) -> dict[str, Any]:
    """The numbers of the charts, for the script's readout."""
    return {
        chart.key: {
            "unit": chart.unit,
            "minutes": chart.minutes,
            "names": [series.name for series in chart.series],
            "values": [[None if value is None else round(value, 4) for value in series.values] for series in chart.series],
        }
        for chart in report.charts
    }
