"""One certificate authority for a test cluster, and the kubeconfig files of those whom it certifies."""

from __future__ import annotations

import json
from pathlib import Path

import trustme


class Authority:
    """Writes everything into ``folder``; certificates and keys are P-256."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._authority = folder, trustme.CA()
        self.file = folder / "ca.crt"
        self._authority.cert_pem.write_to_path(str(self.file))

    def issue(self, name: str, *hosts: str, common_name: str | None = None, group: str | None = None) -> tuple[Path, Path]:
        """A certificate and its key; to Kubernetes the common name is the user and the organisation the group."""
        # Go refuses a critical extension without names, so everybody gets one
        leaf = self._authority.issue_cert(
            *(hosts or (name,)), common_name=common_name or name, organization_name=group or "nobody"
        )
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        leaf.cert_chain_pems[0].write_to_path(str(certificate))
        key.touch(mode=0o600)
        leaf.private_key_pem.write_to_path(str(key))
        return certificate, key


def write_kubeconfig(path: Path, server: str, authority: Path, user: dict[str, str], namespace: str = "default") -> Path:
    """``user`` as kubeconfig has it: ``client-certificate`` and ``client-key``, or ``token``. (JSON is YAML.)"""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": str(authority)}}],
        "users": [{"name": path.stem, "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": path.stem, "namespace": namespace}}],
        "current-context": "test",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path
