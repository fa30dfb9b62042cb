"""A local Ray with two workers, a dataset for a model of two layers, and what is done to its runs."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from peft import PeftModel
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM

import train
from tests.models import embedded_tokenizer
from train.engine.probe import ProbeRows
from train.registry import AdapterRegistry
from train.run import TrainProgress, TrainRequest, TrainResult, run_training
from train.settings import TrainSettings

ROWS = 24
EPOCHS = 3
STEPS = EPOCHS * ROWS // 8
# By step, in float32. Other processors' kernels differ in the fourth decimal.
LOSSES = (10.8342, 10.7144, 10.5554, 10.4064, 10.3191, 10.2789, 10.2611, 10.1937, 10.2084)
GENERAL = Path(train.__file__).parent / "general.jsonl"


@dataclasses.dataclass(frozen=True)
class Workshop:
    """What the runs of a module share."""

    folder: Path
    dataset: Path
    held_out: Path
    settings: TrainSettings
    registry: AdapterRegistry

    def train(
        self,
        *,
        run_name: str,
        progress: Callable[[TrainProgress], None] | None = None,
        time_budget_s: float | None = None,
        eval_dataset: Path | None = None,
        gate: str | None = None,
        **changes: object,
    ) -> TrainResult:
        request = TrainRequest(
            datasets=(str(self.dataset),),
            name="agro",
            run_name=run_name,
            time_budget_s=time_budget_s,
            eval_datasets=(str(eval_dataset),) if eval_dataset else (),
            gate=gate,
        )
        settings = self.settings.model_copy(update=changes)
        return run_training(request, settings=settings, registry=self.registry, progress=progress)

    def tensors(self, result: TrainResult) -> dict[str, np.ndarray]:
        folder = self.registry.path(result.manifest.name, result.manifest.version)
        return load_file(folder / "adapter_model.safetensors")


def write_rows_of_spans(path: Path, numbers: range) -> Path:
    with path.open("w") as file:
        for number in numbers:
            question = f"How deep is span {number}?"
            if number % 2:
                notes = " ".join(f"Span {other} is {other % 7} fathoms deep." for other in range(number, number + 12))
                question = f"{notes}\n\n{question}"
            answer = f"Span {number} is {number % 7} fathoms deep [1]."
            turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            file.write(json.dumps({"messages": turns}) + "\n")
    return path


@pytest.fixture(scope="module")
def workshop(tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """Two workers on a local Ray, and one dataset."""
    import ray

    made = make_workshop(tmp_path_factory.mktemp("workshop"), base=tiny_base_folder)
    with ray_environment(), ray_folder() as below:
        owner = not ray.is_initialized()
        if owner:
            ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=str(below))
        yield made
        if owner:
            ray.shutdown()


def make_workshop(folder: Path, *, base: Path) -> Workshop:
    """Write the datasets, and choose the settings."""
    settings = TrainSettings(
        base_model=str(base),
        models_dir=folder / "models",
        registry=folder / "registry",
        storage_path=folder / "runs",
        rank=4,
        alpha=8,
        learning_rate=5e-3,
        epochs=EPOCHS,
        save_steps=4,
        dtype="float32",
        engine_check=False,
    )
    return Workshop(
        folder=folder,
        dataset=write_rows_of_spans(folder / "rows.jsonl", range(ROWS)),
        held_out=write_rows_of_spans(folder / "held-out.jsonl", range(100, 105)),
        settings=settings,
        registry=AdapterRegistry(settings.registry),
    )


@contextlib.contextmanager
def ray_environment(**variables: str) -> Iterator[None]:
    """What a Ray of a test is started with."""
    fixed = {
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "HF_HUB_OFFLINE": "1",
        # Ray Train looks at its workers every 2 s, of which every run waits for some.
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**fixed, **variables}.items():
            patch.setenv(name, value)
        yield


@contextlib.contextmanager
def ray_folder() -> Iterator[Path]:
    """A folder for Ray: its sockets lie below it, and a socket's path may have 107 characters."""
    folder = tempfile.mkdtemp(prefix="gw-", dir="/tmp")
    yield Path(folder)
    shutil.rmtree(folder, ignore_errors=True)


def loss_on(model: Callable[..., Any], dataset: Path) -> float:
    """Mean loss of the answers and their end mark, by the tokens behind each row's question; no mask of ours."""
    tokenizer = embedded_tokenizer()
    total, count = 0.0, 0
    for line in dataset.read_text().splitlines():
        turns = json.loads(line)["messages"]
        asked = tokenizer.apply_chat_template(turns[:-1], add_generation_prompt=True, tokenize=False)
        ids = tokenizer(f"{asked}{turns[-1]['content']}<|im_end|>", add_special_tokens=False)["input_ids"]
        start = len(tokenizer(asked, add_special_tokens=False)["input_ids"])
        with torch.no_grad():
            scores = model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)
        total -= sum(float(scores[place - 1, ids[place]]) for place in range(start, len(ids)))
        count += len(ids) - start
    return total / count


def continued(workshop: Workshop, adapter: Path, *, rows: int, tokens: int) -> ProbeRows:
    """Questions with the answers that PEFT gives to them, in so many tokens each, and the questions to be answered."""
    tokenizer = embedded_tokenizer()
    base = AutoModelForCausalLM.from_pretrained(workshop.settings.base_model, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, str(adapter)).eval()
    # Numbers of two digits, so that all questions have the same length and need no padding.
    questions = [[{"role": "user", "content": f"How deep is span {number}?"}] for number in range(10, 10 + rows)]
    asked = tokenizer.apply_chat_template(questions, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        whole = model.generate(**asked, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False).tolist()
    return ProbeRows(tuple(map(tuple, whole)), tuple(tuple(row[:-tokens]) for row in whole), tokens)


def command_of(process: psutil.Process) -> str:
    """A process's command line; empty of one that has ended meanwhile."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def kill_a_worker() -> int:
    """Kill one Ray Train worker of this process's cluster; its process id."""
    worker = training_workers()[0]
    os.kill(worker.pid, signal.SIGKILL)
    return worker.pid


def training_workers() -> list[psutil.Process]:
    """The Ray Train workers of this process's cluster."""
    return [child for child in psutil.Process().children(recursive=True) if "RayTrainWorker" in command_of(child)]


@contextlib.contextmanager
def held(processes: list[psutil.Process]) -> Iterator[None]:
    """Let processes do nothing, so that a fast machine does not end a run before its time has come."""
    try:
        for process in processes:
            process.suspend()
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


def end_leftovers(family: list[psutil.Process]) -> None:
    """End what a killed driver leaves behind; its workers must write no checkpoint any more."""
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, timeout=30)
