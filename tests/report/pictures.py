"""The pictures of README and docs, by `make pictures`: the report of a made-up store, in a real Chromium."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from browser import Watched, chromium  # noqa: E402
from scheduler.report.page import render_page  # noqa: E402
from scheduler.report.report import read_report  # noqa: E402
from scheduler.stores.history_reader import HistoryReader  # noqa: E402
from stores import at  # noqa: E402
from year_store import Names, build  # noqa: E402

DAYS = 120
NAMES = Names("tensorflow", "theano", "theano-vgg", "cntk", "jax", ("bar", "cross", "ring", "dot"))
FOLDER = ROOT / "docs" / "pictures"
PICTURES = (
    # name, width, height, colours, what is scrolled to, what is clicked
    ("report", 1100, 900, "light", "now", ""),
    ("report-trend", 1100, 560, "light", "trend", ""),
    ("report-story", 1100, 620, "light", "calendar", ".cal button.bad"),
    ("report-predictions", 1100, 760, "dark", "predictions", ""),
    ("report-phone", 390, 760, "light", "now", ""),
)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, chromium() as context:
        nights = build(Path(name) / "store", DAYS, "signs", NAMES)
        now = at(f"{nights.date(DAYS - 1)}T08:00").timestamp()
        page = Path(name) / "report.html"
        reader = HistoryReader(nights.builder.store, "signs", "UTC", now)
        page.write_text(render_page(read_report(reader)), encoding="utf-8")
        for picture, width, height, scheme, section, clicked in PICTURES:
            watched = Watched(context, width, scheme)
            watched.page.set_viewport_size({"width": width, "height": height})
            watched.page.goto(page.as_uri())
            if section != "now":
                watched.page.evaluate(f"document.getElementById('{section}').scrollIntoView()")
            if clicked:
                watched.page.locator(clicked).first.click()
            path = FOLDER / f"{picture}.png"
            watched.page.screenshot(path=path)
            watched.page.close()
            print(f"{path.relative_to(ROOT)} ({path.stat().st_size} bytes)")


if __name__ == "__main__":
    main()
