"""A run as Kubernetes objects: plain data, in no namespace.

``ralo launch kubernetes`` prints them; the user applies them. The orchestrator is one pod with a
volume, behind a service. Workers know its name and their role's token, and keep nothing.
"""

from collections.abc import Sequence
from typing import Any

import attrs

from ralo.launch.plan import Process
from ralo.launch.toml_text import to_toml
from ralo_core.access import ROLES, SAMPLER, TOKEN_ENV, TOKENS_FILE, TRAINER
from ralo_core.config import Config, LaunchSettings, RunSettings
from ralo_core.config.launching import JobSettings, TrainerJobs
from ralo_core.errors import ConfigError

Object = dict[str, Any]

PORT, MEETING_PORT = 59888, 29400
RUNS, CONFIG, CACHE = "/runs", "/config", "/cache"
GRACE_SECONDS = 90
"""A worker that is told to end hands in what is finished, then its engine or its ranks stop."""

_USER = 1000


def documents(name: str, recipe: str, config: Config) -> list[Object]:
    """Return the objects of the run; `name` begins the name of each. Raises `ConfigError` without
    ``run.model``: nothing of this machine is in the cluster."""
    if not config.section(RunSettings).model:
        raise ConfigError(["run.model is not set: name a path in the image or on its volume"])
    settings = config.section(LaunchSettings)
    cluster = Cluster(name, settings)
    files = {"config.toml": to_toml(config)}
    return [
        {**_head("v1", "ConfigMap", f"{name}-config"), "data": files},
        cluster.volume(),
        cluster.service(name, "orchestrator", PORT),
        cluster.orchestrator(recipe),
        *cluster.samplers(),
        *(part for index in range(settings.trainers.count) for part in cluster.trainer(index)),
    ]


@attrs.frozen
class Cluster:
    """The objects of the run `name`."""

    name: str
    settings: LaunchSettings

    def volume(self) -> Object:
        """Return the claim for the disk of the run directory."""
        cluster = self.settings.kubernetes
        spec: Object = {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": f"{cluster.storage_gb}G"}},
        }
        if cluster.storage_class:
            spec["storageClassName"] = cluster.storage_class
        return {**_head("v1", "PersistentVolumeClaim", f"{self.name}-run"), "spec": spec}

    def service(self, name: str, part: str, port: int, *, headless: bool = False) -> Object:
        """Return the service in front of `part`; a headless one names each of its pods."""
        spec: Object = {"selector": self._labels(part), "ports": [{"name": "ralo", "port": port}]}
        if headless:
            # Ranks look for each other before any of them is ready.
            spec |= {"clusterIP": "None", "publishNotReadyAddresses": True}
        return {**_head("v1", "Service", name), "spec": spec}

    def orchestrator(self, recipe: str) -> Object:
        """Return the one pod that has the run directory."""
        run_dir = f"{RUNS}/{self.name}"
        process = Process(
            name="orchestrator",
            arguments=[
                *("serve", "--run-dir", run_dir, "--config", f"{CONFIG}/config.toml"),
                *("--set", "server.host=0.0.0.0", "--set", f"server.port={PORT}"),
                *("--hide-tokens", *(("--plugin", recipe) if recipe else ())),
            ],
        )
        container = self._container(process, self.settings.orchestrator)
        container["ports"] = [{"name": "ralo", "containerPort": PORT}]
        container["readinessProbe"] = {
            "httpGet": {"path": "/health", "port": "ralo"},
            "periodSeconds": 5,
        }
        mounts = [
            {"name": "run", "mountPath": RUNS},
            {"name": "config", "mountPath": CONFIG, "readOnly": True},
        ]
        container["volumeMounts"] += mounts
        pod = self._pod(container)
        pod["initContainers"] = [self._tokens(run_dir)]
        pod["volumes"] += [
            {"name": "run", "persistentVolumeClaim": {"claimName": f"{self.name}-run"}},
            {"name": "config", "configMap": {"name": f"{self.name}-config"}},
        ]
        return self._set_of_pods("orchestrator", pod, 1, self.name)

    def samplers(self) -> Sequence[Object]:
        """Return the samplers, all alike."""
        jobs = self.settings.samplers
        if not jobs.count:
            return []
        process = Process(name="sampler", arguments=["sample", "--server", self._url])
        container = self._container(process, jobs, SAMPLER)
        part = "sampler"
        return [
            {
                **_head("apps/v1", "Deployment", f"{self.name}-{part}"),
                "spec": {
                    "replicas": jobs.count,
                    "selector": {"matchLabels": self._labels(part)},
                    "template": self._template(part, self._pod(container)),
                },
            }
        ]

    def trainer(self, index: int) -> Sequence[Object]:
        """Return trainer `index`: a pod for each of its machines, which find each other by name."""
        jobs, part = self.settings.trainers, f"trainer-{index}"
        name = f"{self.name}-{part}"
        arguments = ["train", "--server", self._url, *_rank_options(jobs, name)]
        container = self._container(Process(name="trainer", arguments=arguments), jobs, TRAINER)
        return [
            self.service(name, part, MEETING_PORT, headless=True),
            self._set_of_pods(part, self._pod(container), jobs.nodes, name),
        ]

    @property
    def _url(self) -> str:
        return f"http://{self.name}:{PORT}"

    def _labels(self, part: str) -> dict[str, str]:
        return {"app.kubernetes.io/instance": self.name, "app.kubernetes.io/component": part}

    def _set_of_pods(self, part: str, pod: Object, replicas: int, service: str) -> Object:
        return {
            **_head("apps/v1", "StatefulSet", f"{self.name}-{part}"),
            "spec": {
                "replicas": replicas,
                "serviceName": service,
                "podManagementPolicy": "Parallel",
                "selector": {"matchLabels": self._labels(part)},
                "template": self._template(part, pod),
            },
        }

    def _template(self, part: str, pod: Object) -> Object:
        return {"metadata": {"labels": self._labels(part)}, "spec": pod}

    def _pod(self, container: Object) -> Object:
        shared = {"medium": "Memory"}  # what ranks and vLLM's processes talk through
        return {
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "securityContext": {"runAsNonRoot": True, "runAsUser": _USER, "fsGroup": _USER},
            "containers": [container],
            "volumes": [
                {"name": "cache", "emptyDir": {}},
                {"name": "shm", "emptyDir": shared},
            ],
        }

    def _container(self, process: Process, job: JobSettings, role: str = "") -> Object:
        given = {"RALO_CACHE": CACHE, **job.environment}
        variables: list[Object] = [{"name": key, "value": text} for key, text in given.items()]
        if role:
            variables.append({"name": TOKEN_ENV, "valueFrom": self._token(role)})
        return {
            "name": process.name,
            "image": self.settings.kubernetes.image,
            "command": ["ralo", *process.arguments],
            "env": variables,
            "resources": _resources(job),
            "volumeMounts": [
                {"name": "cache", "mountPath": CACHE},
                {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 (in the container)
            ],
        }

    def _token(self, role: str) -> Object:
        return {"secretKeyRef": {"name": self.settings.kubernetes.secret, "key": role}}

    def _tokens(self, run_dir: str) -> Object:
        """Return the container that puts the secret's tokens where the orchestrator reads them."""
        path = f"{run_dir}/{TOKENS_FILE}"
        template = "{" + ", ".join(f'"{role}": "%s"' for role in ROLES) + "}"
        values = " ".join(f'"${role}"' for role in ROLES)
        script = f"umask 077; mkdir -p {run_dir}; printf '{template}' {values} > {path}\n"
        return {
            "name": "tokens",
            "image": self.settings.kubernetes.image,
            "command": ["sh", "-c", script],
            "env": [{"name": role, "valueFrom": self._token(role)} for role in ROLES],
            "volumeMounts": [{"name": "run", "mountPath": RUNS}],
        }


def _head(version: str, kind: str, name: str) -> Object:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}}


def _resources(job: JobSettings) -> Object:
    processes = job.processes if isinstance(job, TrainerJobs) else 1
    limits: Object = {"cpu": job.cpus * processes}
    if job.memory_gb:
        limits["memory"] = f"{job.memory_gb}G"
    if job.gpus:
        limits["nvidia.com/gpu"] = job.gpus
    return {"limits": limits}


def _rank_options(jobs: TrainerJobs, name: str) -> list[str]:
    if jobs.nodes == 1:
        return ["--nproc", str(jobs.processes)]
    meeting = f"{name}-0.{name}:{MEETING_PORT}"
    return [
        *("--nproc", str(jobs.processes), "--nnodes", str(jobs.nodes)),
        *("--rdzv-endpoint", meeting, "--rdzv-id", name),
    ]
