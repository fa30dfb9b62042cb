"""The manifests of both overlays: valid, in agreement with each other, closed to others, and free of secrets."""

from __future__ import annotations

import re
from typing import Any

import kubernetes_validate
import pytest

from tests.k8s.rendering import (
    OVERLAYS,
    RAY_KINDS,
    ROOT,
    Document,
    environment,
    one,
    pod_templates,
    ray_pods,
    render,
    serve_config,
)
from tests.k8s.schemas import closed, kuberay_validator, problems

KUBERNETES = "1.32"
AGENT_PORT = 52365
# What only Ray's own pods, and for some the operator or a labelled Prometheus, may reach.
RAY_PORTS = {6379, 8265, 10001, AGENT_PORT}


@pytest.fixture(params=OVERLAYS)
def documents(request: pytest.FixtureRequest) -> list[Document]:
    return render(request.param)


def test_every_overlay_has_the_service_both_jobs_and_what_they_need(documents: list[Document]) -> None:
    found = {(document["kind"], document["metadata"]["name"]) for document in documents}
    assert found >= {
        ("RayService", "graftwork"),
        ("RayJob", "graftwork-index"),
        ("RayJob", "graftwork-train"),
        ("ConfigMap", "graftwork-settings"),
        ("ConfigMap", "graftwork-ray-environment"),
        ("PersistentVolumeClaim", "graftwork-data"),
        ("NetworkPolicy", "graftwork-ray"),
    }
    assert len(found) == len(documents), "two manifests have one kind and name"


def test_no_manifest_names_a_namespace(documents: list[Document]) -> None:
    assert [document["metadata"]["name"] for document in documents if "namespace" in document["metadata"]] == []


def test_core_kinds_are_valid(documents: list[Document]) -> None:
    core = [document for document in documents if document["kind"] not in RAY_KINDS]
    assert len(core) >= 4
    for document in core:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_pods_inside_kuberay_objects_are_valid_pods(documents: list[Document]) -> None:
    for pod in ray_pods(documents):
        as_pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", **pod.template["metadata"]}}
        kubernetes_validate.validate(as_pod | {"spec": pod.spec}, KUBERNETES, strict=True)


@pytest.mark.parametrize("kind", RAY_KINDS)
def test_kuberay_kinds_fit_their_schemas(documents: list[Document], kind: str) -> None:
    validator = kuberay_validator(kind)
    of_kind = [document for document in documents if document["kind"] == kind]
    assert of_kind
    assert {document["metadata"]["name"]: problems(validator, document) for document in of_kind} == {
        document["metadata"]["name"]: [] for document in of_kind
    }


def test_a_misspelt_field_of_a_kuberay_kind_is_found(documents: list[Document]) -> None:
    service = one(documents, "RayService", "graftwork")
    service["spec"]["rayClusterConfig"]["headGroupSpec"]["rayStartParam"] = {}
    assert problems(kuberay_validator("RayService"), service) == [
        "$.spec.rayClusterConfig.headGroupSpec: Additional properties are not allowed ('rayStartParam' was unexpected)"
    ]


def test_closing_a_schema_keeps_open_what_says_so() -> None:
    keeps = {"type": "object", "properties": {"a": {"type": "string"}}, "x-kubernetes-preserve-unknown-fields": True}
    maps = {"type": "object", "additionalProperties": {"type": "string"}}
    assert closed({"type": "object", "properties": {"keeps": keeps, "maps": maps}}) == {
        "type": "object",
        "properties": {"keeps": keeps, "maps": maps},
        "additionalProperties": False,
    }


def test_what_pods_refer_to_exists(documents: list[Document]) -> None:
    for name, template in pod_templates(documents):
        volumes = {volume["name"]: volume for volume in template["spec"].get("volumes", [])}
        for volume in volumes.values():
            if claim := volume.get("persistentVolumeClaim"):
                one(documents, "PersistentVolumeClaim", claim["claimName"])
        for container in template["spec"]["containers"]:
            mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
            assert mounted == (set(volumes) if mounted else set()), name
            for source in container.get("envFrom", []):
                one(documents, "ConfigMap", source["configMapRef"]["name"])


def test_probes_ask_ports_that_the_container_has(documents: list[Document]) -> None:
    for name, template in pod_templates(documents):
        for container in template["spec"]["containers"]:
            if container["name"] == "ray-job-submitter":
                continue
            named = {port["name"]: port["containerPort"] for port in container["ports"]}
            for probe in ("livenessProbe", "readinessProbe"):
                asked = container[probe].get("httpGet") or container[probe]["tcpSocket"]
                # Ray's agent listens on its fixed default port, which no manifest has to open.
                assert asked["port"] in named or asked["port"] == AGENT_PORT, f"{name}: {probe}"


def test_only_workers_that_serve_are_ready_for_traffic(documents: list[Document]) -> None:
    probes = {str(pod): pod.container.get("readinessProbe", {}).get("httpGet") for pod in ray_pods(documents)}
    assert probes["RayService/graftwork worker"] == {"path": "/-/healthz", "port": "serve"}
    assert probes["RayService/graftwork head"] == {"path": "/api/healthz", "port": AGENT_PORT}
    assert one(documents, "RayService", "graftwork")["spec"]["excludeHeadPodFromServeSvc"] is True


def test_the_ingress_port_is_the_same_everywhere(documents: list[Document]) -> None:
    config = serve_config(documents)
    port = config["http_options"]["port"]
    assert config["applications"][0]["args"]["serve"]["port"] == port
    assert config["http_options"]["host"] == "0.0.0.0"
    serving = [pod for pod in ray_pods(documents) if pod.owner == "RayService/graftwork"]
    assert [_ports(pod.container)["serve"] for pod in serving] == [port] * len(serving)
    assert port in _opened(_rule_for_clients(documents))


def test_haproxy_listens_where_the_containers_say(documents: list[Document]) -> None:
    for pod in ray_pods(documents):
        if pod.owner == "RayService/graftwork":
            variables = environment(documents, pod.container)
            ports = _ports(pod.container)
            assert int(variables["RAY_SERVE_HAPROXY_METRICS_PORT"]) == ports["haproxy-metrics"]
            assert int(variables["RAY_SERVE_HAPROXY_STATS_PORT"]) == ports["haproxy-stats"]


def test_the_policy_selects_every_ray_pod_and_the_submitters(documents: list[Document]) -> None:
    selector = one(documents, "NetworkPolicy", "graftwork-ray")["spec"]["podSelector"]["matchLabels"]
    outside = [str(pod) for pod in ray_pods(documents) if not selector.items() <= pod.labels.items()]
    assert outside == []


def test_only_rays_own_pods_reach_every_port(documents: list[Document]) -> None:
    policy = one(documents, "NetworkPolicy", "graftwork-ray")["spec"]
    everything = [rule for rule in policy["ingress"] if "ports" not in rule]
    assert [rule["from"] for rule in everything] == [[{"podSelector": policy["podSelector"]}]]


def test_other_namespaces_reach_the_ingress_and_nothing_else(documents: list[Document]) -> None:
    for rule in one(documents, "NetworkPolicy", "graftwork-ray")["spec"]["ingress"]:
        operator = {"app.kubernetes.io/name": "kuberay-operator"}
        others = [
            peer
            for peer in rule["from"]
            if "namespaceSelector" in peer and peer.get("podSelector", {}).get("matchLabels") != operator
        ]
        if others:
            assert _opened(rule) == {8000}
        # Statistics of HAProxy can change its state: nobody but Ray's pods.
        assert 8404 not in _opened(rule)


def test_the_operator_reaches_what_it_asks(documents: list[Document]) -> None:
    rules = one(documents, "NetworkPolicy", "graftwork-ray")["spec"]["ingress"]
    opened = [_opened(rule) for rule in rules if "kuberay-operator" in str(rule)]
    assert opened == [{8265, AGENT_PORT, 8000}]


def test_milvus_of_cpu_dev_answers_at_the_address_in_the_settings() -> None:
    documents = render("cpu-dev")
    service = one(documents, "Service", "graftwork-milvus")["spec"]
    template = one(documents, "Deployment", "graftwork-milvus")["spec"]["template"]
    container = template["spec"]["containers"][0]
    uri = one(documents, "ConfigMap", "graftwork-settings")["data"]["GRAFTWORK_INDEXER__MILVUS_URI"]
    port = service["ports"][0]["port"]
    assert uri == f"http://graftwork-milvus:{port}"
    assert service["selector"].items() <= template["metadata"]["labels"].items()
    assert _ports(container)[service["ports"][0]["targetPort"]] == port
    assert container["command"][container["command"].index("--port") + 1] == str(port)
    policy = one(documents, "NetworkPolicy", "graftwork-milvus")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    assert [_opened(rule) for rule in policy["ingress"]] == [{port}]


def test_every_container_says_what_it_takes_and_runs_without_root(documents: list[Document]) -> None:
    for name, template in pod_templates(documents):
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True, name
        assert template["spec"]["securityContext"]["runAsUser"] > 0, name
        assert template["spec"]["automountServiceAccountToken"] is False, name
        for container in template["spec"]["containers"]:
            requests, limits = container["resources"]["requests"], container["resources"]["limits"]
            assert requests["memory"] == limits["memory"], name
            assert {"cpu", "memory"} <= set(requests), name
            assert container["securityContext"]["allowPrivilegeEscalation"] is False, name
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name


def test_service_links_are_off_because_their_variables_look_like_settings(documents: list[Document]) -> None:
    links = {name: template["spec"].get("enableServiceLinks") for name, template in pod_templates(documents)}
    assert links == dict.fromkeys(links, False)


def test_every_ray_container_has_the_same_environment(documents: list[Document]) -> None:
    containers = [pod.container for pod in ray_pods(documents) if pod.role != "submitter"]
    assert len(containers) == 6
    environments = [environment(documents, container) for container in containers]
    assert environments == [environments[0]] * len(environments)
    assert environments[0]["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
    assert environments[0]["RAY_SERVE_LLM_ENABLE_DIRECT_STREAMING"] == "1"
    assert environments[0]["RAY_SERVE_INGRESS_REQUEST_ROUTER_FORWARD_BODY"] == "0"


def test_secrets_come_from_secrets(documents: list[Document]) -> None:
    secret = re.compile(r"token|password|api_?key|credential", re.IGNORECASE)
    # Names that hold the word and no secret.
    harmless = {"TOKENIZERS_PARALLELISM"}
    for pod in ray_pods(documents):
        plain = environment(documents, pod.container)
        assert [name for name in plain if secret.search(name) and name not in harmless] == []
        for entry in pod.container.get("env", []):
            if secret.search(entry["name"]):
                assert set(entry["valueFrom"]) == {"secretKeyRef"}, str(pod)
    assert not secret.search(str(serve_config(documents)))


def test_every_cluster_asks_for_a_token(documents: list[Document]) -> None:
    for document in documents:
        if document["kind"] in RAY_KINDS:
            cluster = document["spec"].get("rayClusterConfig") or document["spec"]["rayClusterSpec"]
            assert cluster["authOptions"] == {"mode": "token"}


def test_jobs_wait_to_be_woken(documents: list[Document]) -> None:
    jobs = [document for document in documents if document["kind"] == "RayJob"]
    assert [job["spec"]["suspend"] for job in jobs] == [True, True]


def test_one_gpu_is_asked_for_where_there_is_one() -> None:
    def gpus(overlay: str) -> dict[str, Any]:
        asked = {
            str(pod): pod.container["resources"]["limits"].get("nvidia.com/gpu") for pod in ray_pods(render(overlay))
        }
        return {name: count for name, count in asked.items() if count is not None}

    assert gpus("cpu-dev") == {}
    assert gpus("single-gpu") == {"RayService/graftwork worker": "1", "RayJob/graftwork-train worker": "1"}
    tolerating = {str(pod) for pod in ray_pods(render("single-gpu")) if "tolerations" in pod.spec}
    assert tolerating == set(gpus("single-gpu"))


def test_the_documents_that_cpu_dev_indexes_are_in_the_image() -> None:
    entrypoint = one(render("cpu-dev"), "RayJob", "graftwork-index")["spec"]["entrypoint"]
    path = re.search(r"/opt/graftwork/(\S+)", entrypoint)
    assert path is not None
    assert any(file.is_file() for file in (ROOT / path.group(1)).rglob("*"))


def _ports(container: Document) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container["ports"]}


def _opened(rule: Document) -> set[int]:
    return {port["port"] for port in rule.get("ports", [])}


def _rule_for_clients(documents: list[Document]) -> Document:
    rules = one(documents, "NetworkPolicy", "graftwork-ray")["spec"]["ingress"]
    return next(rule for rule in rules if {"podSelector": {}} in rule["from"])
