"""The keys of a configuration file with types, defaults and descriptions: the one source of the schema.

Annotations are values here, not postponed: to evaluate their text takes longer than to read a file.
"""

import re
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from cronjobs.objects import quantities
from jobs.contract import LOG_LIMIT
from scheduler.times import parse_duration

MIN_LOG_LIMIT = 100_000
"""Bytes of output that a try keeps at least: what a reason and its traceback need."""
BACKENDS = {"tensorflow": "keras3", "jax": "keras3", "torch": "keras3", "theano": "legacy", "cntk": "legacy"}


class Duration(int):
    """Seconds, written as a number and its unit."""

    @classmethod
    def read(cls, value: object) -> "Duration":
        """Seconds of a duration such as 90s, 10m, 36h or 2d; raises ValueError."""
        return cls(parse_duration(value if isinstance(value, str) else ""))


class OutputSize(int):
    """Bytes of output, written as a number and its unit."""

    PATTERN = "[1-9][0-9]*(k|M|G|Ki|Mi|Gi)"

    @classmethod
    def read(cls, value: object) -> "OutputSize":
        """The bytes of a size such as 500k, 100M or 1Gi; raises ValueError."""
        if not isinstance(value, str) or not re.fullmatch(cls.PATTERN, value):
            raise ValueError("must be a number and its unit, k, M, G, Ki, Mi or Gi: type e.g. 100M")
        size = cls(quantities.parse(value))
        if size < MIN_LOG_LIMIT:
            raise ValueError(f"at least {MIN_LOG_LIMIT // 1000}k is needed")
        return size


TEXT_KINDS = (Duration, OutputSize)
"""The kinds of numbers that are written as text."""


def duration_default(text: str) -> Any:
    """A default of that duration; the schema's own wants it as text."""
    return field(default_factory=lambda: Duration.read(text))


class Section(Struct, kw_only=True, forbid_unknown_fields=True):
    """A mapping of the file: its keys, and no others."""


class ResourcesKeys(Section):
    """What the containers of a task request, and are limited to."""

    cpu: Annotated[int | float | str, Meta(description="CPUs, e.g. 2 or 1500m")] = 1
    memory: Annotated[int | str, Meta(description="memory, e.g. 4Gi (on a cluster)")] = "2Gi"
    tmp: Annotated[int | str, Meta(description="size of /tmp, e.g. 10Gi (on a cluster)")] = "2Gi"
    gpu: Annotated[int, Meta(ge=0, description="GPUs of the training, or of the ensemble's combining")] = 0


class HistoryLimitsKeys(Section):
    """How many finished Jobs of a CronJob Kubernetes keeps."""

    successful: Annotated[int, Meta(ge=0, description="finished Jobs that succeeded")] = 3
    failed: Annotated[int, Meta(ge=0, description="finished Jobs that failed")] = 20


class SecretReferenceKeys(Section):
    """A key of a Secret."""

    secret: Annotated[str, Meta(description="the Secret's name (on a cluster; on one machine your own environment's)")]
    key: Annotated[str, Meta(description="the key inside the Secret")]


class GateKeys(Section):
    """What a result must be to be accepted: a limit or several."""

    min_accuracy: Annotated[Annotated[float, Meta(ge=0, le=1)] | None, Meta(description="the lowest accuracy, e.g. 0.9")] = None
    max_drop: Annotated[
        Annotated[float, Meta(gt=0, le=1)] | None,
        Meta(description="how much lower than the last accepted one's the accuracy may be, e.g. 0.03"),
    ] = None
    max_loss: Annotated[Annotated[float, Meta(gt=0)] | None, Meta(description="the highest log loss, e.g. 0.5")] = None


class TaskKeys(Section):
    """What every task may say: the keys of members and ensemble, and of `defaults`."""

    schedule: Annotated[str | None, Meta(description="when it fires: five cron fields, as Kubernetes reads them")] = None
    timezone: Annotated[str | None, Meta(description="the schedule's zone; the experiment's by default")] = None
    suspend: Annotated[bool | None, Meta(description="whether the schedule is suspended")] = None
    concurrency: Annotated[
        Literal["forbid", "allow", "replace"], Meta(description="what happens at a slot while the run before it still runs")
    ] = "forbid"
    starting_deadline: Annotated[
        Duration, Meta(description="how late a run may still start", extra_json_schema={"default": "1h"})
    ] = duration_default("1h")
    retries: Annotated[Annotated[int, Meta(ge=0, le=20)], Meta(description="further tries of a run that failed")] = 1
    deadline: Annotated[
        Duration, Meta(description="how long a run may take, with all its tries", extra_json_schema={"default": "6h"})
    ] = duration_default("6h")
    log_limit: Annotated[
        OutputSize,
        Meta(
            description="how much of its output a try keeps: half of the beginning, half of the end",
            extra_json_schema={"default": "100M"},
        ),
    ] = field(default_factory=lambda: OutputSize(LOG_LIMIT))
    threads: Annotated[
        Annotated[int, Meta(ge=1, le=1024)] | None,
        Meta(description="threads that a framework uses; the CPUs, rounded up, by default"),
    ] = None
    resources: Annotated[ResourcesKeys, Meta(description="what the containers request, and are limited to")] = field(
        default_factory=ResourcesKeys
    )
    gate: Annotated[
        GateKeys | None, Meta(description="what a result must be to be accepted; in `defaults` it is for all members")
    ] = None
    node_selector: Annotated[dict[str, str], Meta(description="labels a node must have (on a cluster)")] = {}
    tolerations: Annotated[list[dict[str, Any]], Meta(description="taints a pod tolerates (on a cluster)")] = []
    affinity: Annotated[dict[str, Any], Meta(description="a pod's affinity, as Kubernetes writes it (on a cluster)")] = {}
    priority_class: Annotated[str | None, Meta(description="the pods' priority class (on a cluster)")] = None
    queue: Annotated[str | None, Meta(description="the Kueue queue of the Jobs (on a cluster)")] = None
    env: Annotated[
        dict[str, str | SecretReferenceKeys], Meta(description="additional environment variables: text, or a key of a Secret")
    ] = {}
    labels: Annotated[dict[str, str], Meta(description="additional labels (on a cluster)")] = {}
    annotations: Annotated[dict[str, str], Meta(description="additional annotations of the pods (on a cluster)")] = {}
    history_limits: Annotated[HistoryLimitsKeys, Meta(description="finished Jobs that Kubernetes keeps")] = field(
        default_factory=HistoryLimitsKeys
    )
    ttl: Annotated[
        Duration | None, Meta(description="how long Kubernetes keeps a finished Job; by history_limits alone by default")
    ] = None


class BackendKeys(TaskKeys):
    """A member: what it trains, and when."""

    backend: Annotated[
        Literal["tensorflow", "jax", "torch", "theano", "cntk"] | None,
        Meta(description="the Keras backend; the member's name by default"),
    ] = None
    model: Annotated[str | None, Meta(description="cnn, mlp or file.py:function; the experiment's by default")] = None
    hyperparameters: Annotated[dict[str, Any], Meta(description="this member's own; they override")] = {}
    data_format: Annotated[
        Literal["channels_first", "channels_last"] | None,
        Meta(description="channels_first for the cnn on theano and cntk by default, else channels_last"),
    ] = None


class EnsembleKeys(TaskKeys):
    """How the members' predictions are combined, and when."""

    method: Annotated[
        str,
        Meta(
            description="how members are combined: accuracy, uniform, calibrated or file.py:function",
            extra_json_schema={"anyOf": [{"enum": ["accuracy", "uniform", "calibrated"]}, {"pattern": r"\.py:."}]},
        ),
    ] = "accuracy"
    quorum: Annotated[Annotated[int, Meta(ge=1)], Meta(description="members that must have predicted")] = 1
    max_age: Annotated[Duration | None, Meta(description="how much older than the ensemble's slot a model's slot may be")] = None
    wait: Annotated[
        Duration | None,
        Meta(description="how long after its time it waits for members that have not ended"),
    ] = None
    timeout: Annotated[Duration, Meta(description="for one member's prediction", extra_json_schema={"default": "10m"})] = (
        duration_default("10m")
    )


class WatchLimitsKeys(Section):
    """What the watch's container may use; it requests a fraction of that."""

    cpu: Annotated[int | float | str, Meta(description="CPUs, e.g. 1 or 500m")] = 1
    memory: Annotated[int | str, Meta(description="memory, e.g. 1Gi")] = "1Gi"


class WatchKeys(Section):
    """When the experiment is looked after, from its store alone: notices, the report page and the metrics."""

    schedule: Annotated[str, Meta(description="when it looks: five cron fields, as Kubernetes reads them")] = "*/10 * * * *"
    timezone: Annotated[str | None, Meta(description="the schedule's zone; the experiment's by default")] = None
    suspend: Annotated[bool | None, Meta(description="whether the schedule is suspended")] = None
    deadline: Annotated[Duration, Meta(description="how long a look may take", extra_json_schema={"default": "5m"})] = (
        duration_default("5m")
    )
    limits: Annotated[WatchLimitsKeys, Meta(description="what its container may use")] = field(default_factory=WatchLimitsKeys)
    node_selector: Annotated[
        dict[str, str] | None, Meta(description="labels a node must have; as the ensemble's pods by default")
    ] = None
    tolerations: Annotated[
        list[dict[str, Any]] | None, Meta(description="taints its pods tolerate; as the ensemble's by default")
    ] = None
    affinity: Annotated[dict[str, Any] | None, Meta(description="its pods' affinity; as the ensemble's by default")] = None
    priority_class: Annotated[str | None, Meta(description="its pods' priority class; the ensemble's by default")] = None
    labels: Annotated[dict[str, str] | None, Meta(description="additional labels; as the ensemble's by default")] = None
    annotations: Annotated[
        dict[str, str] | None, Meta(description="additional annotations of its pods; as the ensemble's by default")
    ] = None


class DataKeys(Section):
    """What is trained on and predicted."""

    dataset: Annotated[str, Meta(description="digits, cifar10, mnist, FILE.npz or file.py:function")] = "digits"
    predict: Annotated[str, Meta(description="holdout (a part of the test set) or FILE.npz, {date} allowed")] = "holdout"
    holdout: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="how many test items `predict: holdout` predicts; 100 by default, or half of a smaller test set"),
    ] = None
    stratified: Annotated[bool, Meta(description="whether the tool's own splits keep the classes' proportions")] = False
    refresh: Annotated[Literal["daily", "each_run"], Meta(description="how often the data is read again")] = "daily"


class NfsKeys(Section):
    """A folder that an NFS server exports."""

    server: Annotated[str, Meta(description="the NFS server")]
    path: Annotated[str, Meta(description="the exported path")]


class StoreKeys(Section):
    """A volume that pods mount as the store: one of these."""

    claim: Annotated[str | None, Meta(description="a PersistentVolumeClaim (on a cluster)")] = None
    nfs: Annotated[NfsKeys | None, Meta(description="an NFS export (on a cluster)")] = None
    host_path: Annotated[str | None, Meta(description="a folder of the node (on a cluster)")] = None


class RuntimeKeys(Section):
    """What a runtime is: an interpreter or a container image."""

    python: Annotated[str | None, Meta(description="the path of a Python interpreter")] = None
    image: Annotated[str | None, Meta(description="a container image")] = None


class Keras3Keys(RuntimeKeys):
    """What the keras3 runtime is: it may also be the tool's virtual environment with packages of one's own."""

    venv: Annotated[
        list[str] | str | None,
        Meta(description="packages that the virtual environment has beside the frameworks: a list, or a requirements file"),
    ] = None


class RuntimesKeys(Section):
    """Where the backends run."""

    keras3: Annotated[
        Literal["venv"] | Keras3Keys, Meta(description="tensorflow, jax, torch: venv, packages for it, python or image")
    ] = "venv"
    legacy: Annotated[RuntimeKeys, Meta(description="theano, cntk: an image or an interpreter")] = field(
        default_factory=lambda: RuntimeKeys(image="localhost/cronsemble-legacy")
    )


class ImagesKeys(Section):
    """The container images by runtime, and the tool's own."""

    keras3: Annotated[str | None, Meta(description="the image on a cluster; the runtime's by default")] = None
    legacy: Annotated[str | None, Meta(description="the image on a cluster; the runtime's by default")] = None
    tool: Annotated[str | None, Meta(description="the image of the watch; localhost/cronsemble-tool by default")] = None


class ClusterKeys(Section):
    """Where and as whom pods run."""

    namespace: Annotated[str, Meta(description="the Kubernetes namespace")] = "default"
    images: Annotated[ImagesKeys, Meta(description="images by runtime, where the runtimes' own are for this machine")] = field(
        default_factory=ImagesKeys
    )
    pull_policy: Annotated[
        Literal["always", "if_not_present", "never"] | None,
        Meta(description="when a node pulls an image; Kubernetes' own rule by default"),
    ] = None
    pull_secrets: Annotated[list[str], Meta(description="Secrets for the images' registry")] = []
    service_account: Annotated[str | None, Meta(description="the pods' service account; its token is never mounted")] = None
    user: Annotated[int, Meta(ge=1, description="the numeric user ID that pods run and write as")] = 1000
    group: Annotated[int, Meta(ge=1, description="the numeric group ID that pods run and write as")] = 1000
    fs_group: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="the group ID of the volume; the group by default")
    ] = None
    gpu_resource: Annotated[str, Meta(description="the resource name of a GPU on the nodes")] = "nvidia.com/gpu"


class MailKeys(Section):
    """How mail is sent, by SMTP."""

    host: Annotated[str, Meta(description="the mail server")]
    sender: Annotated[str, Meta(description="the address that mail comes from")]
    to: Annotated[list[str], Meta(min_length=1, description="the addresses that it goes to")]
    port: Annotated[
        Annotated[int, Meta(ge=1, le=65535)] | None,
        Meta(description="its port; 587 by default, 465 with security: tls, 25 with security: none"),
    ] = None
    security: Annotated[
        Literal["starttls", "tls", "none"], Meta(description="how the connection is encrypted; none takes no password")
    ] = "starttls"
    user: Annotated[str | None, Meta(description="who logs in, with password")] = None
    password: Annotated[str | SecretReferenceKeys | None, Meta(description="a key of a Secret; never the password itself")] = None


class ChannelKeys(Section):
    """Where messages go: one of webhook, slack, mail, alertmanager, command and apprise."""

    webhook: Annotated[str | SecretReferenceKeys | None, Meta(description="an address that takes JSON by POST")] = None
    slack: Annotated[
        str | SecretReferenceKeys | None,
        Meta(description="an incoming webhook of Slack, or of what takes the same: a key of a Secret"),
    ] = None
    mail: Annotated[MailKeys | None, Meta(description="mail, by SMTP")] = None
    alertmanager: Annotated[
        str | SecretReferenceKeys | None, Meta(description="Prometheus' Alertmanager, e.g. http://alertmanager:9093")
    ] = None
    command: Annotated[
        list[str] | None, Meta(description="a program of this machine and its arguments; it gets JSON on its standard input")
    ] = None
    apprise: Annotated[
        str | SecretReferenceKeys | None, Meta(description="addresses of Apprise (an extra of the package): a key of a Secret")
    ] = None
    headers: Annotated[
        dict[str, str | SecretReferenceKeys], Meta(description="additional headers of a request: text, or a key of a Secret")
    ] = {}
    ca_file: Annotated[
        str | None, Meta(description="certificates of the authorities that are trusted, instead of the system's")
    ] = None
    events: Annotated[
        list[
            Literal[
                "failed", "died", "interrupted", "no quorum", "missed", "skipped", "refused", "degraded", "store",
                "configuration", "resolved", "well",
            ]
        ],
        Meta(description="what this channel is told of; everything by default"),
    ] = []  # fmt: skip
    timeout: Annotated[Duration, Meta(description="for one delivery", extra_json_schema={"default": "30s"})] = duration_default(
        "30s"
    )


class NotifyKeys(Section):
    """Who is told when something is wrong."""

    channels: Annotated[dict[str, ChannelKeys], Meta(min_length=1, description="where messages go, by name")]
    link: Annotated[
        str | None,
        Meta(description="an address for each message: {experiment}, {task}, {run}, {slot} and {date} are filled in"),
    ] = None


class HeartbeatKeys(Section):
    """A server of Healthchecks that expects each scheduled run, and tells somebody where one does not come."""

    server: Annotated[str, Meta(description="a Healthchecks server, e.g. https://hc.example.org")]
    ping_url: Annotated[str | None, Meta(description="where runs send pings; the server's own place for them by default")] = None
    ping_key: Annotated[
        SecretReferenceKeys | None,
        Meta(description="the project's ping key: a key of a Secret; on one machine the variable of the key's name"),
    ] = None


class FileKeys(Section, kw_only=True):
    """A configuration file."""

    experiment: Annotated[str, Meta(description="the experiment's name: a DNS label")]
    timezone: Annotated[str, Meta(description="an IANA zone")] = "UTC"
    store: Annotated[str | StoreKeys, Meta(description="the folder that keeps everything, or a volume")] = "./store"
    data: Annotated[DataKeys, Meta(description="what is trained on and predicted")] = field(default_factory=DataKeys)
    code: Annotated[
        list[str], Meta(description="files and folders of user code for a snapshot; the functions' folders by default")
    ] = []
    model: Annotated[str, Meta(description="cnn, mlp or file.py:function")] = "cnn"
    hyperparameters: Annotated[dict[str, Any], Meta(description="for all members")] = {}
    defaults: Annotated[dict[str, Any], Meta(description="keys of a task, for all tasks")] = {}
    backends: Annotated[dict[str, BackendKeys | None], Meta(min_length=1, description="the members, by name")]
    ensemble: Annotated[EnsembleKeys | None, Meta(description="the ensemble; without this key there is none")] = None
    watch: Annotated[WatchKeys | None, Meta(description="when it is looked after: a CronJob of its own on a cluster")] = None
    runtimes: Annotated[RuntimesKeys, Meta(description="where backends run")] = field(default_factory=RuntimesKeys)
    cluster: Annotated[ClusterKeys, Meta(description="where `sync` puts the tasks")] = field(default_factory=ClusterKeys)
    notify: Annotated[NotifyKeys | None, Meta(description="who is told when something is wrong; nobody by default")] = None
    heartbeat: Annotated[HeartbeatKeys | None, Meta(description="the server that notices where no run came")] = None
