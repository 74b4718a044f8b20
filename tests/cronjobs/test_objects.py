"""What objects hold, and the lines that say why there are none."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from commands import run_command
from cronjobs.experiment import Experiment
from cronjobs.objects import config_maps, cronjob, labels
from cronjobs.objects import config_maps as objects_config_maps
from cronjobs.objects.volumes import ObjectsError, pod_security
from cronjobs.tasks import ExperimentContext
from jobs.text import printable_lines
from scheduler.config import load, load_all
from scheduler.console.yaml_output import to_yaml
from scheduler.errors import CronsembleError
from scheduler.sync.desired import desired, notes

STORE = "store: {claim: experiments}\n"
IMAGES = "cluster: {images: {keras3: k, legacy: l}}\n"
JAX = 'backends: {jax: {schedule: "0 1 * * *"}}\n'


def experiment(folder: Path, text: str, name: str = "config.yaml") -> Experiment:
    path = folder / name
    path.write_text("experiment: e\n" + text)
    return load(path)


def cron_jobs(experiment: Experiment) -> dict[str, Any]:
    """The CronJobs by name."""
    return {each["metadata"]["name"]: each for each in cronjob.cron_jobs(ExperimentContext(experiment, "p" * 64, ""))}


def pod(cron_job: dict[str, Any]) -> dict[str, Any]:
    return dict(cron_job["spec"]["jobTemplate"]["spec"]["template"])


def container(cron_job: dict[str, Any], name: str) -> dict[str, Any]:
    spec = pod(cron_job)["spec"]
    return next(each for each in spec["initContainers"] + spec["containers"] if each["name"] == name)


def test_all_that_is_missing_is_said_at_once(tmp_path: Path) -> None:
    found = experiment(
        tmp_path,
        "backends: {jax: {schedule: '@daily'}, cntk: {schedule: '@daily'}}\n"
        "runtimes: {keras3: {python: /usr/bin/python3}, legacy: {python: /usr/bin/python2}}\n",
    )
    with pytest.raises(ObjectsError) as caught:
        cron_jobs(found)
    assert caught.value.problems == (
        "store: ./store is a folder of this machine: for a cluster type store: {claim: NAME}, "
        "{nfs: {server: HOST, path: PATH}} or {host_path: PATH}",
        "runtimes.keras3 is an interpreter here; name its image: cluster.images.keras3",
        "runtimes.legacy is an interpreter here; name its image: cluster.images.legacy",
    )


def test_only_the_runtimes_of_members_need_an_image(tmp_path: Path) -> None:
    """And keras3 always, for it prepares and combines."""
    assert cron_jobs(experiment(tmp_path, STORE + JAX + "cluster: {images: {keras3: k}}\nruntimes: {legacy: {python: p}}\n"))
    with pytest.raises(
        ObjectsError, match=r"^runtimes.keras3 is a virtual environment here; name its image: cluster.images.keras3$"
    ):
        cron_jobs(experiment(tmp_path, STORE + "backends: {cntk: {schedule: '@daily'}}\n"))


def test_no_schedule_no_cron_job(tmp_path: Path) -> None:
    found = experiment(tmp_path, STORE + IMAGES + "backends: {jax: {}, tensorflow: {schedule: '@daily'}}\nensemble: {}\n")
    assert list(cron_jobs(found)) == ["e-train-tensorflow"]
    path = tmp_path / "config.yaml"
    assert notes([found]) == [f"{path}: {task}: no schedule, so no CronJob" for task in ("train-jax", "ensemble")]
    none = experiment(tmp_path, STORE + IMAGES + "backends: {jax: {}}\n")
    assert desired([none]) == []


def test_an_image_in_no_registry_is_noted(tmp_path: Path) -> None:
    found = experiment(tmp_path, STORE + "backends: {theano: {schedule: '@daily'}}\ncluster: {images: {keras3: k}}\n")
    assert notes([found])[0].endswith(
        "localhost/cronsemble-legacy is in no registry: nodes that do not hold it cannot run it; see cluster.images.legacy"
    )


def test_data_that_lies_in_the_store_is_noted(tmp_path: Path) -> None:
    text = STORE + IMAGES + "data: {dataset: far.npz}\nbackends: {jax: {schedule: '@daily'}}\n"
    (note,) = notes([experiment(tmp_path, text)])
    assert note.endswith("data.dataset: far.npz is read from data/ in the store: `cronsemble put` copies it there")


@pytest.mark.holds("author-secrets")
def test_secrets_reach_their_members_containers_and_only_their_names_the_configuration(tmp_path: Path) -> None:
    text = (
        "backends:\n  jax: {schedule: '@daily', env: {TOKEN: {secret: one, key: a}, MODE: fast}}\n  torch: {schedule: '@daily'}\n"
        "ensemble: {schedule: '@daily', env: {PASSWORD: {secret: two, key: b}, ZONE: z}}\n"
    )
    made = cron_jobs(experiment(tmp_path, STORE + IMAGES + text))
    configurations = {name: json.loads(pod(each)["metadata"]["annotations"][labels.CONFIGURATION]) for name, each in made.items()}
    # The names tell a step which of its variables are never recorded.
    names = {"e-train-jax": ["TOKEN"], "e-train-torch": None, "e-ensemble": ["PASSWORD"]}
    assert {name: configuration.get("secrets") for name, configuration in configurations.items()} == names
    assert [member.get("secrets") for member in configurations["e-ensemble"]["members"]] == [["TOKEN"], None]
    for configuration in configurations.values():
        for part in (configuration, *configuration.get("members", ())):
            assert set(part.get("env", {})) <= {"MODE", "ZONE"}
            part.pop("secrets", None)
        assert not any(name in json.dumps(configuration) for name in ("TOKEN", "PASSWORD", '"one"', '"two"'))
    wanted = {
        ("e-train-jax", "prepare"): {"TOKEN"},
        ("e-train-jax", "train"): {"TOKEN"},
        ("e-train-torch", "train"): set(),
        ("e-ensemble", "prepare"): {"PASSWORD"},
        ("e-ensemble", "predict-jax"): {"TOKEN"},
        ("e-ensemble", "predict-torch"): set(),
        ("e-ensemble", "combine"): {"PASSWORD"},
    }
    for (name, step), secrets in wanted.items():
        given = container(made[name], step)["env"]
        assert {each["name"] for each in given if "secretKeyRef" in each.get("valueFrom", {})} == secrets
    configuration = configurations["e-ensemble"]
    assert configuration["env"] == {"ZONE": "z"}
    assert [each["env"] for each in configuration["members"]] == [{"MODE": "fast"}, {}]


def test_threads_are_the_cpus_given(tmp_path: Path) -> None:
    text = "backends: {jax: {schedule: '@daily', resources: {cpu: 1500m}}, torch: {schedule: '@daily', threads: 7}}\n"
    made = cron_jobs(experiment(tmp_path, STORE + IMAGES + text + "ensemble: {schedule: '@daily', resources: {cpu: 4}}\n"))
    steps = {"e-train-jax": {"prepare": "2", "train": "2"}, "e-train-torch": {"train": "7"}}
    steps["e-ensemble"] = {"prepare": "4", "predict-jax": "2", "predict-torch": "7", "combine": "4"}
    for name, wanted in steps.items():
        for step, threads in wanted.items():
            env = {each["name"]: each.get("value") for each in container(made[name], step)["env"]}
            assert {env[each] for each in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")} == {threads}


def test_a_gpu_is_for_the_training_alone(tmp_path: Path) -> None:
    text = "backends: {jax: {schedule: '@daily', resources: {gpu: 2}}}\nensemble: {schedule: '@daily'}\n"
    made = cron_jobs(experiment(tmp_path, STORE + IMAGES + text))
    train = container(made["e-train-jax"], "train")["resources"]
    assert train["limits"] == train["requests"] == {"cpu": "1", "memory": "2Gi", "nvidia.com/gpu": "2"}
    assert "nvidia.com/gpu" not in container(made["e-train-jax"], "prepare")["resources"]["limits"]
    assert "nvidia.com/gpu" not in json.dumps(made["e-ensemble"])
    assert json.loads(pod(made["e-train-jax"])["metadata"]["annotations"][labels.CONFIGURATION])["gpus"] == 2


def test_suspension_is_left_out_unless_it_is_configured(tmp_path: Path) -> None:
    text = "backends: {jax: {schedule: '@daily'}, torch: {schedule: '@daily', suspend: false}}\n"
    made = cron_jobs(experiment(tmp_path, STORE + IMAGES + text))
    assert "suspend" not in made["e-train-jax"]["spec"]
    assert made["e-train-torch"]["spec"]["suspend"] is False


def test_the_ensemble_has_a_try_for_each_member_that_may_kill_it(tmp_path: Path) -> None:
    text = "backends: {jax: {schedule: '@daily'}, torch: {}}\nensemble: {schedule: '@daily', retries: 3}\n"
    made = cron_jobs(experiment(tmp_path, STORE + IMAGES + text))
    assert made["e-train-jax"]["spec"]["jobTemplate"]["spec"]["backoffLimit"] == 1
    assert made["e-ensemble"]["spec"]["jobTemplate"]["spec"]["backoffLimit"] == 5


def test_mounted_names_every_config_map(tmp_path: Path) -> None:
    context = ExperimentContext(experiment(tmp_path, STORE + IMAGES + JAX), "a" * 64, "b" * 64)
    spec = pod(next(cronjob.cron_jobs(context)))["spec"]
    assert objects_config_maps.mounted(spec) == {"cronsemble-program-" + "a" * 12, "cronsemble-code-" + "b" * 12, "e-revisions"}
    assert objects_config_maps.mounted({}) == set()


@pytest.mark.parametrize(
    ("store", "level"),
    [("{claim: c}", "restricted"), ("{nfs: {server: s, path: /p}}", "baseline"), ("{host_path: /p}", "privileged")],
)
def test_the_level_that_a_store_needs(tmp_path: Path, store: str, level: str) -> None:
    found = pod_security(experiment(tmp_path, f"store: {store}\n" + JAX))
    assert found.level == level
    assert bool(found.reason) == (level != "restricted")


def test_too_much_code_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "large.txt").write_bytes(b"x" * (1 << 20))
    found = experiment(tmp_path, STORE + IMAGES + JAX + "code: [large.txt]\n")
    with pytest.raises(
        CronsembleError,
        match=r"config.yaml: the code has 1,048,\d+ bytes, at most 1,048,576 fit a ConfigMap: list what it needs",
    ):
        desired([found])
    config_maps.program_map("ml", b"x" * (1 << 20))
    with pytest.raises(ObjectsError, match="the program has 1,048,577 bytes"):
        config_maps.program_map("ml", b"x" * ((1 << 20) + 1))


def test_too_large_a_configuration_says_what_to_do(tmp_path: Path) -> None:
    text = "backends: {jax: {schedule: '@daily', env: {A: " + "x" * 131_000 + ", B: " + "x" * 131_000 + "}}}\n"
    expected = "the configuration of train-jax has, with its annotations, 26[0-9],[0-9]+ bytes, at most 262,144 fit a pod"
    with pytest.raises(ObjectsError, match=expected):
        cron_jobs(experiment(tmp_path, STORE + IMAGES + text))
    (tmp_path / "config.yaml").write_text("experiment: e\n" + STORE + text)
    (problem,) = cronjob.size_problems(load(tmp_path / "config.yaml"))
    assert problem[0] == "train-jax" and re.match(expected, problem[1])


def test_a_task_too_long_for_a_variable_is_a_file_of_its_pod(tmp_path: Path) -> None:
    text = "backends: {jax: {schedule: '@daily', env: {LONG: " + "x" * 125_000 + "}}}\n"
    (made,) = cron_jobs(experiment(tmp_path, STORE + IMAGES + text)).values()
    pod = made["spec"]["jobTemplate"]["spec"]["template"]
    assert len(pod["metadata"]["annotations"][labels.CONFIGURATION]) > 125_000
    (snapshot,) = [volume for volume in pod["spec"]["volumes"] if volume["name"] == "snapshot"]
    field = {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{labels.CONFIGURATION}']"}
    assert snapshot["projected"]["sources"][-1] == {"downwardAPI": {"items": [{"path": "task.json", "fieldRef": field}]}}
    for container in [*pod["spec"]["initContainers"], *pod["spec"]["containers"]]:
        env = {variable["name"]: variable.get("value") for variable in container["env"]}
        assert "CRONSEMBLE_TASK" not in env and env["CRONSEMBLE_TASK_FILE"] == "/cronsemble/program/task.json"


def test_too_many_members_for_one_ensemble(tmp_path: Path) -> None:
    """Each member predicts in a container of its own; some 750 of them fit."""
    found = experiment(tmp_path, STORE + IMAGES + JAX + "ensemble: {schedule: '@daily'}\n")
    members = {f"m{n}": replace(found.members["jax"], name=f"m{n}", schedule=None) for n in range(900)}
    with pytest.raises(ObjectsError, match="^ensemble: its CronJob has .* bytes, at most 1,048,576 fit: split the experiment$"):
        cron_jobs(replace(found, members=members))


def test_check_names_what_no_cluster_takes(tmp_path: Path) -> None:
    members = "".join(f"  m{n}: {{backend: jax}}\n" for n in range(900))
    (tmp_path / "config.yaml").write_text(f"experiment: e\n{STORE}ensemble: {{schedule: '@daily'}}\nbackends:\n{members}")
    done = run_command("check", folder=tmp_path)
    assert done.returncode == 1
    (line,) = (done.stdout + done.stderr).splitlines()
    assert re.fullmatch(
        r"config.yaml:3:\d+ ensemble: its CronJob has [0-9,]+ bytes, at most 1,048,576 fit: split the experiment", line
    )


def test_experiments_share_what_is_equal(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("experiment: a\n" + STORE + IMAGES + JAX)
    (tmp_path / "b.yml").write_text("experiment: b\n" + STORE + IMAGES + JAX)
    (tmp_path / "note.txt").write_text("not a configuration")
    made = desired(load_all([tmp_path, tmp_path / "b.yml"]))
    assert [each["kind"] for each in made] == ["ConfigMap", "CronJob", "CronJob"]


def test_what_render_prints_is_what_it_built(tmp_path: Path) -> None:
    """On stdout; what the objects do not say is on stderr."""
    path = tmp_path / "config.yaml"
    found = experiment(tmp_path, STORE + IMAGES + "backends: {jax: {schedule: '@daily'}, torch: {}}\n")
    done = run_command("render", "-f", path, check=True)
    assert list(yaml.safe_load_all(done.stdout)) == desired([found])
    assert done.stderr == f"{path}: train-torch: no schedule, so no CronJob\n"


def test_render_volume_says_what_to_type_next(tmp_path: Path) -> None:
    experiment(tmp_path, "store: {host_path: /srv}\n" + JAX)
    done = run_command("render", "--volume", "-f", tmp_path / "config.yaml", check=True)
    assert [each["kind"] for each in yaml.safe_load_all(done.stdout)] == ["PersistentVolume", "PersistentVolumeClaim"]
    assert done.stderr.endswith("once these are applied, type store: {claim: e-store}\n")


def test_render_says_which_pod_security_the_store_needs(tmp_path: Path) -> None:
    experiment(tmp_path, "store: {nfs: {server: s, path: /p}}\n" + IMAGES + JAX)
    done = run_command("render", "-f", tmp_path / "config.yaml", check=True)
    assert done.stderr == (
        f"{tmp_path}/config.yaml: a namespace that enforces more than Pod Security baseline refuses the pods: "
        "store.nfs is mounted by the pods themselves; `cronsemble render --volume` prints a claim for it\n"
    )


def test_render_without_a_cluster_is_lines_and_no_output(tmp_path: Path) -> None:
    experiment(tmp_path, JAX)
    done = run_command("render", "-f", tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 2 and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "text", ["y", "No", "1e3", "0o17", "0x1f", "1_000", ".5", "12:30", "null", "~", "2026-11-24", "a: b", "é\n"]
)
def test_text_stays_text_for_every_reader(text: str) -> None:
    """YAML 1.1 and 1.2 read plain words differently; these are quoted."""
    written = to_yaml([{text: [text]}])
    assert yaml.safe_load(written) == {text: [text]}
    assert written.count('"') == 4


INVISIBLE = ["a\u202eb", "\u2028", "\u00ad\ufeff\u200b", "\U000e0001", "\x85\x9b"]


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(INVISIBLE))
def test_what_is_printed_of_any_text_is_printable_and_the_same_text(text: str) -> None:
    """A terminal shows nothing of some characters, and the filter of all prints takes them out: they are escaped."""
    written = to_yaml([{"a": [text]}])
    assert yaml.safe_load(written) == {"a": [text]} and written == printable_lines(written)
