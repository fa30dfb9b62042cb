"""The manifests agree with the code: versions, settings, variables that Ray knows, entry points that exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from deploy.engine_arguments import known_arguments
from indexer.settings import IndexerSettings
from serve.draining import LOOK_S
from serve.haproxy import BINARY_VARIABLE
from serve.scale import Scale, deployments, scale_of
from serve.settings import QUOTA_STORAGE_VARIABLE, AppArgs, ServeSettings
from tests.k8s.rendering import (
    OVERLAYS,
    RAY_KINDS,
    ROOT,
    Document,
    RayPod,
    environment,
    one,
    pod_templates,
    ray_pods,
    render,
    serve_config,
)
from train.__main__ import load_settings
from train.settings import TrainSettings

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DOCKERFILE = (ROOT / "deploy" / "image" / "Dockerfile").read_text()
SECTIONS: dict[str, type[BaseModel]] = {"INDEXER": IndexerSettings, "TRAIN": TrainSettings}


@pytest.fixture(params=OVERLAYS)
def documents(request: pytest.FixtureRequest) -> list[Document]:
    return render(request.param)


def test_images_carry_the_version_of_the_package(documents: list[Document]) -> None:
    images = {
        container["image"] for _, template in pod_templates(documents) for container in template["spec"]["containers"]
    }
    assert len(images) == 1
    name, _, tag = images.pop().rpartition(":")
    assert tag == PROJECT["version"]
    assert f"-t {name}:{tag} ." in DOCKERFILE
    assert f'org.opencontainers.image.version="{tag}"' in DOCKERFILE


def test_the_cluster_names_the_ray_that_is_pinned(documents: list[Document]) -> None:
    for document in documents:
        if document["kind"] in RAY_KINDS:
            cluster = document["spec"].get("rayClusterConfig") or document["spec"]["rayClusterSpec"]
            assert cluster["rayVersion"] == _pins(PROJECT["dependencies"])["ray"]


@pytest.mark.parametrize("engine", ["cpu", "gpu"])
def test_locks_hold_what_pyproject_pins(engine: str) -> None:
    lock = _pins((ROOT / "deploy" / "setup" / f"constraints-{engine}.txt").read_text().splitlines())
    extras = PROJECT["optional-dependencies"]
    pins = _pins([*PROJECT["dependencies"], *extras[engine], *extras["embedded"], *extras["dev"]])
    assert {"ray", "torch", "transformers", "trl", "pymilvus", "milvus-lite", "ruff"} <= set(pins)
    # A local version label (+cpu) is the same version.
    assert {name: lock[name].partition("+")[0] for name in pins} == pins


def test_the_image_installs_with_the_steps_and_locks_of_make_setup() -> None:
    assert "ENGINE=${ENGINE} EXTRAS=embedded deploy/setup/setup.sh" in DOCKERFILE
    assert "deploy/setup/setup.sh" in (ROOT / "Makefile").read_text()
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.11-", DOCKERFILE, re.MULTILINE)
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.MULTILINE)


def test_pods_run_as_the_user_of_the_image(documents: list[Document]) -> None:
    users = {template["spec"]["securityContext"]["runAsUser"] for _, template in pod_templates(documents)}
    assert users == {10001}


def test_the_serve_config_is_one_that_serve_takes(documents: list[Document]) -> None:
    from ray.serve.schema import ServeDeploySchema

    config = ServeDeploySchema.model_validate(serve_config(documents))
    assert [app.import_path for app in config.applications] == ["serve.app:build"]


def test_numbers_of_replicas_stand_where_a_change_restarts_nothing(documents: list[Document]) -> None:
    application = serve_config(documents)["applications"][0]
    args = AppArgs.model_validate(application["args"])
    names = {str(each["name"]) for each in deployments(args.serve)}
    assert {each["name"] for each in application["deployments"]} == names
    assert scale_of(args.serve) == Scale()


def test_arguments_of_the_app_are_valid_and_say_what_the_settings_say(documents: list[Document]) -> None:
    args = AppArgs.model_validate(serve_config(documents)["applications"][0]["args"])
    settings = one(documents, "ConfigMap", "graftwork-settings")["data"]
    assert args.base_model == settings["GRAFTWORK_TRAIN__BASE_MODEL"]
    assert str(args.models_dir) == settings["GRAFTWORK_TRAIN__MODELS_DIR"]
    assert str(args.registry) == settings["GRAFTWORK_TRAIN__REGISTRY"]
    indexer = IndexerSettings.model_validate(_section(settings, "INDEXER"))
    assert args.indexer == indexer
    assert args.serve.haproxy
    on_gpu = any("nvidia.com/gpu" in pod.container["resources"]["limits"] for pod in ray_pods(documents))
    assert args.serve.accelerator == ("gpu" if on_gpu else "cpu")


def test_arguments_of_the_engine_are_vllms(documents: list[Document]) -> None:
    args = AppArgs.model_validate(serve_config(documents)["applications"][0]["args"])
    assert args.serve.engine
    assert known_arguments() >= set(args.serve.engine)


def test_settings_are_ones_that_the_packages_know(documents: list[Document]) -> None:
    settings = one(documents, "ConfigMap", "graftwork-settings")["data"]
    for section, model in SECTIONS.items():
        model.model_validate(_section(settings, section))
    ours = {name for name in settings if name.startswith("GRAFTWORK_")}
    in_sections = {name for section in SECTIONS for name in ours if name.startswith(f"GRAFTWORK_{section}__")}
    assert ours - in_sections == {"GRAFTWORK_HOME"}
    assert Path(settings["GRAFTWORK_TRAIN__REGISTRY"]).is_relative_to(settings["GRAFTWORK_HOME"])


def test_training_reads_the_environment_of_its_pod_and_publishes_where_the_app_looks(documents: list[Document]) -> None:
    args = AppArgs.model_validate(serve_config(documents)["applications"][0]["args"])
    pods = {str(pod): pod for pod in ray_pods(documents)}
    job, service = pods["RayJob/graftwork-train head"], pods["RayService/graftwork worker"]
    variables = environment(documents, job.container)
    train = load_settings(None, [], environment=variables)
    assert (train.base_model, train.models_dir, train.registry) == (args.base_model, args.models_dir, args.registry)
    assert train.rank <= args.serve.max_lora_rank
    assert str(train.workers) == variables["GRAFTWORK_TRAIN__WORKERS"]
    assert str(train.use_gpu).lower() == variables["GRAFTWORK_TRAIN__USE_GPU"]
    for path in (train.registry, train.models_dir, train.storage_path):
        claim = _claim_at(job, path)
        assert claim == _claim_at(pods["RayJob/graftwork-train worker"], path) == _claim_at(service, path)
        assert claim is not None, f"{path} lies on no volume and is lost with its pod"


def test_secret_variables_are_settings_too(documents: list[Document]) -> None:
    for pod in ray_pods(documents):
        for entry in pod.container.get("env", []):
            if entry["name"].startswith("GRAFTWORK_"):
                section, *fields = entry["name"].removeprefix("GRAFTWORK_").split("__")
                model: Any = {**SECTIONS, "SERVE": ServeSettings}[section]
                for field in fields:
                    model = model.model_fields[field.lower()].annotation


def test_the_secrets_of_the_gateway_reach_the_pods_that_run_it(documents: list[Document]) -> None:
    pods = {str(pod): pod for pod in ray_pods(documents)}
    for pod in (pods["RayService/graftwork head"], pods["RayService/graftwork worker"]):
        variables = {entry["name"]: entry for entry in pod.container["env"]}
        assert variables[QUOTA_STORAGE_VARIABLE]["valueFrom"]["secretKeyRef"]["optional"]
        mounts = {mount["name"]: mount["mountPath"] for mount in pod.container["volumeMounts"]}
        (keys,) = (volume for volume in pod.spec["volumes"] if volume["name"] == "keys")
        assert keys["secret"]["optional"]
        # A file mounted by subPath would never change again.
        assert all("subPath" not in mount for mount in pod.container["volumeMounts"] if mount["name"] == "keys")
        overlay = (ROOT / "k8s" / "overlays" / "single-gpu" / "serve-config.yaml").read_text()
        assert f"# keys: {{file: {mounts['keys']}/keys.json}}" in overlay


def test_variables_for_ray_are_ones_that_this_ray_reads() -> None:
    import ray

    names = set(one(render("cpu-dev"), "ConfigMap", "graftwork-ray-environment")["data"])
    serving = {name for name in names if name.startswith("RAY_SERVE_")}
    assert len(serving) >= 8
    package = Path(ray.__file__).parent
    sources = [package / "serve/_private/constants.py", package / "llm/_internal/serve/constants.py"]
    text = "\n".join(source.read_text() for source in sources)
    assert {name for name in serving if f'"{name}"' not in text} == set()


def test_haproxy_is_started_by_the_command_that_the_image_has(documents: list[Document]) -> None:
    command = Path(one(documents, "ConfigMap", "graftwork-ray-environment")["data"][BINARY_VARIABLE])
    assert command.name in PROJECT["scripts"]
    assert f'ENV PATH="{command.parent}:$PATH"' in DOCKERFILE


def test_nothing_cuts_a_stream_before_its_client_is_told(documents: list[Document]) -> None:
    args = AppArgs.model_validate(serve_config(documents)["applications"][0]["args"]).serve
    service = one(documents, "RayService", "graftwork")["spec"]
    pods = {str(pod): pod for pod in ray_pods(documents)}
    worker = pods["RayService/graftwork worker"]
    variables = environment(documents, worker.container)
    assert int(variables["RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"]) >= args.request_timeout_s
    assert service.get("rayClusterDeletionDelaySeconds", 10**9) > args.request_timeout_s
    grace_s = float(variables["RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"]) + args.shutdown_grace_s
    shell, option, script = worker.container["lifecycle"]["preStop"]["exec"]["command"]
    match = re.fullmatch(r"touch (\S+) && sleep (\d+)", script)
    assert (shell, option) == ("/bin/sh", "-c")
    assert match is not None
    assert Path(match[1]) == args.stop_file
    # A look of the replica's at the file, and a moment for the last words.
    assert int(match[2]) > grace_s + LOOK_S
    assert worker.spec["terminationGracePeriodSeconds"] >= int(match[2]) + 30


def test_the_logical_cpus_of_a_worker_hold_what_the_app_asks_for(documents: list[Document]) -> None:
    args = AppArgs.model_validate(serve_config(documents)["applications"][0]["args"]).serve
    group = one(documents, "RayService", "graftwork")["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
    # A replica's own actor, one CPU per engine worker, and the retriever.
    asked = args.replicas * (args.cpus_per_replica + 1) + args.retriever_replicas * args.retriever_cpus
    assert asked <= int(group["rayStartParams"]["num-cpus"]) * group["replicas"]


def test_a_training_worker_has_the_cpus_for_its_training(documents: list[Document]) -> None:
    settings = one(documents, "ConfigMap", "graftwork-settings")["data"]
    train = TrainSettings.model_validate(_section(settings, "TRAIN"))
    worker = one(documents, "RayJob", "graftwork-train")["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    assert train.workers * train.cpus_per_worker < int(worker["rayStartParams"]["num-cpus"])
    has_gpu = "nvidia.com/gpu" in worker["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert train.use_gpu == has_gpu


@pytest.mark.parametrize("job", ["graftwork-index", "graftwork-train"])
def test_the_entry_point_of_a_job_takes_the_flags_it_is_given(job: str) -> None:
    words = shlex.split(one(render("cpu-dev"), "RayJob", job)["spec"]["entrypoint"])
    assert words[:2] == ["python", "-m"]
    command = [sys.executable, "-m", words[2], "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    flags = [word for word in words[3:] if word.startswith("--")]
    assert flags
    assert [flag for flag in flags if flag not in done.stdout] == []


def _claim_at(pod: RayPod, path: Path) -> str | None:
    """The name of the claim that a pod has at a path; None where the path is the pod's own."""
    claims = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in pod.spec["volumes"]
        if "persistentVolumeClaim" in volume
    }
    found = [
        claims[mount["name"]]
        for mount in pod.container["volumeMounts"]
        if mount["name"] in claims and path.is_relative_to(mount["mountPath"])
    ]
    return found[0] if found else None


def _section(settings: dict[str, str], section: str) -> dict[str, str]:
    prefix = f"GRAFTWORK_{section}__"
    return {name.removeprefix(prefix).lower(): value for name, value in settings.items() if name.startswith(prefix)}


def _pins(lines: list[str]) -> dict[str, str]:
    found = (re.match(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;]+)", line) for line in lines)
    return {match.group(1).lower().replace("_", "-"): match.group(2) for match in found if match}
