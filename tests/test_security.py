"""Each sentence of docs/security.md that has a name is held by a test that names it: ``pytest.mark.holds``, here or elsewhere."""

from __future__ import annotations

import ast
import hashlib
import http.client
import io
import json
import os
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands import run_command
from cronjobs.objects.reader_pod import reader_pod
from jobs import contract as c
from jobs.contract import ExitCode, RunId
from jobs.store import LocalStore, removal
from jobs.store.files import append_line, read_json, to_json
from scheduler.config import load
from scheduler.errors import CronsembleError
from scheduler.kube.client import KubeClient
from scheduler.kube.errors import KubeError
from scheduler.kube.kubeconfig import Access
from scheduler.rerun import plan as plans
from scheduler.server import http_endpoint
from scheduler.server.metrics import Metrics
from scheduler.snapshots.program import build_program
from stores import Builder
from supervised import supervise

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "security.md").read_text()
_SENTENCE = re.compile(r"^- \*\*([a-z-]+)\*\* ", re.MULTILINE)


def _names_in_tests() -> set[str]:
    """Every sentence that a test function names."""
    trees = (ast.parse(path.read_text()) for path in (ROOT / "tests").rglob("test_*.py"))
    functions = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    marks = [mark for node in functions if node.name.startswith("test_") for mark in node.decorator_list]
    calls = [mark for mark in marks if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.holds"]
    return {ast.literal_eval(argument) for call in calls for argument in call.args}


def test_every_sentence_is_held_by_a_test_and_every_test_holds_one_that_is_there() -> None:
    sentences = _SENTENCE.findall(PAGE)
    assert len(sentences) == len(set(sentences)) > 40
    assert set(sentences) == _names_in_tests()


def test_what_the_parties_can_do_is_said_in_sentences_that_have_names() -> None:
    """Between the table of the parties and that of the pods stands no list without names."""
    parts = PAGE[PAGE.index("## The author") : PAGE.index("## What each pod")]
    assert [line for line in parts.splitlines() if line.startswith("- ") and not _SENTENCE.match(line)] == []


# -- the author of a configuration


def _configuration_with_code(folder: Path) -> Path:
    marker = folder / "was-run"
    (folder / "m.py").write_text(
        f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n"
        "def data(hyperparameters):\n    return read()\ndef model(input_shape, classes, hyperparameters):\n    return build()\n"
    )
    (folder / "config.yaml").write_text(
        "experiment: e\ndata: {dataset: 'm.py:data'}\nmodel: 'm.py:model'\n"
        "store: {claim: c}\ncluster: {namespace: n, images: {keras3: 'r/k:1'}}\nbackends: {jax: {schedule: '0 1 * * *'}}\n"
    )
    return marker


@pytest.mark.holds("author-reading")
@pytest.mark.parametrize("arguments", [["check"], ["next"], ["render"], ["history", "--store", "."]], ids=" ".join)
def test_commands_that_read_a_configuration_run_none_of_its_code(tmp_path: Path, arguments: list[str]) -> None:
    marker = _configuration_with_code(tmp_path)
    done = run_command(*arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not marker.exists()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "program.pyz"
    path.write_bytes(build_program())
    return path


TASK: dict[str, Any] = {"quorum": 1, "method": "accuracy", "threads": 1, "data_seed": 1, "model": "mlp"}


def _prepare(tmp_path: Path, program: Path, source: str, **env: str) -> tuple[int, str, LocalStore, RunId]:
    """The exit status and the output of a prepare step with this file as the user's code, the store, and the run."""
    store, run, data = LocalStore(tmp_path / "store"), RunId(29_924_640, 1, "e", "train-a"), io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("m.py", source)
    digest = store.put_snapshot("code", data.getvalue())
    described = {"dataset": "m.py:data", "predict": "holdout", "key": "k", "hyperparameters": {}}
    task = {**TASK, "data": described, "snapshot": {"program": "", "code": digest}}
    process = supervise(program, store, run, "prepare", task, **env)
    said, _ = process.communicate()
    return process.returncode, said, store, run


@pytest.mark.holds("author-functions", "code-user")
def test_a_function_runs_as_the_user_who_runs_it(tmp_path: Path, program: Path) -> None:
    source = "import os\ndef data(hyperparameters):\n    raise ValueError('user %d' % os.geteuid())\n"
    code, said, _, _ = _prepare(tmp_path, program, source)
    assert code == ExitCode.FAILED and f"ValueError: user {os.geteuid()}" in said


@pytest.mark.holds("author-pods")
def test_no_configuration_gives_a_pod_more_rights(tmp_path: Path) -> None:
    """All that a configuration may say of a task's pods is said here; the fields of security stay."""
    _configuration_with_code(tmp_path)
    configuration = yaml.safe_load((tmp_path / "config.yaml").read_text())
    configuration["defaults"] = {
        "env": {"A": "b"},
        "labels": {"team": "x"},
        "node_selector": {"a": "b"},
        "resources": {"cpu": 2, "memory": "2Gi"},
    }
    configuration["cluster"] |= {"user": 1234, "group": 2345}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(configuration))
    done = run_command("render", folder=tmp_path, check=True)
    pods = [
        object["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        for object in yaml.safe_load_all(done.stdout)
        if object["kind"] == "CronJob"
    ]
    assert pods
    for pod in pods:
        assert pod["automountServiceAccountToken"] is False and pod["enableServiceLinks"] is False
        security = pod["securityContext"]
        assert (
            security["runAsNonRoot"]
            and security["runAsUser"] == 1234
            and security["seccompProfile"] == {"type": "RuntimeDefault"}
        )
        assert all("sizeLimit" in volume["emptyDir"] for volume in pod["volumes"] if volume["name"] == "tmp")
        assert not {"hostNetwork", "hostPID", "hostIPC", "serviceAccountName"} & pod.keys()
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert {"cpu", "memory"} <= container["resources"]["limits"].keys()
    for user in (0, -1):
        configuration["cluster"]["user"] = user
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(configuration))
        done = run_command("check", folder=tmp_path)
        assert done.returncode == 1 and "cluster.user" in done.stderr


# -- the user's code in a step


@pytest.mark.holds("code-reason")
def test_an_exception_is_one_line_wherever_it_is_said(tmp_path: Path, program: Path) -> None:
    text = "x\x1b[2J\x9b31m\r\nfsck: nothing is wrong\u2028\u202e"
    code, _, store, run = _prepare(tmp_path, program, f"def data(hyperparameters):\n    raise ValueError({text!r})\n")
    end = read_json(store.try_folder(run, "a") / c.END)
    assert code == ExitCode.FAILED and end is not None
    assert str(end["reason"]).isprintable() and "x fsck: nothing is wrong" in str(end["reason"])


# -- another writer of the volume


def _forged(store_root: Path, experiment: str = "e", task: str = "train-a") -> tuple[Builder, Any]:
    """A store with a whole run that its writer made up, with the configuration of any task as its snapshot."""
    builder = Builder(store_root)
    digest = builder.store.put_snapshot("task", to_json({"experiment": experiment, "task": task, "threads": 1}))
    program = builder.store.put_snapshot("program", b"any program")
    dataset = builder.store.dataset_path("f")
    dataset.parent.mkdir(parents=True, exist_ok=True)
    dataset.write_bytes(b"data")
    pinned = {"fingerprint": "f", "sha256": hashlib.sha256(b"data").hexdigest()}
    snapshot = {"program": program, "code": "", "task": digest}
    run = builder.run(
        "train-a", "2026-11-20T01:00", snapshot=snapshot, data=pinned, python=sys.executable, files={c.DATA: to_json(pinned)}
    )
    return builder, builder.store.read(run)


@pytest.mark.holds("volume-forged")
def test_a_forged_run_that_is_whole_would_be_repeated(tmp_path: Path) -> None:
    builder, run = _forged(tmp_path)
    assert plans.plan(builder.store, [run], False).problems() == {}


@pytest.mark.holds("volume-task")
def test_a_snapshot_of_another_task_is_not_repeated(tmp_path: Path) -> None:
    others = [("../../../x", "train-a"), ("e", "../x"), ("other", "train-a"), ("e", "ensemble")]
    for number, (experiment, task) in enumerate(others):
        builder, run = _forged(tmp_path / str(number), experiment, task)
        assert plans.plan(builder.store, [run], False).problems() == {run.id: ["its configuration is another task's"]}


@pytest.mark.holds("volume-task")
@pytest.mark.parametrize(
    "changes",
    [
        {"experiment": "../../x"},
        {"experiment": ""},
        {"task": "../x"},
        {"members": [{"member": "../../x"}]},
        {"members": [{"member": "/x"}]},
        {"members": [{"member": "a\n"}]},
    ],
)
def test_a_step_takes_no_name_that_is_a_path(tmp_path: Path, program: Path, changes: dict[str, Any]) -> None:
    run = RunId(29_924_640, 1, changes.get("experiment", "e"), changes.get("task", "train-a"))
    process = supervise(program, LocalStore(tmp_path / "a" / "store"), run, "prepare", {**TASK, **changes})
    said, _ = process.communicate()
    assert process.returncode == ExitCode.WRONG_INPUT and "is not the configuration of a task" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.holds("volume-links")
def test_a_link_in_the_place_of_a_file_is_neither_read_nor_added_to(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text('{"reason": "x"}\n')
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert read_json(tmp_path / "link") is None
    with pytest.raises(OSError, match="symbolic links"):
        append_line(tmp_path / "link", {"reason": "$(id)"})
    assert (tmp_path / "elsewhere").read_text() == '{"reason": "x"}\n'


@pytest.mark.holds("volume-folders")
def test_what_is_made_in_a_folder_that_is_a_link_has_the_names_of_a_store(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "runs").symlink_to(tmp_path / "elsewhere")
    Builder(tmp_path / "store").run("train-a", "2026-11-20T01:00")
    assert {path.name for path in (tmp_path / "elsewhere").rglob("*") if path.is_file()} == {c.START, c.RECORD, c.RECORD_TRACE}


@pytest.mark.holds("volume-removal")
def test_nothing_outside_the_store_is_removed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "weights.h5").touch()
    store.root.mkdir()
    (store.root / "runs").symlink_to(tmp_path / "outside")
    for path in (tmp_path / "outside" / "weights.h5", store.root / "runs" / "weights.h5", store.root / ".." / "outside"):
        with pytest.raises(ValueError, match="is not in"):
            removal.remove(store, path)
    assert (tmp_path / "outside" / "weights.h5").exists()


# -- a reader on the network


@pytest.mark.holds("network-closed")
@pytest.mark.parametrize("text", ["0.0.0.0:9000", "[::]:9000", "192.0.2.1:9000", "example.org:9000"])
def test_only_this_machine_may_connect(text: str) -> None:
    with pytest.raises(CronsembleError, match="--listen"):
        http_endpoint.parse_address(text)


@pytest.mark.holds("network-answers")
def test_metrics_and_health_are_all_that_is_answered() -> None:
    metrics = Metrics()
    metrics.runs.labels("e", "train-a", "succeeded").inc()
    server = http_endpoint.listen("127.0.0.1", 0, metrics.registry, lambda: (True, {}))
    try:
        answers = {}
        for method, path in [("GET", "/metrics"), ("GET", "/healthz"), ("GET", "/x"), ("GET", "/../config.yaml"), ("POST", "/")]:
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
            connection.request(method, path)
            answer = connection.getresponse()
            answers[method, path] = (answer.status, answer.read().decode())
            connection.close()
    finally:
        server.shutdown()
        server.server_close()
    labels = set(re.findall(r'[{,]([a-z_]+)="', answers["GET", "/metrics"][1]))
    assert answers["GET", "/metrics"][0] == 200 and labels <= {"experiment", "task", "status", "event", "le"}
    assert json.loads(answers["GET", "/healthz"][1]) == {"ok": True}
    assert [answers[key][0] for key in answers if key[1] not in ("/metrics", "/healthz")] == [404, 404, 405]


@pytest.mark.holds("network-report")
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9000", "192.0.2.1", "", "[2001:db8::1]:1", "localhost.evil.example"]
)
def test_a_name_that_was_made_to_mean_this_machine_is_not_answered(host: str) -> None:
    assert not http_endpoint.is_allowed_host(host, ["build.example"])
    assert http_endpoint.answer_report("/", host, {}, ["build.example"])[0].startswith("403")


@pytest.mark.parametrize("host", ["localhost:9000", "LOCALHOST", "127.0.0.1:80", "127.8.8.8", "[::1]:9000", "Build.example:9000"])
def test_the_servers_own_names_are_answered(host: str) -> None:
    assert http_endpoint.is_allowed_host(host, ["build.example"])


@pytest.mark.holds("network-reader")
def test_the_reader_pod_listens_on_no_port_and_mounts_the_store_alone(tmp_path: Path) -> None:
    _configuration_with_code(tmp_path)
    pod = json.dumps(reader_pod(load(tmp_path / "config.yaml"), "reader", "me@here"))
    assert "containerPort" not in pod and "hostNetwork" not in pod and '"automountServiceAccountToken": false' in pod


# -- the owner of the kubeconfig


@pytest.mark.holds("kubeconfig-plugins")
def test_a_plugin_runs_as_this_user_and_one_that_fails_ends_the_command(capfd: pytest.CaptureFixture[str]) -> None:
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "interactiveMode": "Never",
        "command": "sh",
        "args": ["-c", 'printf "\\033[2Juser %s" "$(id -u)" >&2; exit 3'],
    }
    with (
        KubeClient(Access("https://127.0.0.1:1", "a", user={"exec": plugin}), patience=0) as api,
        pytest.raises(KubeError, match="sh"),
    ):
        next(api.stream("/x"))
    assert f"\x1b[2Juser {os.geteuid()}" in capfd.readouterr().err
