"""Renders the overlays as `kubectl apply -k` would, and takes them apart: what tests of the manifests share."""

from __future__ import annotations

import copy
import functools
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = ("cpu-dev", "single-gpu")
RAY_KINDS = ("RayService", "RayJob")

# One manifest, as YAML gives it.
Document = dict[str, Any]


@dataclass(frozen=True)
class RayPod:
    """One pod template inside a KubeRay object; `role` is head, worker or submitter."""

    owner: str
    role: str
    template: Document

    @property
    def spec(self) -> Document:
        """The pod's spec."""
        return cast("Document", self.template["spec"])

    @property
    def container(self) -> Document:
        """The container that runs Ray, or the submitter's."""
        return cast("Document", self.spec["containers"][0])

    @property
    def labels(self) -> dict[str, str]:
        """Labels that selectors see."""
        return cast("dict[str, str]", self.template["metadata"]["labels"])

    def __str__(self) -> str:
        return f"{self.owner} {self.role}"


def render(overlay: str) -> list[Document]:
    """All manifests of an overlay; the test that asks is skipped where kubectl is not installed."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed, so the overlays cannot be rendered")
    return copy.deepcopy(_rendered(overlay))


def serve_config(documents: list[Document]) -> Document:
    """What stands in the RayService's serveConfigV2: the document that `serve deploy` takes."""
    return cast("Document", yaml.safe_load(one(documents, "RayService", "graftwork")["spec"]["serveConfigV2"]))


def one(documents: list[Document], kind: str, name: str) -> Document:
    """The manifest of that kind and name."""
    found = [document for document in documents if (document["kind"], document["metadata"]["name"]) == (kind, name)]
    assert len(found) == 1, f"{len(found)} manifests are {kind}/{name}"
    return found[0]


def ray_pods(documents: list[Document]) -> list[RayPod]:
    """Every pod that KubeRay will make of these manifests."""
    return [pod for document in documents if document["kind"] in RAY_KINDS for pod in _pods_of(document)]


def pod_templates(documents: list[Document]) -> list[tuple[str, Document]]:
    """Every pod template, Ray's and others, with a name for messages."""
    ours = [(str(pod), pod.template) for pod in ray_pods(documents)]
    deployments = [document for document in documents if document["kind"] == "Deployment"]
    return ours + [(document["metadata"]["name"], document["spec"]["template"]) for document in deployments]


def environment(documents: list[Document], container: Document) -> dict[str, str]:
    """The plain variables that a container gets, its ConfigMaps resolved; those from Secrets are left out."""
    result: dict[str, str] = {}
    for source in container.get("envFrom", []):
        result |= one(documents, "ConfigMap", source["configMapRef"]["name"])["data"]
    return result | {entry["name"]: entry["value"] for entry in container.get("env", []) if "value" in entry}


@functools.cache
def _rendered(overlay: str) -> list[Document]:
    folder = ROOT / "k8s" / "overlays" / overlay
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"kubectl kustomize {folder} failed: {done.stderr}"
    return list(yaml.safe_load_all(done.stdout))


def _pods_of(document: Document) -> Iterator[RayPod]:
    owner = f"{document['kind']}/{document['metadata']['name']}"
    spec = document["spec"]
    cluster = spec["rayClusterConfig"] if document["kind"] == "RayService" else spec["rayClusterSpec"]
    yield RayPod(owner, "head", cluster["headGroupSpec"]["template"])
    for group in cluster["workerGroupSpecs"]:
        yield RayPod(owner, "worker", group["template"])
    if "submitterPodTemplate" in spec:
        yield RayPod(owner, "submitter", spec["submitterPodTemplate"])
