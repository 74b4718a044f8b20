"""Files are put whole or not at all, once, and where one was broken off it goes on."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from commands import run_command
from jobs.store.uploads import Uploads
from reader.pipes import Far
from scheduler.errors import CronsembleError
from scheduler.stores.remote.upload import RemoteUpload
from scheduler.stores.upload import PIECE, Upload, choose_uploads, upload_file


@pytest.fixture
def item(tmp_path: Path) -> Upload:
    path = tmp_path / "x.npz"
    path.write_bytes(os.urandom(5 * PIECE + 7))
    return Upload(path, "inputs/x.npz")


def sending(far: Far, tmp_path: Path) -> RemoteUpload:
    return RemoteUpload(far.files(tmp_path / "mirror"))


def test_a_file_is_there_whole_and_once(far: Far, tmp_path: Path, item: Upload, capsys: pytest.CaptureFixture[str]) -> None:
    target = sending(far, tmp_path)
    upload_file(target, item, False)
    copy = far.root / "data/inputs/x.npz"
    assert copy.read_bytes() == item.path.read_bytes()
    assert [path.name for path in copy.parent.iterdir()] == ["x.npz"]
    upload_file(target, item, False)
    assert "already there" in capsys.readouterr().out
    before, other = copy.read_bytes(), Upload(item.path, item.name)
    item.path.write_bytes(b"other")
    with pytest.raises(CronsembleError, match="another file is there: --replace"):
        upload_file(target, other, False)
    assert copy.read_bytes() == before
    upload_file(target, other, True)
    assert copy.read_bytes() == b"other"


def test_an_empty_file(far: Far, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    upload_file(sending(far, tmp_path), Upload(tmp_path / "empty", "empty"), False)
    assert (far.root / "data/empty").read_bytes() == b""


@pytest.mark.parametrize("damaged", [False, True])
def test_what_has_arrived_is_not_sent_again(
    far: Far, tmp_path: Path, item: Upload, capsys: pytest.CaptureFixture[str], damaged: bool
) -> None:
    data = item.path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    Uploads(far.root).write_piece(item.name, digest, 0, data[: 3 * PIECE])
    if damaged:
        (part,) = (far.root / "data/inputs").iterdir()
        part.write_bytes(b"x" + data[1 : 3 * PIECE])
    upload_file(sending(far, tmp_path), item, False)
    assert ("resuming at 3.1 MB of 5.2 MB" in capsys.readouterr().err) is not damaged
    assert (far.root / "data/inputs/x.npz").read_bytes() == data


def test_a_connection_that_breaks_is_made_anew(far: Far, tmp_path: Path, item: Upload) -> None:
    target = sending(far, tmp_path)
    digest = hashlib.sha256(item.path.read_bytes()).hexdigest()
    reads: list[int] = []

    def read(at: int) -> object:
        reads.append(at)
        with open(item.path, "rb") as file:
            file.seek(at)
            while piece := file.read(PIECE):
                yield piece
                if len(reads) == 1 and file.tell() == 5 * PIECE:
                    far.pipes[0].process.kill()
                    far.pipes[0].process.wait()

    target.write_pieces(item.name, digest, 0, read, lambda done: None)  # type: ignore[arg-type]
    assert target.finish(item.name, digest, item.path.stat().st_size, False) == {"state": "done"}
    assert reads[0] == 0 and 0 < reads[1] < 5 * PIECE
    assert (far.root / "data/inputs/x.npz").read_bytes() == item.path.read_bytes()


def test_what_is_not_what_was_sent_is_dropped(far: Far, tmp_path: Path) -> None:
    target, digest = sending(far, tmp_path), "0" * 64
    target.write_pieces("x", digest, 0, lambda at: iter([b"data"]), lambda done: None)
    assert target.finish("x", digest, 4, False) == {"state": "damaged"}
    assert list((far.root / "data").iterdir()) == []


@pytest.mark.parametrize(
    ("names", "option", "message"),
    [
        (["no"], None, "no: no such file"),
        (["."], None, "a folder: name its files"),
        (["a", "b"], "c", "--as c: 2 files cannot have one name"),
        (["a"], "../x", "it must be relative"),
        (["a"], "/x", "it must be relative"),
        (["a"], ".x", "must not begin with a dot"),
        (["a", "sub/a"], None, "a: two files would have this name"),
    ],
)
def test_names_that_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], option: str | None, message: str
) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a", "b", "sub/a"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CronsembleError, match=message):
        choose_uploads([Path(name) for name in names], option)


def test_into_a_store_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("experiment: e\nstore: ./store\nbackends: {a: {backend: jax}}\n")
    (tmp_path / "x.npz").write_bytes(b"data")
    for arguments, where in ([], "store"), (["--store", "other"], "other"):
        (tmp_path / where).mkdir()
        done = run_command("put", "x.npz", "--as", "in/", *arguments, folder=tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), done
        assert done.stdout.startswith("data/in/x.npz: 4 bytes, sha256 3a6eb0790f39")
        assert (tmp_path / where / "data/in/x.npz").read_bytes() == b"data"
