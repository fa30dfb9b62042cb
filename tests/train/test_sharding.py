"""A base whose weights the workers share out (FSDP2), on CPUs.

accelerate shards on accelerators alone. The workers here are told that they had one, which is all that differs: FSDP2
itself, transformers and what is ours run as they would.
"""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.train.workshop import loss_on, write_rows_of_spans
from train.plan import WorkerPlan
from train.prepare import PreparedRun, prepare_run
from train.settings import TrainSettings
from train.types import TrainRequest

SAVED = 4


def _prepared(base: Path, folder: Path, *, workers: int) -> PreparedRun:
    settings = TrainSettings(
        base_model=str(base),
        storage_path=folder / "runs",
        workers=workers,
        dtype="float32",
        rank=4,
        alpha=8,
        learning_rate=5e-3,
        epochs=2,
        eval_answers=3,
        general_dataset=[],
    )
    request = TrainRequest(
        datasets=(str(write_rows_of_spans(folder / "rows.jsonl", range(16))),),
        name="agro",
        # Not a multiple of the workers.
        eval_datasets=(str(write_rows_of_spans(folder / "held-out.jsonl", range(100, 105))),),
    )
    return prepare_run(request, settings=settings)


def _work(rank: int, run: PreparedRun, folder: Path, sharding: str) -> None:
    """One worker: train, measure, go back to the first step's adapter, and go on from a checkpoint once more."""
    import os

    import torch
    import torch.distributed
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType
    from transformers import TrainerCallback
    from transformers.trainer_utils import get_last_checkpoint

    import train.worker
    from train.adapter_weights import whole_adapter
    from train.best import Best
    from train.measuring import loss_between_steps, measure

    workers = run.plan.settings.workers
    places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": workers, "LOCAL_WORLD_SIZE": workers}
    os.environ.update({name: str(value) for name, value in places.items()})
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/group-{sharding}", rank=rank, world_size=workers
    )
    run.plan.settings.sharding = sharding  # type: ignore[assignment]
    plainly = train.worker._arguments

    def told_of_an_accelerator(plan: WorkerPlan, scratch: Path) -> Any:
        arguments = plainly(plan, scratch)
        assert arguments.device.type == "cpu"
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_XPU
        return arguments

    if sharding != "none":
        train.worker._arguments = told_of_an_accelerator
    scratch = folder / f"{sharding}-{rank}"
    trainer = train.worker.build_trainer(run.plan, run.rows, share=lambda: 0.0, scratch=scratch)
    best, evaluation = Best(), run.rows.evaluation
    assert evaluation is not None
    losses: list[float] = []

    class Follow(TrainerCallback):  # type: ignore[misc, unused-ignore]
        def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: object) -> None:
            losses.append(loss_between_steps(trainer, evaluation, dtype="float32"))
            if state.global_step == 1:
                best.offer(model, loss=losses[-1], step=1)
            control.should_save = state.global_step in (SAVED, run.plan.order.steps)

    trainer.add_callback(Follow())
    trainer.train()
    model = trainer.accelerator.unwrap_model(trainer.model)
    scores, learned = measure(trainer, run.rows, plan=run.plan), whole_adapter(model)
    best.restore(model)
    again = loss_between_steps(trainer, evaluation, dtype="float32")
    if rank == 0:
        shared = {type(each).__name__ for each in trainer.model.parameters()}
        adapter = get_last_checkpoint(str(scratch))
        best.save(Path(str(adapter)))
        found = {"losses": losses, "scores": scores, "again": again, "shared": sorted(shared), "adapter": adapter}
        (folder / f"{sharding}.json").write_text(json.dumps(found))
    torch.distributed.barrier()
    resumed = train.worker.build_trainer(run.plan, run.rows, share=lambda: 0.0, scratch=folder / f"again-{rank}")
    resumed.train(resume_from_checkpoint=str(folder / f"{sharding}-0" / f"checkpoint-{SAVED}"))
    for name, tensor in whole_adapter(resumed.model).items():
        assert torch.equal(tensor, learned[name]), name


def _trained(run: PreparedRun, folder: Path, *, sharding: str) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    ranks = range(run.plan.settings.workers)
    workers = [context.Process(target=_work, args=(rank, run, folder, sharding)) for rank in ranks]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(100)
    codes = [worker.exitcode for worker in workers]
    for worker in workers:
        worker.kill()
    assert codes == [0 for _ in ranks]
    found: dict[str, Any] = json.loads((folder / f"{sharding}.json").read_text())
    return found


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(250)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_base_that_is_shared_out_is_trained_measured_and_saved_as_a_whole_one(
    tiny_base_folder: Path, tmp_path: Path, workers: int
) -> None:
    run = _prepared(tiny_base_folder, tmp_path, workers=workers)
    whole, shared = (_trained(run, tmp_path, sharding=sharding) for sharding in ("none", "fsdp2"))
    assert ("DTensor" in whole["shared"], "DTensor" in shared["shared"]) == (False, True)
    assert shared["losses"] == pytest.approx(whole["losses"], abs=1e-3)
    assert shared["scores"] == pytest.approx(whole["scores"], abs=1e-3)
    assert shared["again"] == pytest.approx(shared["losses"][0], abs=1e-4)
    base = AutoModelForCausalLM.from_pretrained(tiny_base_folder, dtype="float32")
    for place, loss in (("", shared["scores"]["eval_loss"]), ("best/adapter", shared["again"])):
        ours, theirs = (
            load_file(Path(each["adapter"], place, "adapter_model.safetensors")) for each in (shared, whole)
        )
        assert {name: tensor.shape for name, tensor in ours.items()} == {n: t.shape for n, t in theirs.items()}
        adapted = PeftModel.from_pretrained(base, str(Path(shared["adapter"], place)))
        assert loss_on(adapted, tmp_path / "held-out.jsonl") == pytest.approx(loss, abs=1e-3)
        base = adapted.unload()
