"""A control plane of our own: etcd, kube-apiserver, kube-controller-manager, on loopback, for as long as a block runs.

    with ControlPlane(folder) as plane:      # 3 to 4 s until a CronJob would fire
        plane.kubeconfig                     # Path: system:masters
        plane.client_kubeconfig("eve", "readers")   # Path: a client certificate of user eve in group readers
        plane.kill_api_server()              # SIGKILL; etcd and the controllers stay
        plane.start_api_server()             # same port, same state; returns when it is ready
        plane.kill_controllers(), plane.start_controllers()     # no CronJob fires and no Job gets a pod between them
        plane.logs                           # Path: a file per process
        plane.audit                          # Path: a JSON line per request, but for those of Kubernetes itself

`python -m cluster.control_plane [FOLDER]` (in ``tests/``) keeps one running until Ctrl-C.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import ssl
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

from cluster import binaries
from cluster.certificates import Authority, write_kubeconfig
from cluster.processes import NotReady, Process, wait_until

# What CronJobs, pods and volumes need, and nothing else: fewer controllers start sooner.
CONTROLLERS = (
    "cronjob-controller", "job-controller", "ttl-after-finished-controller", "garbage-collector-controller",
    "namespace-controller", "serviceaccount-controller", "root-ca-certificate-publisher-controller",
    "pod-garbage-collector-controller", "endpointslice-controller", "resourcequota-controller",
    "node-lifecycle-controller", "taint-eviction-controller",
    "persistentvolume-binder-controller", "persistentvolume-attach-detach-controller",
    "persistentvolumeclaim-protection-controller", "persistentvolume-protection-controller",
    "clusterrole-aggregation-controller",
)  # fmt: skip

# Who asked for what, without the components' own traffic.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "userGroups": ["system:nodes", "system:serviceaccounts:kube-system"]},
        {"level": "None", "users": ["system:apiserver", "system:kube-controller-manager", "system:kube-scheduler"]},
        {"level": "None", "nonResourceURLs": ["/readyz"]},
        {"level": "Metadata"},
    ],
}


class ControlPlane:
    """Started by ``with``. ``address`` is where the API server listens (and must already be on an interface).

    The API server refuses to *advertise* a loopback address, hence ``advertise``: nothing connects to it unless a node does.
    """

    def __init__(
        self,
        folder: Path,
        *,
        address: str = "127.0.0.1",
        advertise: str = "10.250.0.1",
        services: str = "10.251.0.0/24",
        scheduler: bool = False,
    ) -> None:
        self.folder, self.address, self.advertise, self.services = folder.resolve(), address, advertise, services
        self.binaries = binaries.find()
        self.logs = self.folder / "logs"
        self.audit = self.folder / "audit.jsonl"
        self.kubeconfig = self.folder / "admin.kubeconfig"
        self.with_scheduler = scheduler
        self.has_controllers = (self.binaries / "kube-controller-manager").exists()
        self.processes: dict[str, Process] = {}

    def __enter__(self) -> ControlPlane:
        self.logs.mkdir(parents=True, exist_ok=True)
        try:
            for tries_left in (2, 1, 0):
                try:
                    self._start()
                    break
                except NotReady as error:  # another program may have taken a port between our look and our start
                    self.stop()
                    if "address already in use" not in str(error) or not tries_left:
                        raise
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends what was started, by its pid. The state is scrap, so nobody gets time to tidy up."""
        for process in reversed(self.processes.values()):
            process.kill()
        self.processes.clear()
        shutil.rmtree(self.folder / "etcd", ignore_errors=True)  # 128 MB

    def kill_api_server(self) -> None:
        """SIGKILL: connections break in the middle of whatever they carry."""
        self.processes["kube-apiserver"].kill()

    def start_api_server(self) -> None:
        """Again, on the same port and state; returns when it is ready. Nothing to do if it runs."""
        server = self.processes["kube-apiserver"]
        if not server.alive():
            server.start()
        server.wait_until(self._answers, 60)

    def kill_controllers(self) -> None:
        """SIGKILL for the controller manager: no CronJob fires, no Job gets a pod, no deadline passes."""
        self.processes["kube-controller-manager"].kill()

    def start_controllers(self) -> None:
        """Again; they take up what has come meanwhile. Nothing to do if they run."""
        manager = self.processes["kube-controller-manager"]
        if not manager.alive():
            manager.start()

    def client_kubeconfig(self, user: str, group: str | None = None) -> Path:
        """The kubeconfig of a client certificate; the user has no rights but those that it is given."""
        return self.write_client(user, *self.authority.issue(user, group=group))

    def write_client(self, name: str, certificate: Path, key: Path) -> Path:
        """``name``.kubeconfig in the folder."""
        login = {"client-certificate": str(certificate), "client-key": str(key)}
        return write_kubeconfig(self.folder / f"{name}.kubeconfig", self.server, self.authority.file, login)

    def _start(self) -> None:
        self._port, etcd_port, peer_port = free_ports(self.address, 3)
        self.server = f"https://{self.address}:{self._port}"
        self._certify()
        self._add("etcd", *self._etcd(etcd_port, peer_port)).start()
        # etcd comes up within the API server's own patience: no need to wait for it
        self._add("kube-apiserver", *self._api_server(etcd_port))
        self.start_api_server()
        if self.with_scheduler:
            self._add("kube-scheduler", *self._client("kube-scheduler"), "--secure-port=0", "--leader-elect=false").start()
        if self.has_controllers:
            self._add("kube-controller-manager", *self._controller_manager()).start()
            # a service account that nobody else makes shows that they run
            account = "/api/v1/namespaces/default/serviceaccounts/default"
            wait_until(lambda: self.read(account) is not None, 60, "controllers not running", *self.processes.values())

    def _add(self, name: str, *arguments: str) -> Process:
        self.processes[name] = Process(name, [str(self.binaries / name), *arguments], self.logs / f"{name}.log")
        return self.processes[name]

    def _certify(self) -> None:
        self.authority = Authority(self.folder / "pki")
        first_service = self.services.rsplit(".", 1)[0] + ".1"
        names = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
        self.authority.issue("kube-apiserver", "127.0.0.1", self.address, self.advertise, first_service, *names)
        self.authority.issue("service-accounts")
        self.authority.issue("kubelet-client", common_name="kube-apiserver-kubelet-client", group="system:masters")
        # whoever signs for extension servers must not be whoever certifies clients
        Authority(self.folder / "pki" / "front-proxy")
        certificate, key = self.authority.issue("admin", group="system:masters")
        self.write_client("admin", certificate, key)
        self._tls = ssl.create_default_context(cafile=str(self.authority.file))
        self._tls.load_cert_chain(certificate, key)
        for component in ("kube-controller-manager", "kube-scheduler", "kube-proxy"):
            self.write_client(component, *self.authority.issue(component, common_name=f"system:{component}"))

    def _etcd(self, port: int, peer_port: int) -> list[str]:
        client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
        return [
            f"--data-dir={self.folder / 'etcd'}", "--name=test", "--unsafe-no-fsync", "--log-level=warn",
            f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=test={peer}",
        ]  # fmt: skip

    def _api_server(self, etcd_port: int) -> list[str]:
        pki = self.authority.folder
        policy = self.folder / "audit-policy.json"
        policy.write_text(json.dumps(AUDIT_POLICY))
        return [
            f"--etcd-servers=http://127.0.0.1:{etcd_port}",
            f"--bind-address={self.address}", f"--secure-port={self._port}", f"--advertise-address={self.advertise}",
            f"--service-cluster-ip-range={self.services}", "--endpoint-reconciler-type=none",
            "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
            f"--client-ca-file={self.authority.file}",
            f"--tls-cert-file={pki / 'kube-apiserver.crt'}", f"--tls-private-key-file={pki / 'kube-apiserver.key'}",
            f"--requestheader-client-ca-file={pki / 'front-proxy' / 'ca.crt'}",
            "--requestheader-allowed-names=front-proxy-client", "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--kubelet-client-certificate={pki / 'kubelet-client.crt'}", f"--kubelet-client-key={pki / 'kubelet-client.key'}",
            # by default a node is asked by its name, which no DNS knows
            "--kubelet-preferred-address-types=InternalIP", f"--kubelet-certificate-authority={self.authority.file}",
            f"--audit-policy-file={policy}", f"--audit-log-path={self.audit}",
            # without controllers nobody makes the accounts that pods must have
            f"--disable-admission-plugins={'' if self.has_controllers else 'ServiceAccount'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki / 'service-accounts.key'}",
            f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
        ]  # fmt: skip

    def _client(self, component: str) -> list[str]:
        path = self.folder / f"{component}.kubeconfig"
        return [f"--{kind}kubeconfig={path}" for kind in ("", "authentication-", "authorization-")]

    def _controller_manager(self) -> list[str]:
        return [
            *self._client("kube-controller-manager"),
            "--secure-port=0", "--leader-elect=false", f"--controllers={','.join(CONTROLLERS)}",
            # with RBAC a controller has rights only under its own account
            "--use-service-account-credentials=true", "--kube-api-qps=500", "--kube-api-burst=1000",
            f"--root-ca-file={self.authority.file}",
            f"--service-account-private-key-file={self.authority.folder / 'service-accounts.key'}",
            # by default a claim waits for up to 15 s
            "--pvclaimbinder-sync-period=1s",
        ]  # fmt: skip

    def _answers(self) -> bool:
        return self.read("/readyz") == b"ok"

    def read(self, path: str) -> bytes | None:
        """What the API server answers its administrator; None for an error, and where it does not answer."""
        try:
            with urllib.request.urlopen(self.server + path, context=self._tls, timeout=5) as answer:
                return bytes(answer.read())
        except (urllib.error.URLError, OSError):
            return None


def free_ports(address: str, count: int) -> list[int]:
    """Ports that nobody listens on just now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind((address, 0))
        return [listener.getsockname()[1] for listener in sockets]


def main(arguments: list[str]) -> int:
    with contextlib.ExitStack() as stack:
        folder = Path(arguments[0]) if arguments else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        plane = stack.enter_context(ControlPlane(folder))
        print(f"export KUBECONFIG={plane.kubeconfig}", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    return 0


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        sys.exit(main(sys.argv[1:]))
    except (binaries.NoBinaries, NotReady) as failure:
        sys.exit(f"control plane: {failure}")
