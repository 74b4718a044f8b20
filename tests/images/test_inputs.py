"""What images are built from: pins, mirrors, packages of a suite that moved. No image is needed."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from scheduler.errors import CronsembleError
from scheduler.images import base_image, build, wheels
from scheduler.images.tool_source import tool_source

ROOT = Path(__file__).parents[2]
MIRROR = "http://deb.debian" + ".example/debian"
SECURITY = "http://security.debian" + ".example/debian-security"


@pytest.mark.parametrize("minor", [11, 12, 13])
def test_an_images_pins_have_one_version_of_each_package_and_no_marker(minor: int) -> None:
    text = wheels.pins_for((ROOT / "scheduler/requirements/keras3.txt").read_text(), minor)
    pins = re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE)
    assert len(pins) == len(set(pins)) > 40
    assert ";" not in text
    assert len(re.findall(r"^numpy==\S+ \\\n(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", text, re.MULTILINE)) == 1


def test_a_pin_of_another_python_goes_with_its_hashes() -> None:
    text = "a==1 ; python_full_version < '3.12' \\\n    --hash=sha256:0\n"
    text += "a==2 ; python_full_version >= '3.12' \\\n    --hash=sha256:1\n"
    assert wheels.pins_for(text, 11) == "a==1 \\\n    --hash=sha256:0\n"
    assert wheels.pins_for(text, 12) == "a==2 \\\n    --hash=sha256:1\n"
    with pytest.raises(ValueError, match="sys_platform"):
        wheels.pins_for("a==1 ; sys_platform == 'linux' \\\n", 11)


def test_every_package_of_the_legacy_image_is_pinned_by_hash() -> None:
    lines = [line for line in wheels.requirements("legacy").splitlines() if not line.startswith("#")]
    assert len(lines) == 14
    assert all(re.fullmatch(r"[a-z0-9-]+==\S+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)


@pytest.mark.parametrize("name", ["keras3.txt", "keras3-torch.txt"])
def test_requirement_sets_name_no_index(name: str) -> None:
    assert "://" not in (ROOT / "scheduler/requirements" / name).read_text()


def test_the_torch_set_holds_the_base_set() -> None:
    base, torch = (
        set(re.findall(r"^[a-z0-9-]+==[^\\]+", (ROOT / "scheduler/requirements" / name).read_text(), re.MULTILINE))
        for name in ("keras3.txt", "keras3-torch.txt")
    )
    assert base < torch


def test_mirrors_are_those_of_apt_then_the_default_then_the_archive() -> None:
    one_line = f"# deb http://gone.example/debian x main\ndeb [arch=amd64] {MIRROR}/ bookworm main\ndeb {SECURITY} s main"
    deb822 = f"Types: deb\nURIs: {MIRROR}\nSuites: bookworm\n"
    for sources in (one_line, deb822):
        mirrors = base_image.candidates("bullseye", sources)
        assert mirrors[:3] == [MIRROR, "", MIRROR.replace("deb.", "archive.")]
    assert base_image.candidates("bullseye", "deb http://mirror.example/debian stable main")[:2] == [
        "http://mirror.example/debian",
        "",
    ]
    assert base_image.candidates("bullseye", "")[0] == ""


APT_GET = """#!/bin/sh
# Stands for the network: an apt-get that cannot reach what has moved.
echo "$*" >> "$APT_ROOT/calls"
[ "$1" = update ] || exit 0
! cat "$APT_ROOT"/etc/apt/sources.list "$APT_ROOT"/etc/apt/sources.list.d/* 2> /dev/null | grep -Eq "$GONE"
"""


@pytest.mark.parametrize(
    ("gone", "lines", "deb822"),
    [
        ("nothing at all", [f"deb {MIRROR} s main", f"deb {MIRROR} s-updates main"], f"URIs: {MIRROR}\nSuites: s s-updates\n"),
        (
            r"/(deb|security)\.debian",
            [f"deb {MIRROR.replace('deb.', 'archive.')} s main", f"deb {MIRROR.replace('deb.', 'archive.')} s-updates main"],
            f"URIs: {MIRROR.replace('deb.', 'archive.')}\nSuites: s s-updates\n",
        ),
        (
            r"/(deb|security)\.debian|s-updates",
            [f"deb {MIRROR.replace('deb.', 'archive.')} s main"],
            f"URIs: {MIRROR.replace('deb.', 'archive.')}\nSuites: s\n",
        ),
    ],
)
def test_apt_follows_a_suite_to_the_archive(tmp_path: Path, gone: str, lines: list[str], deb822: str) -> None:
    etc = tmp_path / "etc"
    for folder in ("apt/sources.list.d", "apt/apt.conf.d", "dpkg/dpkg.cfg.d"):
        (etc / folder).mkdir(parents=True)
    (etc / "apt/sources.list").write_text(f"deb {MIRROR} s main\ndeb {MIRROR} s-updates main\n")
    (etc / "apt/sources.list.d/debian.sources").write_text(f"URIs: {MIRROR}\nSuites: s s-updates\n")
    apt_get = tmp_path / "apt-get"
    apt_get.write_text(APT_GET)
    apt_get.chmod(0o755)
    env = {**os.environ, "APT_ROOT": str(tmp_path), "APT_GET": str(apt_get), "GONE": gone}
    subprocess.run(["sh", str(wheels.CONTEXT / "apt.sh"), "python2.7"], env=env, check=True, capture_output=True)
    assert (etc / "apt/sources.list").read_text().splitlines() == lines
    assert (etc / "apt/sources.list.d/debian.sources").read_text() == deb822
    assert (tmp_path / "calls").read_text().splitlines()[-1] == "install -y -q --no-install-recommends python2.7"


def test_podman_without_a_range_of_users_is_refused_in_one_line(tmp_path: Path) -> None:
    subuid = tmp_path / "subuid"
    with pytest.raises(CronsembleError, match="there is no line for 4242 in .*usermod --add-subuids"):
        build.check_user(4242, subuid)
    subuid.write_text("4242:100000:65536\n")
    build.check_user(4242, subuid)
    build.check_user(0, tmp_path / "absent")


def test_the_tools_own_packages_go_into_its_image_alone() -> None:
    source = tool_source()
    assert {"scheduler/cli.py", "scheduler/report/templates/page.html.j2", "jobs/contract.py", "cronjobs/tasks.py"} <= set(source)
    assert not any("__pycache__" in name or name.startswith(("scheduler/images/context/", "cronsemble/")) for name in source)
    assert len({build.inputs_of(name) for name in build.SUITES}) == 3


def test_labels_tell_the_pinned_versions() -> None:
    assert build.inputs_of("legacy") == build.inputs_of("legacy") != build.inputs_of("keras3")
    legacy, keras3 = build.labels("legacy", "x"), build.labels("keras3", "x")
    assert (legacy["cronsemble.keras"], legacy["cronsemble.theano"], legacy["cronsemble.cntk"]) == ("2.3.1", "1.0.5", "2.7.post2")
    assert keras3["cronsemble.keras"].startswith("3.")
    assert keras3["org.opencontainers.image.version"] == legacy["org.opencontainers.image.version"]


def test_the_stage_of_a_build_is_read_from_the_engines_output() -> None:
    describe = build.describe_step()
    lines = [
        "STEP 4/12: RUN sh /b/install.sh\n",
        "noise\n",
        "stage: 41 of 83 modules\n",
        "[2/2] STEP 1/2: FROM scratch\n",
        "--> 0f\n",
    ]
    stages = ["step 4 of 12, RUN sh /b/install.sh", None, "step 4 of 12, 41 of 83 modules", "step 1 of 2, FROM scratch", None]
    assert [describe(line) for line in lines] == stages
    assert base_image.describe_debootstrap("sid", "I: Unpacking libc6:amd64...\n") == "debootstrap of sid: unpacking libc6:amd64"
    assert base_image.describe_debootstrap("sid", "W: Cannot check\n") is None
