"""Notices: what code below the commands tells the user and is no error. A command prints it, the Python interface warns of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from jobs.text import single_line

Receiver = Callable[[str], None]


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


_receiver: ContextVar[Receiver] = ContextVar("receiver", default=_print)


def notify(text: str) -> None:
    """Tell the user something, in a line: on stderr, unless a caller receives the notices."""
    _receiver.get()(single_line(text))


@contextmanager
def received_by(receiver: Receiver) -> Iterator[None]:
    """Within it, each notice of this thread is given to ``receiver`` and not printed."""
    token = _receiver.set(receiver)
    try:
        yield
    finally:
        _receiver.reset(token)
