"""Facts, plan and verdicts for given settings, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.local.checks import CheckInput
from deploy.local.facts import MachineFacts, gather
from deploy.local.plan import LaunchPlan, launch_plan
from serve.app import choose_accelerator, engine_arguments

if TYPE_CHECKING:
    from deploy.settings import Settings


def examine(settings: Settings, *, own_instance_up: bool) -> CheckInput:
    """Looks at the machine and adds up what an instance would need."""
    facts = gather(settings, own_instance_up=own_instance_up)
    return CheckInput(settings, facts, plan_for(settings, facts))


def plan_for(settings: Settings, facts: MachineFacts) -> LaunchPlan:
    """Adds up what an instance would need on a machine with these facts."""
    accelerator = choose_accelerator(settings.serve, engines=facts.engines)
    return launch_plan(
        settings,
        accelerator=accelerator,
        engine=engine_arguments(settings.serve, accelerator=accelerator),
        weight_bytes=facts.model.weight_bytes,
        machine_mib=facts.memory_mib,
    )
