"""Train under `ray job submit` or a KubeRay RayJob, without Graftwork's command line.

    ray job submit --working-dir . -- python -m train rows.jsonl --name agronomy --settings graftwork.yaml
    ray job submit --working-dir . -- python -m train rows.jsonl --name agronomy --sweep sweep.yaml

Settings come from `--set`, before the environment (GRAFTWORK_TRAIN__RANK and so on, and GRAFTWORK_HOME for the folders
that are not set), before the file of `--settings`, before the defaults; the cluster from RAY_ADDRESS.
Prints progress lines and, as the last line, one JSON object: the facts of the run, or {"error": ..., "exit_code": ...}.
The exit code is 0, the error's own (see indexer/errors.py), or 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from pydantic import ValidationError

from indexer.environment import section_values
from indexer.errors import GraftworkError, InputError, from_system
from train.registry import AdapterRegistry
from train.run import TrainProgress, TrainRequest, run_training
from train.settings import HOME_FOLDERS, TrainSettings
from train.sweep.run import SweepProgress, run_sweep
from train.sweep.spec import read_spec

_HOME_VARIABLE = "GRAFTWORK_HOME"
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        settings = load_settings(options.settings, options.set, environment=os.environ)
        request = TrainRequest(
            datasets=tuple(options.datasets),
            name=options.name,
            workers=options.workers,
            time_budget_s=options.time_budget_s,
            eval_datasets=tuple(options.eval_dataset),
            run_name=options.run_name,
            gate=options.gate,
            skip_engine_check=options.skip_engine_check,
        )
        if options.sweep is not None:
            return _sweep(request, file=options.sweep, settings=settings, publish=options.publish)
        if not options.publish:
            raise InputError("--no-publish is for a sweep; name its file with --sweep, or leave it out.")
        result = run_training(
            request,
            settings=settings,
            registry=AdapterRegistry(settings.registry),
            progress=_print_progress,
            start_ray=_connect,
        )
    except (GraftworkError, OSError) as caught:
        error = from_system(caught) if isinstance(caught, OSError) else caught
        print(json.dumps({"error": str(error), "exit_code": error.exit_code}), flush=True)
        return error.exit_code
    except KeyboardInterrupt:
        print(json.dumps({"error": "Interrupted.", "exit_code": _INTERRUPTED}), flush=True)
        return _INTERRUPTED
    print(json.dumps(result.to_json()), flush=True)
    return 0


def _sweep(request: TrainRequest, *, file: Path, settings: TrainSettings, publish: bool) -> int:
    found = run_sweep(
        request,
        spec=read_spec(file),
        settings=settings,
        registry=AdapterRegistry(settings.registry),
        publish_best=publish,
        progress=_print_sweep_progress,
        start_ray=_connect,
    )
    error = found.error
    code = 0 if error is None else error.exit_code
    told = {} if error is None else {"error": str(error), "exit_code": code}
    print(json.dumps({**found.to_json(), **told}), flush=True)
    return code


def load_settings(file: Path | None, assignments: Sequence[str], *, environment: Mapping[str, str]) -> TrainSettings:
    """Read the settings: a YAML file (its `train` section, where it has one), the environment, each KEY=VALUE.

    Later ones win. The folders that none of them sets lie below GRAFTWORK_HOME, where the environment has it.

    Raises:
        InputError: The file or a value cannot be used; the key is named, and where it was set.
    """
    layers = {
        str(file): {} if file is None else _section(file),
        "the environment": section_values(environment, "train"),
        "--set": _assigned(assignments),
    }
    values: dict[str, object] = {}
    if home := environment.get(_HOME_VARIABLE):
        values.update({field: Path(home) / folder for field, folder in HOME_FOLDERS.items()})
    for layer in layers.values():
        values.update(layer)
    try:
        return TrainSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        origin = next((f", set by {origin}," for origin in reversed(layers) if name in layers[origin]), "")
        key = ".".join(str(part) for part in first["loc"]) or "train"
        value = f" {first['input']!r}" if isinstance(first["input"], str | int | float) else ""
        raise InputError(f"The training setting {key}{value}{origin} cannot be used: {first['msg']}.") from error


def _assigned(assignments: Sequence[str]) -> dict[str, object]:
    values: dict[str, object] = {}
    for assignment in assignments:
        key, separator, value = assignment.partition("=")
        if not separator:
            raise InputError(f"--set {assignment!r} is not KEY=VALUE; write for example --set rank=8.")
        try:
            values[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            reason = " ".join(str(error).split())
            raise InputError(f"--set {assignment!r} has a value that is no YAML: {reason}.") from error
    return values


def _section(file: Path) -> Mapping[str, object]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"The settings file {file} cannot be read: {error}.") from error
    section = content.get("train", content) if isinstance(content, dict) else None
    if not isinstance(section, dict):
        raise InputError(f"The settings file {file} does not hold a mapping of settings.")
    return section


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train", description="Fine-tune a LoRA adapter and publish it.")
    parser.add_argument(
        "datasets", nargs="+", metavar="DATASET", help="JSON lines: a file, a pattern, an object; =2 weighs it"
    )
    parser.add_argument("--name", required=True, help="name of the adapter")
    parser.add_argument("--workers", type=int, help="Ray Train workers (default: as the settings say)")
    parser.add_argument("--time-budget-s", type=float, help="stop at a step boundary in time to publish by then")
    parser.add_argument("--eval-dataset", action="append", default=[], help="what to measure base and adapter on")
    parser.add_argument("--gate", help='publish only if the scores are so, for example "f1>=0.40, forgetting<=0.05"')
    parser.add_argument(
        "--skip-engine-check", action="store_true", help="publish without loading the adapter in vLLM: unverified"
    )
    parser.add_argument("--run-name", help="name of the run; an existing one is gone on with")
    parser.add_argument(
        "--sweep", type=Path, metavar="FILE", help="YAML file of settings to try; the best is published"
    )
    parser.add_argument("--no-publish", dest="publish", action="store_false", help="with --sweep: publish nothing")
    parser.add_argument("--settings", type=Path, help="YAML file of settings, or one with a `train` section")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting; may be repeated")
    return parser


def _connect() -> None:
    """Join the cluster of the job, or one that runs on this machine, or start one for this process alone."""
    import ray

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not ray.is_initialized():
        ray.init(log_to_driver=False)


def _print_progress(progress: TrainProgress) -> None:
    print(
        f"step {progress.step}/{progress.total_steps}  loss {progress.loss:.3f}  "
        f"{progress.tokens_per_s:.0f} tokens/s  {progress.elapsed_s:.0f} s",
        flush=True,
    )


def _print_sweep_progress(told: SweepProgress) -> None:
    print(f"{told.run}  ", end="")
    _print_progress(told.progress)


if __name__ == "__main__":
    sys.exit(main())
