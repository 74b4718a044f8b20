"""A comparison of runs in a store that only a cluster mounts says what it says beside the store, but for the labels."""

from __future__ import annotations

from pathlib import Path

from jobs.contract import RunId
from jobs.store import LocalStore, Store
from reader.pipes import Far
from scheduler.comparison.predictions import MetricChange
from scheduler.comparison.run_comparison import Comparison, compare_runs
from stores import minute
from year_store import build


def test_what_is_compared_comes_over_the_connection(far: Far, tmp_path: Path) -> None:
    nights = build(far.root, 6)
    remote = far.remote(tmp_path / "mirror")
    remote.files.update("e")

    def compare(store: Store) -> Comparison:
        ids = [RunId(minute(f"{nights.date(day)}T06:00"), 1, "e", "ensemble") for day in (1, 4)]
        return compare_runs(store, store.read(ids[0]), store.read(ids[1]))

    here, beside = compare(remote), compare(LocalStore(far.root))
    assert here.differences == beside.differences and here.code == beside.code and here.differences
    ensembles = here.ensemble, beside.ensemble
    assert ensembles[0] is not None and ensembles[1] is not None
    assert ensembles[0].verdict == ensembles[1].verdict and ensembles[0].accuracy == ensembles[1].accuracy
    changes, whole = ensembles[0].predictions, ensembles[1].predictions
    assert changes is not None and whole is not None
    assert [(flip.item, flip.before, flip.after) for flip in changes.flips] == [
        (flip.item, flip.before, flip.after) for flip in whole.flips
    ]
    # Prepared data stays where it is.
    assert (changes.labelled, changes.accuracy) == (0, MetricChange(None, None)) and whole.labelled == whole.items
    assert [member.predictions is not None for member in ensembles[0].members] == [True] * 4
