"""Which run a name is: what a run is made of is noted beside its checkpoints, and holds for whoever goes on with it."""

from __future__ import annotations

from indexer.errors import ConflictError
from train.faults.storage import CLAIM_FILE
from train.prepare import PreparedRun
from train.registry.files import replace_file

# Settings that shape what a run comes to; the rest may be another when it is gone on with.
RESUMABLE_ONLY_WITH = (
    "rank",
    "alpha",
    "dropout",
    "use_rslora",
    "quantization",
    "sharding",
    "lora",
    "trainer",
    "target_modules",
    "epochs",
    "max_steps",
    "max_length",
    "packing",
    "packed_length",
    "per_device_batch_size",
    "gradient_accumulation",
    "seed",
    "learning_rate",
    "lr_scheduler",
    "warmup_ratio",
    "weight_decay",
    "max_grad_norm",
    "keep_best",
    "early_stopping",
)


def claim_run(prepared: PreparedRun, *, run_name: str) -> None:
    """Note beside the checkpoints what the run is made of.

    Raises:
        ConflictError: A run of this name exists, with other data or settings.
    """
    if check_claim(prepared, run_name=run_name):
        return
    text = "".join(f"{name}: {value}\n" for name, value in sorted(_made_of(prepared).items()))
    path = prepared.plan.settings.storage_path / run_name / CLAIM_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, text.encode())


def check_claim(prepared: PreparedRun, *, run_name: str) -> bool:
    """Whether a run of this name exists.

    Raises:
        ConflictError: It does, with other data or settings.
    """
    path = prepared.plan.settings.storage_path / run_name / CLAIM_FILE
    if not path.is_file():
        return False
    facts, known = _made_of(prepared), dict(line.split(": ", 1) for line in path.read_text().splitlines())
    changed = sorted(name for name in facts.keys() | known.keys() if facts.get(name) != known.get(name))
    if changed:
        raise ConflictError(
            f"The run {run_name} exists with another {', '.join(changed)}; give the same, or another run name."
        )
    return True


def _made_of(prepared: PreparedRun) -> dict[str, str]:
    settings = prepared.plan.settings
    return {
        "base": prepared.base.fingerprint,
        "dataset": prepared.dataset.sha256,
        "chat_template": prepared.template_sha256,
        "dtype": prepared.plan.dtype,
        "workers": str(settings.workers),
        **{name: repr(getattr(settings, name)) for name in RESUMABLE_ONLY_WITH},
    }
