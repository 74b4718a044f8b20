"""The commands that make, repeat, follow and end runs: options and help alone."""

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from scheduler.options import (
    DEFAULT_FILE,
    AsJson,
    Context,
    ExperimentName,
    File,
    Kubeconfig,
    Namespace,
    Offline,
    StoreFolder,
)

OnCluster = Annotated[bool, typer.Option("--cluster", help="Make the runs on the cluster.")]
WaitOrDetach = Annotated[
    bool, typer.Option("--wait/--detach", help="With --cluster: follow the runs to their end, or only submit them.")
]


def run(
    file: File = DEFAULT_FILE,
    member: Annotated[list[str] | None, typer.Option(help="Train this member only (repeat for more).")] = None,
    ensemble: Annotated[bool | None, typer.Option(help="Run the ensemble after; the default unless --member is given.")] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="CPUs to use; all by default.")] = None,
    publish: Annotated[bool, typer.Option(help="Let scheduled ensembles use these models too.")] = False,
    skip_unavailable: Annotated[
        bool, typer.Option(help="Leave out members whose runtime cannot be had here, and say so.")
    ] = False,
    on_cluster: OnCluster = False,
    wait: WaitOrDetach = True,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    store: StoreFolder = None,
) -> None:
    """Run the experiment now, here or on the cluster. Example: cronsemble run --jobs 2"""
    from scheduler.commands import run_now

    cluster = _cluster(on_cluster, wait, file, store, kubeconfig, context, namespace)
    raise typer.Exit(run_now(file, member or [], ensemble, jobs, publish, skip_unavailable, store, cluster))


def rerun(
    what: Annotated[
        str, typer.Argument(help="A date (2026-11-20, in the experiment's zone), a slot (2026-11-20T06:00Z) or a run.")
    ],
    file: File = DEFAULT_FILE,
    task: Annotated[str | None, typer.Option(help="The runs of this task, instead of the ensemble's.")] = None,
    reuse_models: Annotated[bool, typer.Option("--reuse-models", help="Take the archived models; train nothing.")] = False,
    with_current_config: Annotated[
        bool, typer.Option("--with-current-config", help="Ask what today's configuration would have said.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run and what is missing.")] = False,
    verdict: Annotated[bool, typer.Option("--verdict", help="Make nothing: judge this repeat, which was left at work.")] = False,
    tolerance: Annotated[float, typer.Option(min=0.0, help="The largest difference that is still equal.")] = 1e-6,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="CPUs to use; all by default.")] = None,
    store: StoreFolder = None,
    experiment: ExperimentName = None,
    as_json: AsJson = False,
    on_cluster: OnCluster = False,
    wait: WaitOrDetach = True,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Repeat a dated run exactly, and say whether it comes out the same. Example: cronsemble rerun 2026-11-20"""
    from scheduler.again import rerun_runs
    from scheduler.whereabouts import Cluster, locate, opened

    cluster = _cluster(on_cluster or verdict, wait, file, store, kubeconfig, context, namespace)
    elsewhere = opened(file, store, experiment, Cluster(kubeconfig, context, namespace)) if cluster else None
    with elsewhere or nullcontext(locate(file, store, experiment)) as place:
        code = rerun_runs(
            what,
            place,
            task=task,
            reuse=reuse_models,
            current=with_current_config,
            dry_run=dry_run,
            tolerance=tolerance,
            jobs=jobs,
            as_json=as_json,
            judge=verdict,
            cluster=cluster,
        )
    raise typer.Exit(code)


def backfill(
    period: Annotated[
        str, typer.Argument(metavar="FROM..TO", help="Dates or times, both included, e.g. 2026-11-01..2026-11-20.")
    ],
    file: File = DEFAULT_FILE,
    task: Annotated[list[str] | None, typer.Option(help="Only this task (repeat for more).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the slots and why each is made up for.")] = False,
    parallel: Annotated[int, typer.Option(min=1, help="Runs at a time.")] = 1,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="CPUs to use; all by default.")] = None,
    as_json: AsJson = False,
    on_cluster: OnCluster = False,
    wait: WaitOrDetach = True,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    store: StoreFolder = None,
) -> None:
    """Make up for slots that never ran or failed. Example: cronsemble backfill 2026-11-01..2026-11-20 --dry-run"""
    from scheduler.again import backfill_slots

    code = backfill_slots(
        file,
        period,
        tasks=task or [],
        dry_run=dry_run,
        parallel=parallel,
        jobs=jobs,
        as_json=as_json,
        folder=store,
        cluster=_cluster(on_cluster, wait, file, store, kubeconfig, context, namespace),
    )
    raise typer.Exit(code)


def logs(
    run: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]", help="A run's id, or a part of it; the newest by default."),
    ] = None,
    follow: Annotated[int, typer.Option("--follow", "-f", count=True, help="Print what comes, until the run ends.")] = 0,
    file: Annotated[Path | None, typer.Option("--file", help="The configuration file; -f FILE.yaml too, as elsewhere.")] = None,
    on_cluster: Annotated[
        bool, typer.Option("--cluster", help="Follow the pods; the default where the store is a volume.")
    ] = False,
    offline: Offline = False,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    store: StoreFolder = None,
    experiment: ExperimentName = None,
) -> None:
    """Print what a run's processes said. Example: cronsemble logs digits-train-theano-29924640 --follow"""
    from scheduler.logs import print_logs
    from scheduler.whereabouts import Cluster, is_local, opened

    names, files, follows = _logs_arguments(run or [], follow)
    path = file or (files[0] if files else DEFAULT_FILE)
    with opened(path, store, experiment, Cluster(kubeconfig, context, namespace, offline)) as place:
        name = names[0] if names else None
        if follows and not offline and (on_cluster or (store is None and not is_local(path))):
            from scheduler.cluster.pod_logs import follow as follow_pods
            from scheduler.cluster.reconcile import Target

            code = follow_pods(place, name, Target(kubeconfig, context, namespace))
        else:
            code = print_logs(place, name, follows)
    raise typer.Exit(code)


def _logs_arguments(given: list[str], follow: int) -> tuple[list[str], list[Path], bool]:
    """Runs, files and whether to follow: `-f` follows as with every `logs`, and `-f FILE.yaml` names the file as elsewhere."""
    files = [Path(each) for each in given if follow and each.endswith((".yaml", ".yml"))]
    names = [each for each in given if not (follow and each.endswith((".yaml", ".yml")))]
    if len(names) > 1 or len(files) > 1:
        raise typer.BadParameter(f"one at a time: {' '.join(names[1:] or map(str, files[1:]))}", param_hint="RUN")
    return names, files, follow > len(files)


def cancel(
    target: Annotated[
        list[str], typer.Argument(metavar="RUN|TASK...", help="Runs at work, or tasks whose runs at work are meant.")
    ],
    file: File = DEFAULT_FILE,
    on_cluster: Annotated[
        bool, typer.Option("--cluster", help="On the cluster; the default where the store is a volume.")
    ] = False,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    store: StoreFolder = None,
    experiment: ExperimentName = None,
) -> None:
    """End runs at work; the history says by whom. Example: cronsemble cancel digits-train-theano-29924640"""
    from scheduler.whereabouts import Cluster, is_local, opened

    with opened(file, store, experiment, Cluster(kubeconfig, context, namespace)) as place:
        if on_cluster or (store is None and not is_local(file)):
            from scheduler.cluster.cancelling import cancel_there
            from scheduler.cluster.reconcile import Target

            code = cancel_there(place, target, Target(kubeconfig, context, namespace))
        else:
            from scheduler.cancel import cancel_here

            code = cancel_here(place, target)
    raise typer.Exit(code)


def _cluster(
    wanted: bool, wait: bool, file: Path, store: Path | None, kubeconfig: Path | None, context: str | None, namespace: str | None
) -> Any:
    """Which cluster runs are made on, if they are."""
    if not wanted:
        for name, given in (("--context", context), ("--namespace", namespace), ("--kubeconfig", kubeconfig)):
            if given is not None:
                raise typer.BadParameter("it goes with --cluster", param_hint=name)
        if not wait:
            raise typer.BadParameter("it goes with --cluster", param_hint="--detach")
        return None
    from scheduler.cluster.reconcile import Target
    from scheduler.working import OnCluster, typed

    target = Target(kubeconfig, context, namespace)
    return OnCluster(target, wait, typed(file, store, target))


def add_to(app: typer.Typer) -> None:
    """Make these commands the app's."""
    for command in (run, rerun, backfill, logs, cancel):
        app.command()(command)
