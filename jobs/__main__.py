"""The entry point of the job program: runs the step that its first argument names. Python 2.7 and 3."""

from __future__ import print_function

import sys

STEPS = ("combine", "ensemble-drop", "evaluate", "fork-server", "predict", "prepare", "serve-store", "supervise", "train")


def main(argv):  # type: ignore[no-untyped-def]
    """Run the step that the first argument names; returns its exit status (``jobs.contract.ExitCode``; 64 for wrong usage)."""
    if not argv or argv[0] not in STEPS:
        is_help = bool(argv) and argv[0] in ("-h", "--help")
        print(
            "usage: jobs STEP [OPTIONS]\n\nsteps: %s\n`jobs STEP --help` lists a step's options." % ", ".join(STEPS),
            file=sys.stdout if is_help else sys.stderr,
        )
        return 0 if is_help else 64
    if argv[0] in ("fork-server", "serve-store", "supervise"):
        return _load(argv[0])(argv[1:])  # type: ignore[no-untyped-call]
    from jobs.portable.end_report import run_reported

    # A module that cannot be imported is reported too.
    return run_reported(lambda arguments: _load(argv[0])(arguments), argv[1:])  # type: ignore[no-untyped-call]


def _load(step):  # type: ignore[no-untyped-def]
    # Only the step that runs is imported: no interpreter has what all of them need.
    if step == "supervise":
        from jobs.supervisor.supervise import main as supervise

        return supervise
    if step == "prepare":
        from jobs.keras3.prepare import main as prepare

        return prepare
    if step == "train":
        from jobs.portable.train import main as train

        return train
    if step == "predict":
        from jobs.portable.predict import main as predict

        return predict
    if step == "fork-server":
        from jobs.portable.fork_server import main as fork_server

        return fork_server
    if step == "evaluate":
        from jobs.portable.evaluate import main as evaluate

        return evaluate
    if step == "ensemble-drop":
        from jobs.keras3.ensemble_drop import main as ensemble_drop

        return ensemble_drop
    if step == "combine":
        from jobs.keras3.combine import main as combine

        return combine
    from jobs.remote.server import main as serve_store

    return serve_store


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))  # type: ignore[no-untyped-call]
