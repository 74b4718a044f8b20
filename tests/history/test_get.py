"""`get`: the archive's files come out of a store under their dated names, and nothing is written over."""

from __future__ import annotations

import subprocess
from pathlib import Path

from commands import run_command
from stores import Builder


def get(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run_command("get", *words, "--store", "store", "--experiment", "e", folder=folder)


def test_copies_of_a_date_or_the_newest_and_never_over_a_file(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "store")
    for slot in ("2026-11-19T06:00", "2026-11-20T06:00"):
        builder.run("ensemble", slot, files={"predictions.csv": f"item\n{slot}\n".encode(), "members/jax.csv": b"item\n1\n"})

    assert get(tmp_path).stdout == "2026-11-20T0600Z.csv\n"
    assert (tmp_path / "2026-11-20T0600Z.csv").read_text() == "item\n2026-11-20T06:00\n"
    assert get(tmp_path, "2026-11-20").stdout == "2026-11-20T0600Z.csv (already there)\n"
    assert get(tmp_path, "2026-11-19", "--to", "m", "--members").stdout.split() == [
        "m/2026-11-19T0600Z.csv",
        "m/2026-11-19T0600Z.members/jax.csv",
    ]
    (tmp_path / "2026-11-20T0600Z.csv").write_text("mine\n")
    again = get(tmp_path)
    assert again.returncode == 1
    assert again.stderr == "2026-11-20T0600Z.csv: another file is there: move it, or name another folder with --to\n"
    assert (tmp_path / "2026-11-20T0600Z.csv").read_text() == "mine\n"
    assert "no run of e ensemble then" in get(tmp_path, "2026-11-18").stderr


def test_what_was_edited_is_not_copied_and_named(tmp_path: Path) -> None:
    """Of result and archive the one that the run wrote is copied; an edit in place changes both, for they are one file."""
    builder = Builder(tmp_path / "store")
    files = {"predictions.csv": b"item\nwhole\n", "members/jax.csv": b"item\n1\n"}
    run = builder.run("ensemble", "2026-11-20T06:00", files=files, lists_files=True)
    archived = builder.store.publish_archive(run)
    assert archived is not None
    result = builder.store.run_folder(run) / "result/predictions.csv"
    for edited, whole in ((archived, result), (result, archived)):
        edited.unlink()
        edited.write_text("item\nedited\n")
        got = get(tmp_path, "--to", edited.name)
        assert got.returncode == 0 and (tmp_path / edited.name / archived.name).read_bytes() == files["predictions.csv"]
        assert got.stderr == (f"warning: {edited}: it is not what {run} predicted: its sha256 differs: see `cronsemble fsck`\n")
        edited.unlink()
        edited.hardlink_to(whole)
    result.chmod(0o644)
    result.write_text("item\nedited\n")
    got = get(tmp_path, "--to", "neither")
    assert got.returncode == 1 and not (tmp_path / "neither").exists()
    assert str(result) in got.stderr and str(archived) in got.stderr and len(got.stderr.splitlines()) == 1
    got = get(tmp_path, "--to", "members", "--members")
    assert got.returncode == 1


def test_of_an_earlier_versions_run_the_result_counts(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "store")
    run = builder.run("ensemble", "2026-11-20T06:00", files={"predictions.csv": b"item\nwhole\n"})
    archived = builder.store.publish_archive(run)
    assert archived is not None
    archived.unlink()
    archived.write_text("item\nedited\n")
    got = get(tmp_path)
    assert (tmp_path / archived.name).read_text() == "item\nwhole\n"
    assert "it is not what the result of e-ensemble-" in got.stderr


def test_what_is_refused_is_had_by_its_name(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "store")
    gate = {"refused": "accuracy 0.6000 is less than min_accuracy 0.9"}
    run = builder.run(
        "ensemble", "2026-11-20T06:00", files={"predictions.csv": b"item,prediction\n"}, lists_files=True, gate=gate
    )
    latest = get(tmp_path)
    why = f"{run} is refused: {gate['refused']}"
    message = f"latest: no ensemble run of e is accepted: {why}: to have it, name it, or accept it\n"
    assert (latest.returncode, latest.stdout, latest.stderr) == (1, "", message)
    named = get(tmp_path, str(run))
    assert named.returncode == 0 and f"note: {why}" in named.stderr
    assert (tmp_path / "2026-11-20T0600Z.csv").read_bytes() == b"item,prediction\n"
