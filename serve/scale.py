"""How many replicas of each deployment there are: what Serve changes while the app runs, restarting nothing.

Serve restarts every replica of an app whose `args` change, and none for what stands under `deployments` of its config
(ray/serve/_private/deploy_utils.py, `get_app_code_version`); so the numbers go there, and not into `args`.
"""

from __future__ import annotations

from pydantic import BaseModel, JsonValue

from serve import contact
from serve.settings import AutoscalingSettings, ServeSettings, engine_sequences

RETRIEVER = "Retriever"


class Scale(BaseModel):
    """The settings that say how many replicas there are; each as in `ServeSettings`."""

    replicas: int = 1
    autoscaling: AutoscalingSettings | None = None
    retriever_replicas: int = 1


def scale_of(settings: ServeSettings) -> Scale:
    """How many replicas the settings ask for."""
    return Scale(
        replicas=settings.replicas,
        autoscaling=settings.autoscaling,
        retriever_replicas=settings.retriever_replicas,
    )


def scaled(settings: ServeSettings, scale: Scale) -> ServeSettings:
    """The settings with other numbers of replicas; `Scale()` is what they are without any."""
    return settings.model_copy(update={name: getattr(scale, name) for name in Scale.model_fields})


def deployments(settings: ServeSettings) -> list[dict[str, JsonValue]]:
    """The `deployments` of the app in a Serve config."""
    engine = engine_scale(settings)
    if "autoscaling_config" in engine:
        engine["num_replicas"] = "auto"
    retriever = [{"name": RETRIEVER, **retriever_scale(settings)}] if settings.retrievers else []
    return [{"name": contact.deployment_name(settings.base_name), **engine}, *retriever]


def engine_scale(settings: ServeSettings) -> dict[str, JsonValue]:
    """How many engine replicas Serve starts, or between which numbers and by how many requests it scales."""
    scaling = settings.autoscaling
    if scaling is None:
        return {"num_replicas": settings.replicas}
    target = scaling.target_requests or max(1, engine_sequences(settings.engine) * 3 // 4)
    return {
        "autoscaling_config": {
            "min_replicas": scaling.min_replicas,
            "max_replicas": scaling.max_replicas,
            "target_ongoing_requests": target,
            "upscale_delay_s": scaling.upscale_delay_s,
            "downscale_delay_s": scaling.downscale_delay_s,
        }
    }


def retriever_scale(settings: ServeSettings) -> dict[str, JsonValue]:
    """How many retrievers there are, each of which takes what all engine replicas may ask at once."""
    return {
        "num_replicas": settings.retriever_replicas,
        "max_ongoing_requests": settings.serve_limit * settings.most_replicas,
    }
