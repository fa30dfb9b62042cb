"""What a run is made of holds for whoever goes on with it."""

from __future__ import annotations

import dataclasses

import pytest

from indexer.errors import ConflictError
from train.claim import claim_run
from train.prepare import PreparedRun


def _changed(prepared: PreparedRun, **settings: object) -> PreparedRun:
    plan = dataclasses.replace(prepared.plan, settings=prepared.plan.settings.model_copy(update=settings))
    return dataclasses.replace(prepared, plan=plan)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rank", 8),
        ("packing", True),
        ("quantization", "nf4"),
        ("learning_rate", 1e-4),
        ("lr_scheduler", "cosine"),
        ("warmup_ratio", 0.5),
        ("weight_decay", 0.1),
        ("max_grad_norm", 2.0),
        ("workers", 1),
    ],
)
def test_a_run_is_not_gone_on_with_under_another_setting(prepared: PreparedRun, name: str, value: object) -> None:
    claim_run(prepared, run_name="claimed")
    claim_run(prepared, run_name="claimed")
    with pytest.raises(ConflictError, match=f"exists with another {name};"):
        claim_run(_changed(prepared, **{name: value}), run_name="claimed")


def test_a_run_is_not_gone_on_with_under_another_number_type_or_chat_template(prepared: PreparedRun) -> None:
    claim_run(prepared, run_name="typed")
    other = dataclasses.replace(prepared, plan=dataclasses.replace(prepared.plan, dtype="bfloat16"))
    with pytest.raises(ConflictError, match="exists with another dtype;"):
        claim_run(other, run_name="typed")
    with pytest.raises(ConflictError, match="exists with another chat_template;"):
        claim_run(dataclasses.replace(prepared, template_sha256="0" * 64), run_name="typed")
