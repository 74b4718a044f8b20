"""One chart as a picture of its own, for a mail or a chat: SVG with its colours in it, or PNG on white."""

from __future__ import annotations

from scheduler.errors import CronsembleError
from scheduler.report.line_chart import LineChart, place
from scheduler.report.page import template_environment

CHARTS = ("accuracy", "loss", "ages", "durations")
"""The charts by name."""
_SIZE = (960, 320)
_PNG_SCALE = 2.0


def render_svg(chart: LineChart | None, name: str, experiment: str, local_now: str) -> str:
    """The chart as SVG, as of ``local_now``. Raises CronsembleError where it has no values."""
    placed = place(chart, *_SIZE) if chart is not None else None
    if placed is None:
        raise CronsembleError(f"--chart {name}: there is nothing to draw: no run has succeeded in this time")
    svg: str = (
        template_environment()
        .get_template("single_chart.svg.j2")
        .render(placed=placed, experiment=experiment, local_now=local_now)
    )
    return svg


def render_png(svg: str) -> bytes:
    """An SVG as PNG, twice as large. Raises CronsembleError where the package for it is not installed."""
    try:
        import vl_convert
    except ImportError as error:
        raise CronsembleError(
            "--format png needs a package that is not installed: pip install 'cronsemble[png]', or take --format svg"
        ) from error
    png: bytes = vl_convert.svg_to_png(svg, scale=_PNG_SCALE)
    return png
