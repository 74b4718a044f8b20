"""What is said where a file that the user's functions open is missing. Python 2.7 and 3."""

from __future__ import print_function

import contextlib
import errno
import functools
import os
import re
import sys
import traceback

from jobs.portable.inputs import WrongInput

try:
    _MISSING = FileNotFoundError
except NameError:  # Python 2.7
    _MISSING = IOError


def opening_files(function, code):
    """The function, with a hint at ``code:`` where it fails for want of a file that the folder ``code`` might have had."""

    @functools.wraps(function)
    def call(*arguments, **named):
        with explained(code):
            return function(*arguments, **named)

    return call


@contextlib.contextmanager
def explained(code):
    """Raise WrongInput, with a hint at ``code:``, for a missing file that the folder ``code`` might have had."""
    try:
        yield
    except _MISSING as error:
        if error.errno not in (None, errno.ENOENT) or _is_elsewhere(error, code):
            raise
        text = "%s%s: %s" % (_place(sys.exc_info()[2], code), type(error).__name__, str(error).split("\n")[0].rstrip("."))
        hint = "the snapshot of the code does not have it: list the file, or its folder, under `code:` in the configuration"
        raise WrongInput("%s: %s" % (text.replace(os.path.abspath(code) + os.sep, ""), hint))


def _is_elsewhere(error, code):
    """Whether the missing file's path is absolute and not in the folder of the code: no snapshot would have it."""
    names = [str(error.filename)] if error.filename is not None else re.findall(r"(?:^|[\s'\"=(])(/[^\s'\"]+)", str(error))
    folders = {os.path.abspath(code) + os.sep, os.path.realpath(code) + os.sep}
    return any(os.path.isabs(name) and not name.startswith(tuple(folders)) for name in names)


def _place(trace, code):
    """The file and line of the user's code that failed, for a message; empty if none of it did."""
    folders = {os.path.abspath(code) + os.sep, os.path.realpath(code) + os.sep}
    for frame in reversed(traceback.extract_tb(trace)):
        for folder in folders:
            if os.path.abspath(frame[0]).startswith(folder):
                return "%s:%d: " % (os.path.abspath(frame[0])[len(folder) :], frame[1])
    return ""
