"""The kinds of the API that we deal with, and where they are found."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True)
class Kind:
    """A kind of the API: ``batch/v1``, ``CronJob``, ``cronjobs``."""

    version: str
    kind: str
    plural: str

    @property
    def resource(self) -> str:
        """The name that permissions and messages use: ``cronjobs.batch``."""
        group, slash, _ = self.version.partition("/")
        return f"{self.plural}.{group}" if slash else self.plural

    def path(self, namespace: str | None, name: str | None = None) -> str:
        """The URL's path of one object, of those in a namespace, or of all."""
        root = f"/apis/{self.version}" if "/" in self.version else f"/api/{self.version}"
        inside = f"/namespaces/{quote(namespace)}" if namespace else ""
        return f"{root}{inside}/{self.plural}" + (f"/{quote(name)}" if name else "")


CRONJOB = Kind("batch/v1", "CronJob", "cronjobs")
JOB = Kind("batch/v1", "Job", "jobs")
CONFIGMAP = Kind("v1", "ConfigMap", "configmaps")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
POD = Kind("v1", "Pod", "pods")
POD_LOG = Kind("v1", "Pod", "pods/log")
EVENT = Kind("v1", "Event", "events")
POD_EXEC = Kind("v1", "PodExecOptions", "pods/exec")
NAMESPACE = Kind("v1", "Namespace", "namespaces")
ACCESS_REVIEW = Kind("authorization.k8s.io/v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews")
SUBJECT_REVIEW = Kind("authentication.k8s.io/v1", "SelfSubjectReview", "selfsubjectreviews")
KINDS = {kind.kind: kind for kind in (CRONJOB, JOB, CONFIGMAP, LEASE, NAMESPACE)}
