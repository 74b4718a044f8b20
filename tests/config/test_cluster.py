"""What a cluster reads of a configuration: the exact line for each fault, and the faults of several files at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scheduler.config import ConfigErrors, load, load_all
from scheduler.config.namespace import all_in_namespace

GOOD = "experiment: e\nbackends: {jax: {}}\n"
NAME = "use at most 63 lower-case letters, digits and -"


def problems(folder: Path, text: str) -> list[str]:
    path = folder / "config.yaml"
    path.write_text(GOOD + text)
    with pytest.raises(ConfigErrors) as caught:
        load(path)
    return [str(each).removeprefix(str(path)) for each in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "store: {empty_dir: {}}",
            ":3:9 store.empty_dir: an emptyDir ends with its pod, and no ensemble would find a model: type store: {claim: NAME}",
        ),
        (
            "store: {emptyDir: {}, claim: c}",
            ":3:9 store.emptyDir: an emptyDir ends with its pod, and no ensemble would find a model: type store: {claim: NAME}",
        ),
        ("store: {}", ":3:8 store: nothing is given: name one of claim, nfs, host_path"),
        (
            "store: {claim: c, nfs: {server: s, path: /p}}",
            ":3:8 store: claim and nfs are given: name one of claim, nfs, host_path",
        ),
        ("store: {clam: c}", ":3:9 store.clam: unknown key: did you mean claim?"),
        (
            "store: {host_path: data}",
            ":3:20 store.host_path: 'data' is given: it must be an absolute path without .., e.g. /srv/experiments",
        ),
        (
            "store: {nfs: {server: s, path: /a/../b}}",
            ":3:32 store.nfs.path: '/a/../b' is given: it must be an absolute path without .., e.g. /srv/experiments",
        ),
        ("store: {nfs: {server: s}}", ":3:14 store.nfs.path: this key is missing: add it"),
        ("defaults: {resources: {memory: 4GB}}", ":3:32 defaults.resources.memory: '4GB': did you mean 4G or 4Gi?"),
        (
            "defaults: {resources: {memory: 4}}",
            ":3:32 defaults.resources.memory: 4 is 4 bytes, at least 64Mi is needed: did you mean 4Gi?",
        ),
        (
            "defaults: {resources: {tmp: 500m}}",
            ":3:29 defaults.resources.tmp: '500m' is 0.500 bytes, at least 64Mi is needed: did you mean 500Mi?",
        ),
        (
            "defaults: {resources: {cpu: two}}",
            ":3:29 defaults.resources.cpu: 'two': it is not a quantity: "
            "type a number and perhaps a unit, e.g. 2, 500m, 512Mi or 4Gi",
        ),
        ("defaults: {resources: {cpu: 0}}", ":3:29 defaults.resources.cpu: 0 is given: it must be above 0 and at most 1024 CPUs"),
        (
            "defaults: {labels: {app.kubernetes.io/name: x}}",
            ":3:21 defaults.labels.app.kubernetes.io/name: this name is set by cronsemble or Kubernetes: use another",
        ),
        (
            "defaults: {labels: {team: a b}}",
            ":3:27 defaults.labels.team: 'a b' is not a label's value: use letters, digits, -, _ and ., at most 63",
        ),
        (
            "defaults: {annotations: {a b: any text}}",
            ":3:26 defaults.annotations.a b: not a label's name: use letters, digits, -, _ and ., at most 63, "
            "e.g. team or example.com/team",
        ),
        (
            "defaults: {tolerations: [{effct: NoSchedule}]}",
            ":3:27 defaults.tolerations.0.effct: unknown key: did you mean effect?",
        ),
        (
            "defaults: {affinity: {nodeaffinity: {}}}",
            ":3:23 defaults.affinity.nodeaffinity: unknown key: did you mean nodeAffinity?",
        ),
        ("defaults: {queue: Big_Queue}", f":3:19 defaults.queue: 'Big_Queue' is given: {NAME}"),
        (
            "defaults: {env: {A: {secret: s, key: a b}}}",
            ":3:38 defaults.env.A.key: 'a b' is given: use letters, digits, -, _ and .",
        ),
        ("cluster: {namespace: My_Space}", f":3:22 cluster.namespace: 'My_Space' is given: {NAME}"),
        ("cluster: {user: 0}", ":3:17 cluster.user: 0 is given: it must be a whole number of at least 1"),
        ("cluster: {images: {keras4: x}}", ":3:20 cluster.images.keras4: unknown key: did you mean keras3?"),
        (
            "cluster: {images: {keras3: a b}}",
            ":3:28 cluster.images.keras3: 'a b' is not an image's reference, e.g. registry.example/keras3:1",
        ),
        (
            "cluster: {gpu_resource: gpu}",
            ":3:25 cluster.gpu_resource: 'gpu' is given: type a name with a domain, e.g. nvidia.com/gpu",
        ),
        (
            "cluster: {pull_policy: Always}",
            ":3:24 cluster.pull_policy: 'Always' is given: it must be 'always', 'if_not_present' or 'never'",
        ),
    ],
)
def test_one_line_for_each_fault(tmp_path: Path, text: str, expected: str) -> None:
    assert problems(tmp_path, text) == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "store: [a]",
        "store: {nfs: x, claim: [1]}",
        "defaults: {resources: [1], labels: x, tolerations: x, affinity: [], env: 3, queue: 4}",
        "ensemble: {resources: {cpu: [1], memory: {}}, labels: {a: {}}, tolerations: [x], env: {A: [1]}}",
        "cluster: {images: x, pull_secrets: {a: b}, namespace: [1], gpu_resource: 3}",
        "cluster: []",
    ],
)
def test_values_of_another_type_are_told_of_not_stumbled_over(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, text)


def test_quantities_are_numbers_or_text(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "experiment: e\nbackends:\n  jax: {resources: {cpu: 1500m, memory: 4e9}}\n"
        "  torch: {resources: {cpu: 0.5, memory: 100000000}}\n"
    )
    members = load(path).members
    assert (members["jax"].threads, members["torch"].threads) == (2, 1)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_every_fault_of_every_file(tmp_path: Path) -> None:
    """By file in the order given, then by line; a folder's files by name."""
    late = write(tmp_path, "late.yaml", "experiment: e\n")
    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder, "b.yaml", "experiment: E\nbackends: {jax: {}}\n")
    write(folder, "a.yml", "- 1\n")
    write(folder, "notes.md", "# not a configuration")
    with pytest.raises(ConfigErrors) as caught:
        load_all([folder, late, tmp_path / "none.yaml"])
    assert [Path(each.file).name for each in caught.value.problems] == ["a.yml", "b.yaml", "late.yaml", "none.yaml"]


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path, "a.yaml", GOOD)
    assert [each.path for each in load_all([path, tmp_path, path])] == [path]


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match=r"this folder holds no \.yaml or \.yml file: `cronsemble init` writes one"):
        load_all([tmp_path])


def test_experiments_of_one_name_clash_within_a_namespace(tmp_path: Path) -> None:
    first, second = write(tmp_path, "a.yaml", GOOD), write(tmp_path, "b.yaml", GOOD)
    with pytest.raises(ConfigErrors) as caught:
        load_all([tmp_path])
    assert str(caught.value) == (
        f"{second} experiment: e is declared by {first} too: rename one, or give it a cluster.namespace of its own"
    )
    write(tmp_path, "b.yaml", GOOD + "cluster: {namespace: other}\n")
    assert len(load_all([tmp_path])) == 2


def test_cron_jobs_of_one_name_clash(tmp_path: Path) -> None:
    """`a` with the member `b-ensemble`, and the ensemble of `a-train-b`."""
    first = write(tmp_path, "a.yaml", "experiment: a\nbackends: {b-ensemble: {backend: jax}}\n")
    second = write(tmp_path, "b.yaml", "experiment: a-train-b\nbackends: {jax: {}}\nensemble: {}\n")
    with pytest.raises(ConfigErrors) as caught:
        load_all([tmp_path])
    assert str(caught.value) == (
        f"{second} ensemble: its CronJob a-train-b-ensemble has the name of one of {first}: rename the experiment"
    )
    write(tmp_path, "b.yaml", "experiment: a-train-b\nbackends: {jax: {}}\nensemble: {}\ncluster: {namespace: other}\n")
    with pytest.raises(ConfigErrors, match="its CronJob a-train-b-ensemble has the name of one of"):
        all_in_namespace(load_all([tmp_path]), "one")


def test_check_takes_files_and_folders(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", GOOD)
    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder, "b.yaml", "experiment: f\nbackends: {jax: {}}\nensemble: {}\n")
    code = "from scheduler.cli import main; main()"
    command = [sys.executable, "-c", code, "check", "-f", "a.yaml", "-f", "folder"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == ("a.yaml: e: 1 member, no ensemble: no errors\nfolder/b.yaml: f: 1 member, an ensemble: no errors\n")
