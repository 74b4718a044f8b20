"""Reports to the supervisor how a program's work ended: done, by an exception, by ``sys.exit``, by a crash. Python 2.7 and 3.

The report is lines of JSON in a pipe of its own: what a program prints last need not be why it ended. What the fault handler
writes there of a crash in compiled code is plain text.
"""

from __future__ import print_function

import json
import os
import re
import sys

DESCRIPTOR = "CRONSEMBLE_REPORT"
"""The variable with the pipe's file descriptor: ``jobs.contract.ENV_REPORT``."""
REPORT_LOST = 86
"""The exit status when the work is done and the user's code has closed the report: ``jobs.contract.ExitCode.REPORT_LOST``."""
MAX_TEXT = 2000
"""Characters of a message that are reported."""
MAX_PARTS = 5
"""Exceptions of a group that are reported."""
_IN_MESSAGE = re.compile(r'File "([^"]+)", line (\d+), in (\S+)')
"""A frame that TensorFlow has put into the message: of a function that it has rewritten, the frames themselves are elsewhere."""

_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep
"""The folder of this program's own modules."""

_report = {"file": None}


def run_reported(program, argv):
    """Run ``program(argv)``, which returns its exit status, and report how its work ended; whatever it raises is raised on."""
    _open()
    send({"event": "started"})
    try:
        status = program(argv)
    except SystemExit as error:
        send(dict(_exit(error), event="exit", place=_place([error], _code_folder(argv)), kinds=_kinds([error])))
        raise
    except BaseException as error:
        send(dict(describe(error, _code_folder(argv)), event="exception"))
        raise
    has_report = _report["file"] is not None
    return REPORT_LOST if status == 0 and not send({"event": "done"}) and has_report else status


def send(event):
    """Write an event, a dictionary, to the report; whether there is one that it could be written to."""
    if _report["file"] is None:
        return False
    try:
        os.write(_report["file"], (json.dumps(event) + "\n").encode("ascii"))
    except (OSError, ValueError):  # closed by the user's code
        _report["file"] = None
        return False
    return True


def describe(error, code):
    """An exception's type, message and place; of a chain that which the user's code in the folder ``code`` has raised.

    ``kinds``: its class and those above it, by their names; ``outer_kinds``: those of the whole chain.
    """
    chain = _chain(error)
    error = _of_user(error, code)
    parts = _parts(error)
    kinds, outer_kinds = _kinds(parts), _kinds([part for link in chain for part in _parts(link)])
    text = _essence(_text_of(error), error)
    if parts[0] is not error:
        texts = [": ".join(filter(None, (_type_name(part), _essence(_text_of(part), part)))) for part in parts[:MAX_PARTS]]
        text = "%s: %s" % (text, "; ".join(texts))
    place = _place(parts + [error], code)
    if isinstance(error, SyntaxError) and error.filename:
        text, place = error.msg or "", _position(error.filename, error.lineno, "", code)
    elif not text and place:
        source = place.get("source", "")
        text = "" if source.startswith("raise") else source
    described = {"type": _type_name(error), "message": text[:MAX_TEXT], "place": place}
    return dict(described, kinds=kinds, outer_kinds=outer_kinds)


def _kinds(errors):
    return sorted(set(kind.__name__ for error in errors for kind in type(error).__mro__))


def _open():
    """Take the pipe over, so that no process that is started here has it, and have crashes reported there too."""
    descriptor = os.environ.pop(DESCRIPTOR, "")
    if not descriptor.isdigit():
        return
    import fcntl

    number = int(descriptor)
    try:
        fcntl.fcntl(number, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    except (OSError, IOError):  # whoever started the interpreter has closed it
        return
    _report["file"] = number
    try:
        import faulthandler
    except ImportError:  # Python 2.7
        return
    faulthandler.enable(file=number)


def _code_folder(argv):
    """The folder of the user's code, from a program's arguments; empty without one."""
    code = argv[argv.index("--code") + 1] if "--code" in argv[:-1] else ""
    return os.path.realpath(code) if code else ""


def _exit(error):
    """What ``sys.exit`` was called with: a status, or a text, which Python prints and ends with 1."""
    if error.code is None or isinstance(error.code, int):
        return {"status": int(error.code or 0)}
    return {"status": 1, "message": _text_of(error.code)[:MAX_TEXT]}


def _of_user(error, code):
    """Of an exception and those that led to it, the last that the user's code raised, else that passed through it."""
    chain = _chain(error)
    frames = [_frames(link) for link in chain]
    for link, passed in zip(chain, frames):
        if passed and _inside(passed[-1][0], code):
            return link
    for link, passed in zip(chain, frames):
        if any(_inside(frame[0], code) for frame in passed):
            return link
    return error


def _chain(error):
    """An exception, that which it was raised from or while which was handled, and so on; Python 2 knows no other than itself.

    What Keras hides by ``from None`` is among them.
    """
    chain = []
    while error is not None and not any(error is link for link in chain):
        chain.append(error)
        error = getattr(error, "__cause__", None) or getattr(error, "__context__", None)
    return chain


def _parts(error):
    """The exceptions of a group, and of groups in it; of any other exception itself."""
    inner = getattr(error, "exceptions", None)
    if not isinstance(inner, tuple) or not all(isinstance(part, BaseException) for part in inner) or not inner:
        return [error]
    return [leaf for part in inner for leaf in _parts(part)]


def _place(errors, code):
    """Where the first of these exceptions that can say so was raised: the last line of the user's, else of the library's."""
    for error in errors:
        frames = [frame for frame in _frames(error) if _inside(frame[0], code)]
        frames += [frame for frame in _named_frames(error) if _inside(frame[0], code)]
        if frames:
            return _position(*frames[-1], code=code)
    for error in errors:
        frames = [frame for frame in _frames(error) if not frame[0].startswith("<")]
        # An error of the system says what it is about, and where in this program it came up helps nobody.
        if frames and not frames[-1][0].startswith(_OURS) and not getattr(error, "errno", None):
            return _position(*frames[-1], code=code)
    return None


def _frames(error):
    """The frames that an exception has passed through, the outermost first: file, line, function."""
    trace = getattr(error, "__traceback__", None)
    if trace is None and sys.exc_info()[1] is error:
        trace = sys.exc_info()[2]
    frames = []
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append((code.co_filename, trace.tb_lineno, code.co_name))
        trace = trace.tb_next
    return frames


def _named_frames(error):
    """Those that are only in its message."""
    return [(path, int(line), name) for path, line, name in _IN_MESSAGE.findall(_text_of(error))]


def _inside(path, code):
    # "<frozen os>" is no file of the working directory, which is the user's.
    return bool(code) and not path.startswith("<") and os.path.realpath(path).startswith(code + os.sep)


def _position(path, line, function, code):
    """A place for people: the path within the user's code or the library, the line, the function, and the line's text."""
    import linecache

    position = {"line": line, "source": linecache.getline(path, line or 0).strip()[:MAX_TEXT]}
    if _inside(path, code):
        path = os.path.relpath(os.path.realpath(path), code)
    else:
        # In a package, in the job program, or in the standard library.
        path = re.sub(r"^.*/(?:site-packages|dist-packages|[^/]+\.pyz|lib(?:64)?/python\d[.\d]*)/", "", path)
    position["file"] = path
    if function and function != "<module>":
        position["function"] = function
    return position


def _type_name(error):
    return type(error).__name__


def _essence(text, error):
    """A message without the frames and arguments that frameworks put into it, which the log has."""
    text = text.split("\nArguments received by ")[0]  # Keras
    if text.startswith("in user code:"):  # TensorFlow
        text = text.rstrip().rsplit("\n\n", 1)[-1].strip()
    elif _IN_MESSAGE.search(text):  # of a worker process, or of the graph's making
        lines = [line for line in text.splitlines() if line.strip()]
        frames = [number for number, line in enumerate(lines) if _IN_MESSAGE.search(line)]
        after = [line for line in lines[frames[-1] + 1 :] if not line.startswith(" ")] or lines[-1:]
        text = "\n".join(([] if "Traceback" in lines[0] else lines[:1]) + after)
    name = _type_name(error) + ": "
    return text[len(name) :] if text.startswith(name) else text


def _text_of(value):
    """A value as text (unicode on Python 2); its own way to become text may fail."""
    try:
        if sys.version_info[0] > 2:
            return str(value)
        try:
            return unicode(value)  # noqa: F821 (Python 2)
        except UnicodeError:
            return str(value).decode("utf-8", "replace")
    except Exception:
        return "(its text cannot be had: its __str__ fails)"
