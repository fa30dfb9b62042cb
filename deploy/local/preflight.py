"""Facts, plan and verdicts for given settings, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.local.checks import CheckInput
from deploy.local.facts import gather
from deploy.local.plan import launch_plan
from serve.app import choose_accelerator, engine_arguments

if TYPE_CHECKING:
    from deploy.settings import Settings


def examine(settings: Settings, *, own_instance_up: bool) -> CheckInput:
    """Looks at the machine and adds up what an instance would need."""
    facts = gather(settings, own_instance_up=own_instance_up)
    accelerator = choose_accelerator(settings.serve, engines=facts.engines)
    plan = launch_plan(
        settings,
        accelerator=accelerator,
        engine=engine_arguments(settings.serve, accelerator=accelerator),
        weight_bytes=facts.model.weight_bytes,
        machine_mib=facts.memory_mib,
    )
    return CheckInput(settings, facts, plan)
