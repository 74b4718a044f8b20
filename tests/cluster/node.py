"""A node of our own: containerd and a kubelet beside a control plane, inside ``cluster.sandbox``.

    with running_node() as node:
        node.plane                   # the ControlPlane
        node.data                    # Path: for volumes of kind hostPath
        node.export("nas", "/share") # Path: what `nfs: {server: nas, path: /share}` mounts (a bind mount stands in for NFS)
        node.import_image(archive)   # a docker-archive or oci-archive
        node.has_image("localhost/cronsemble-keras3:latest")
        node.kill_kubelet(), node.start_kubelet()    # containers go on meanwhile; start returns when the node is ready
        node.kill(), node.start()    # as a machine that loses its power: kubelet, containerd and every container
        node.containers()            # {container id: {"pid":, "name":, "pod":, "namespace":}} that run, by containerd

`python -m cluster.sandbox python -m cluster.node COMMAND...` runs a command (a shell, without one) with KUBECONFIG set.
Pods reach each other and the node, nothing else: they have no default route, and there is no cluster DNS.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from cluster import binaries, images, sandbox
from cluster.access import Cluster, KubectlFailed
from cluster.control_plane import ControlPlane
from cluster.processes import Process

NAME = "node"
# The kubelet refuses a loopback address; this one is added to the sandbox's own "lo".
ADDRESS = "10.250.0.1"
PODS = "10.252.0.0/24"
CNI = Path("/usr/lib/cni")
NODE_PATH = Path(__file__).resolve().parent / "node-path"


@contextlib.contextmanager
def running_node() -> Iterator[Node]:
    """Control plane and node in the folder and cgroup of the sandbox, with the images of ``CRONSEMBLE_TEST_ARCHIVES``."""
    folder = Path(os.environ["CRONSEMBLE_TEST_NODE"])
    if not (binaries.find() / "pause").exists():
        raise binaries.NoBinaries("a node needs our own build: unset KUBEBUILDER_ASSETS")
    subprocess.run(["ip", "address", "replace", f"{ADDRESS}/32", "dev", "lo"], check=True)
    plane = ControlPlane(folder, address=ADDRESS, scheduler=True)
    with plane, Node(plane, folder, os.environ["CRONSEMBLE_TEST_CGROUP"]) as node:
        archives = os.environ.get("CRONSEMBLE_TEST_ARCHIVES")
        for archive in sorted(Path(archives).glob("*.tar")) if archives else []:
            node.import_image(archive)
        yield node


class Node:
    def __init__(self, plane: ControlPlane, folder: Path, cgroup: str) -> None:
        self.plane, self.folder, self.cgroup = plane, folder.resolve() / "node", cgroup
        # kept from one node to the next: importing gigabytes takes minutes
        self.images = binaries.cached().parent / "containerd"
        self._tidy = self.images / "cronsemble.json"
        self.socket = self.folder / "containerd.sock"
        self.data, self._exports = self.folder / "data", self.folder / "exports"
        self._cluster = Cluster(plane.kubeconfig, folder, plane)
        environment = {**os.environ, "PATH": f"{NODE_PATH}:{os.environ['PATH']}", "NFS_ROOT": str(self._exports)}
        containerd = ["containerd", f"--config={self.folder / 'containerd.toml'}"]
        kubelet = [
            str(plane.binaries / "kubelet"), f"--config={self.folder / 'kubelet.json'}", f"--hostname-override={NAME}",
            f"--kubeconfig={plane.folder / 'kubelet.kubeconfig'}", f"--root-dir={self.folder / 'kubelet'}",
            f"--node-ip={ADDRESS}",
        ]  # fmt: skip
        self.containerd = Process("containerd", containerd, plane.logs / "containerd.log")
        self.kubelet = Process("kubelet", kubelet, plane.logs / "kubelet.log", environment)

    def __enter__(self) -> Node:
        try:
            self._configure()
            self._imported = self._kept_images()
            self._start_containerd()
            pause, busybox = self.folder / "pause.tar", self.folder / "busybox.tar"
            images.make_pause(pause, self.plane.binaries / "pause")
            found = sandbox.busybox()
            assert found is not None
            images.make_busybox(busybox, found)
            self.import_image(pause)
            self.import_image(busybox)
            self.start_kubelet()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """The sandbox takes the mounts with it; containers are removed here, so that the kept images are without them."""
        self.kubelet.kill()
        if self.containerd.alive():
            for task in self._ctr("tasks", "ls", "-q").split():
                self._ctr("tasks", "delete", "--force", task, check=False)
            containers = self._ctr("containers", "ls", "-q").split()
            if containers:
                self._ctr("containers", "delete", *containers, check=False)
            left = self._ctr("containers", "ls", "-q").split()
            # ending a lease this way is how one asks for the garbage collection, and waits for it
            self._ctr("leases", "create", "--id=collect", check=False)
            self._ctr("leases", "delete", "--sync", "collect", check=False)
            self.containerd.stop()
            if not left:
                self._tidy.write_text(json.dumps(self._imported))

    def kill_kubelet(self) -> None:
        self.kubelet.kill()

    def start_kubelet(self) -> None:
        self.kubelet.start()
        self.kubelet.wait_until(self._ready, 60)

    def kill(self) -> None:
        """SIGKILL for the kubelet, containerd, and every container: what they ran is gone, and nothing of the node answers."""
        self.kubelet.kill()
        self.containerd.kill()
        # In these namespaces nobody else has containers.
        parents = {pid: parent for pid, parent, _ in _processes()}
        shims = {pid for pid, _, name in _processes() if name.startswith("containerd-shim")}
        for pid in sorted(parents):
            above = pid
            while above and above not in shims:
                above = parents.get(above, 0)
            if above:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def start(self) -> None:
        """As after a boot; returns when the node is ready. Nothing to do if it runs."""
        if not self.containerd.alive():
            self._start_containerd()
        if not self.kubelet.alive():
            self.start_kubelet()

    def _start_containerd(self) -> None:
        self.containerd.start()
        # It says its own version also where nobody answers.
        self.containerd.wait_until(lambda: "Server:" in self._ctr("version", check=False), 30)

    def import_image(self, archive: Path) -> None:
        """Nothing to do where the same archive was imported by an earlier node."""
        with open(archive, "rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        if self._imported.get(archive.name) != digest:
            self._ctr("images", "import", "--snapshotter=overlayfs", str(archive))
            self._imported[archive.name] = digest

    def has_image(self, name: str) -> bool:
        """``name`` with its tag."""
        return name in self._ctr("images", "ls", "-q").split()

    def _kept_images(self) -> dict[str, str]:
        """What an earlier node imported and left in order; one that was killed left containers too, so all goes."""
        if not self._tidy.exists():
            shutil.rmtree(self.images, ignore_errors=True)
            return {}
        kept = dict(json.loads(self._tidy.read_text()))
        self._tidy.unlink()
        return kept

    def export(self, server: str, path: str) -> Path:
        """Made if need be, and writable by everybody, as an export would be."""
        folder = self._exports / server / path.strip("/")
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
        return folder

    def containers(self) -> dict[str, dict[str, Any]]:
        """Those that run, without the pods' pause containers."""
        running = {}
        for line in self._ctr("tasks", "ls").splitlines()[1:]:
            identity, pid, status = line.split()
            if status != "RUNNING":
                continue
            labels = json.loads(self._ctr("containers", "info", identity))["Labels"]
            if labels.get("io.cri-containerd.kind") == "container":
                running[identity] = {
                    "pid": int(pid),
                    "name": labels["io.kubernetes.container.name"],
                    "pod": labels["io.kubernetes.pod.name"],
                    "namespace": labels["io.kubernetes.pod.namespace"],
                }
        return running

    def _ready(self) -> bool:
        """The node takes pods, and its kubelet knows those that it has: what the server tells may be from before a restart."""
        ask = self._cluster.kubectl
        try:
            known = {
                pod["metadata"]["uid"]
                for pod in json.loads(ask("get", "--raw", f"/api/v1/nodes/{NAME}/proxy/pods"))["items"] or []
            }
            node = json.loads(ask("get", "node", NAME, "-o", "json"))
            pods = json.loads(ask("get", "pods", "-A", f"--field-selector=spec.nodeName={NAME}", "-o", "json"))["items"]
        except KubectlFailed:
            return False
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))
        wanted = {pod["metadata"]["uid"] for pod in pods if "deletionTimestamp" not in pod["metadata"]}
        return ready and not node["spec"].get("taints") and wanted <= known

    def _ctr(self, *arguments: str, check: bool = True) -> str:
        command = ["ctr", f"--address={self.socket}", "--namespace=k8s.io", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=check).stdout

    def _configure(self) -> None:
        for folder in (self.folder, self.data, self._exports, self.folder / "cni"):
            folder.mkdir(parents=True, exist_ok=True)
        # every folder above the data must let the pods' users through
        self.folder.chmod(0o755)
        self.folder.parent.chmod(0o755)
        authority = self.plane.authority
        certificate, key = authority.issue("kubelet", ADDRESS, NAME, common_name=f"system:node:{NAME}", group="system:nodes")
        self.plane.write_client("kubelet", certificate, key)
        (self.folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        (self.folder / "containerd.toml").write_text(self._containerd_settings())
        network = {
            "type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "hairpinMode": True,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": PODS}]], "routes": [{"dst": f"{ADDRESS}/32"}]},
        }  # fmt: skip
        networks = {"cniVersion": "1.0.0", "name": "test", "plugins": [network]}
        (self.folder / "cni" / "10-test.conflist").write_text(json.dumps(networks))
        settings = self._kubelet_settings(str(authority.file), str(certificate), str(key))
        (self.folder / "kubelet.json").write_text(json.dumps(settings))

    def _containerd_settings(self) -> str:
        return f"""
version = 2
root = "{self.images}"
state = "{self.folder}/containerd-state"
[grpc]
  address = "{self.socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{images.PAUSE}"
  # without CAP_SYS_RESOURCE runc cannot go below its own score, and no sandbox would start
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI}"
    conf_dir = "{self.folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""

    def _kubelet_settings(self, authority: str, certificate: str, key: str) -> dict[str, Any]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": ADDRESS,
            "healthzBindAddress": "127.0.0.1",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": authority},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": certificate,
            "tlsPrivateKeyFile": key,
            "containerRuntimeEndpoint": f"unix://{self.socket}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": self.cgroup,
            "failCgroupV1": False,
            "failSwapOn": False,
            "enforceNodeAllocatable": [],
            "makeIPTablesUtilChains": False,
            "resolvConf": str(self.folder / "resolv.conf"),
            "podLogsDir": str(self.folder / "pod-logs"),
            "volumePluginDir": str(self.folder / "volume-plugins"),
            # imported images cannot be pulled again
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "1%",
                "imagefs.available": "1%",
                "nodefs.inodesFree": "1%",
            },
            "syncFrequency": "10s",
            "nodeStatusUpdateFrequency": "5s",
        }


def _processes() -> list[tuple[int, int, str]]:
    """Of each process its id, its parent's, and its name, as far as the kernel keeps that: 15 characters."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            head, _, rest = path.read_text().rpartition(")")
            found.append((int(path.parent.name), int(rest.split()[1]), head.partition("(")[2]))
    return found


def main(command: list[str]) -> int:
    if "CRONSEMBLE_TEST_NODE" not in os.environ:
        print("node: run this inside the sandbox: python -m cluster.sandbox python -m cluster.node", file=sys.stderr)
        return 64
    with running_node() as node:
        path = f"{node.plane.binaries}:{os.environ['PATH']}"
        env = {**os.environ, "KUBECONFIG": str(node.plane.kubeconfig), "PATH": path}
        try:
            return subprocess.run(command or [os.environ.get("SHELL", "/bin/sh")], env=env, check=False).returncode
        except KeyboardInterrupt:
            return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
