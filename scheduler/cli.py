"""The entry point: the list of commands, each loaded when it is used, and errors as one line on stderr."""

# Annotations are values here, not postponed: typer would evaluate their text at every start.
import gc
import os
import re
import sys
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

# Before the imports: what they make stays, and to look among it for garbage, as Python does at every 700 objects, takes a
# fourteenth of a short command. What the command itself makes is looked at as ever (load_command).
_THRESHOLDS = gc.get_threshold()
gc.set_threshold(100_000)

import typer  # noqa: E402
from typer.core import TyperGroup  # noqa: E402

from jobs.text import single_line  # noqa: E402
from scheduler import VERSION  # noqa: E402
from scheduler.console.streams import printable_streams  # noqa: E402
from scheduler.exit_status import ExitStatus  # noqa: E402
from scheduler.signals import stop_on_signals  # noqa: E402

COMMANDS = {
    "check": "Check configurations: every error in one pass.",
    "render": "Print the cluster's objects as YAML.",
    "init": "Write a commented starter configuration, and beside it its schema for editors.",
    "schema": "Print the configuration's JSON Schema.",
    "next": "Print the next fire times.",
    "serve": "Run the schedules on this machine, as Kubernetes would.",
    "run": "Run the experiment now, on this machine or on the cluster.",
    "rerun": "Repeat a dated run exactly, and compare the results.",
    "backfill": "Run the slots that never ran or failed.",
    "logs": "Print the log of a run, or follow it.",
    "cancel": "End running runs.",
    "accept": "Accept a run that was refused.",
    "refuse": "Refuse a published run: no ensemble takes it.",
    "history": "Print what became of every slot, newest first, and why.",
    "report": "Write a page that shows how the experiment is doing, and why.",
    "metrics": "Print the state of each task as metrics for Prometheus.",
    "watch": "Look after the experiment once: notices, metrics and report, from its store.",
    "notify": "Tell what is new to the channels of `notify:`, each once.",
    "show": "Show one run: record, epochs, members, files.",
    "compare": "Compare two runs: metrics, what was pinned and differs, flipped labels.",
    "get": "Copy archived predictions out of the store.",
    "export": "Export runs to MLflow or TensorBoard, each once.",
    "put": "Copy data into the store's data folder.",
    "gc": "Remove old models and leftovers; archive and records stay.",
    "fsck": "Find and explain damage in the store.",
    "plan": "Show what `sync` would change on the cluster.",
    "sync": "Make the cluster what the configuration says.",
    "status": "Show the state of each task on the cluster.",
    "suspend": "Suspend tasks on the cluster.",
    "resume": "Resume suspended tasks on the cluster.",
    "delete": "Remove an experiment from the cluster, but never its store.",
    "images": "Build the container images of the runtimes and of the tool, by podman or docker.",
}
"""By the command's name its line in the list of commands."""


class Candidate(NamedTuple):
    """What a shell offers at Tab."""

    value: str
    help: str
    type: str = "plain"


class LazyGroup(TyperGroup):
    """Imports only the command that was typed: all of them would take longer than most commands themselves."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Every command's name, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command, imported now; None for a name that there is not."""
        # For a name that there is not, the group looks among all of them for one that is like it.
        for name in [cmd_name] if cmd_name in COMMANDS else COMMANDS:
            if name not in self.commands:
                self.commands[name] = load_command(name)
        return self.commands.get(cmd_name)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """The commands that begin so, with their lines, without importing any; for what begins with a dash the options."""
        if incomplete.startswith("-"):
            return list(super().shell_complete(ctx, incomplete))
        return [Candidate(name, line) for name, line in COMMANDS.items() if name.startswith(incomplete)]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def load_command(name: str) -> Any:
    """The command of this name, from its module; raises KeyError."""
    command: Callable[..., None]
    match name:
        case "check":
            from scheduler.commands.check import check as command
        case "render":
            from scheduler.commands.render import render as command
        case "init":
            from scheduler.commands.init import init as command
        case "schema":
            from scheduler.commands.init import schema as command
        case "next":
            from scheduler.commands.next import next_ as command
        case "serve":
            from scheduler.commands.serve import serve as command
        case "run":
            from scheduler.commands.run import run as command
        case "rerun":
            from scheduler.commands.rerun import rerun as command
        case "backfill":
            from scheduler.commands.backfill import backfill as command
        case "logs":
            from scheduler.commands.logs import logs as command
        case "cancel":
            from scheduler.commands.cancel import cancel as command
        case "accept":
            from scheduler.commands.accept import accept as command
        case "refuse":
            from scheduler.commands.accept import refuse as command
        case "history":
            from scheduler.commands.history import history as command
        case "report":
            from scheduler.commands.report import report as command
        case "metrics":
            from scheduler.commands.metrics import metrics as command
        case "watch":
            from scheduler.commands.watch import watch as command
        case "notify":
            from scheduler.commands.notify import notify as command
        case "show":
            from scheduler.commands.show import show as command
        case "compare":
            from scheduler.commands.compare import compare as command
        case "get":
            from scheduler.commands.get import get as command
        case "export":
            from scheduler.commands.export import export as command
        case "put":
            from scheduler.commands.put import put as command
        case "gc":
            from scheduler.commands.gc import gc as command
        case "fsck":
            from scheduler.commands.fsck import fsck as command
        case "plan":
            from scheduler.commands.plan import plan as command
        case "sync":
            from scheduler.commands.sync import sync as command
        case "status":
            from scheduler.commands.status import status as command
        case "suspend":
            from scheduler.commands.suspend import suspend as command
        case "resume":
            from scheduler.commands.suspend import resume as command
        case "delete":
            from scheduler.commands.delete import delete as command
        case "images":
            from scheduler.commands.images import images as command
        case _:
            raise KeyError(name)
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    single.command(name)(command)
    return typer.main.get_command(single)


app = typer.Typer(
    name="cronsemble",
    cls=LazyGroup,
    help="Retrain every Keras backend on schedule, combine their predictions, keep them by date.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print(f"cronsemble {VERSION}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, and do nothing else.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Retrain every Keras backend on schedule, combine their predictions, keep them by date."""
    if debug:
        os.environ["CRONSEMBLE_DEBUG"] = "1"


def main() -> None:
    """The entry point: errors are one line on stderr; exits with an ExitStatus."""
    with printable_streams():
        _main()


def _main() -> None:
    stop_on_signals()
    try:
        code = app(join_times(sys.argv[1:]), prog_name="cronsemble", standalone_mode=False)
    except typer.TyperException as error:
        # Only the subclasses that are not exported know how to show themselves.
        if hasattr(error, "show"):
            error.show()
        else:
            print(error, file=sys.stderr)
        sys.exit(ExitStatus.USAGE)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(ExitStatus.INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitStatus.DONE)
    except Exception as error:
        if os.environ.get("CRONSEMBLE_DEBUG"):
            raise
        print(_one_line(error), file=sys.stderr)
        sys.exit(ExitStatus.ERROR)
    sys.exit(code if isinstance(code, int) else ExitStatus.DONE)


def join_times(arguments: list[str]) -> list[str]:
    """The arguments, with the parts of a time as one: `history` and `next` print them so, and nobody quotes what they paste."""
    joined: list[str] = []
    for argument in arguments:
        if joined and any(re.search(before, joined[-1]) and re.match(part, argument) for before, part in _PARTS_OF_A_TIME):
            joined[-1] += f" {argument}"
        else:
            joined.append(argument)
    return joined


_PARTS_OF_A_TIME = (
    (r"^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)$", r"\d{4}-\d\d-\d\d"),
    (r"\d{4}-\d\d-\d\d$", r"\d\d:\d\d"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?$", r"[+-]\d\d:\d\d"),
)
"""What stands before a blank inside a printed time, and what after it: Fri 2026-11-20 06:00 +01:00."""


def _one_line(error: Exception) -> str:
    from scheduler.config import ConfigErrors
    from scheduler.errors import CronsembleError

    if isinstance(error, ConfigErrors | CronsembleError):
        return str(error)
    if isinstance(error, OSError):
        return single_line(f"cronsemble: {error.filename or ''}: {error.strerror or error}")
    return single_line(f"cronsemble: {type(error).__name__}: {error} (a bug in cronsemble: --debug shows the traceback)")
