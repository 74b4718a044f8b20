"""Signals that end a command: Ctrl-C (SIGINT), SIGTERM, and SIGHUP, which comes when its terminal is closed."""

from __future__ import annotations

import errno
import os
import signal
import sys
import termios
import threading
import time
from collections.abc import Callable
from math import inf
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DOUBLED = 1.0
"""Seconds in which a second signal is taken for the first one's."""
WAKING = signal.SIGURG
"""The signal that wakes the main thread; it has no other use here."""
_WAKE_TIMES, _WAKE_INTERVAL = 5, 0.1
"""How often the main thread is woken after a signal, and the seconds before each time."""

Handler = Callable[[int, FrameType | None], object]


_received: set[int] = set()


def stop_on_signals() -> None:
    """Have SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does, so that what was begun is finished and given back.

    Within a second once: a shell and its terminal may both say that it was closed, and the second must not break off what the
    first one ends.
    """
    last = -inf

    def stop(number: int, _: FrameType | None) -> None:
        nonlocal last
        leave_closed_terminal()
        before, last = last, time.monotonic()
        if number == signal.SIGINT or last > before + DOUBLED:
            _received.add(number)
            raise KeyboardInterrupt

    for number in STOP_SIGNALS:
        install(number, stop)
    _wake_main_thread_after_signals()


def _wake_main_thread_after_signals() -> None:
    """From now on, have the handler of each signal run soon, whatever the main thread waits for.

    Only the main thread runs Python's handlers. A signal that comes between its last look for one and its wait, for a lock or
    a process, does not end that wait: the handler would run when the wait ends by itself, which may be never.
    """
    received, receiver = os.pipe()
    os.set_blocking(receiver, False)
    lost: list[bool] = []
    report = sys.unraisablehook

    def keep(unraisable: sys.UnraisableHookArgs) -> None:
        # It struck a destructor or a callback, which passes no exception on.
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            lost.append(True)
        else:
            report(unraisable)

    def raise_lost(*_: object) -> None:
        if lost:
            lost.clear()
            raise KeyboardInterrupt

    sys.unraisablehook = keep
    signal.signal(WAKING, raise_lost)
    signal.set_wakeup_fd(receiver, warn_on_full_buffer=False)
    main_thread = threading.main_thread()

    def wake() -> None:
        while numbers := os.read(received, 64):
            # One that wakes it may come too early in the same way.
            for _ in range(_WAKE_TIMES if set(numbers) - {WAKING} else 0):
                time.sleep(_WAKE_INTERVAL)
                if main_thread.ident is not None and main_thread.is_alive():
                    signal.pthread_kill(main_thread.ident, WAKING)

    threading.Thread(target=wake, daemon=True).start()


def raise_if_stopped() -> None:
    """Raise KeyboardInterrupt if a signal has come: its own exception is lost where it strikes a callback of an extension module.

    For loops that wait long. What they do then to give back must not come here again.
    """
    if _received:
        raise KeyboardInterrupt


def install(number: signal.Signals, handler: Handler) -> Handler | int | None:
    """Set the handler of a signal unless it is ignored, as SIGHUP is under nohup; what it was before, None if it was left."""
    if signal.getsignal(number) is signal.SIG_IGN:
        return None
    return signal.signal(number, handler)


def leave_closed_terminal() -> None:
    """Have what is still printed go nowhere where the terminal is gone: an error of it would break off the end of a command."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        try:
            number = stream.fileno()
            termios.tcgetattr(number)
        except termios.error as error:
            if error.args[0] == errno.EIO:
                null = os.open(os.devnull, os.O_RDWR)
                os.dup2(null, number)
                os.close(null)
        except (AttributeError, OSError, ValueError):
            continue
