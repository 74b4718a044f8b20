"""The entry point of the job program: runs the step that its first argument names. Python 2.7 and 3."""

from __future__ import print_function

import sys

STEPS = {
    "supervise": "jobs.supervisor.supervise",
    "prepare": "jobs.keras3.prepare",
    "train": "jobs.portable.train",
    "predict": "jobs.portable.predict",
    "combine": "jobs.keras3.combine",
    "serve-store": "jobs.remote.server",
}


def main(argv):  # type: ignore[no-untyped-def]
    """Run the step that the first argument names; returns its exit status (``jobs.contract.ExitCode``; 64 for wrong usage)."""
    if not argv or argv[0] not in STEPS:
        is_help = bool(argv) and argv[0] in ("-h", "--help")
        print(
            "usage: jobs STEP [OPTIONS]\n\nsteps: %s\n`jobs STEP --help` lists a step's options." % ", ".join(sorted(STEPS)),
            file=sys.stdout if is_help else sys.stderr,
        )
        return 0 if is_help else 64
    module = __import__(STEPS[argv[0]], fromlist=["main"])
    return module.main(argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))  # type: ignore[no-untyped-call]
