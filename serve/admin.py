"""What an administrator asks of the registry over HTTP: a verb with its fields in, JSON out. Blocks; no HTTP here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from indexer.errors import InputError
from train.base_model import BaseModelFiles
from train.registry import verbs
from train.registry.registry import AdapterRegistry
from train.registry.verbs import Outcome

JsonObject = dict[str, JsonValue]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    adapter: str = Field(min_length=1)


class _CanaryBody(_Body):
    percent: int


Body = TypeVar("Body", bound=_Body)


class Admin:
    """Runs verbs on a registry; see `train.registry.verbs`, whose functions the command line uses too."""

    def __init__(
        self, registry: AdapterRegistry, *, base: BaseModelFiles, max_lora_rank: int, allow_unverified: bool = False
    ) -> None:
        """Remember the registry, and what adapters must fit for `verify`."""
        self._registry = registry
        self._base = base
        self._max_lora_rank = max_lora_rank
        self._allow_unverified = allow_unverified
        self._moves: dict[str, Callable[[JsonObject, str], Outcome]] = {
            "promote": lambda body, who: verbs.promote(registry, _ref(body), who=who),
            "rollback": lambda body, who: verbs.rollback(registry, _ref(body), who=who),
            "canary": self._canary,
            "pin": lambda body, who: verbs.pin(registry, _ref(body), who=who),
            "unpin": lambda body, who: verbs.unpin(registry, _ref(body), who=who),
            "retire": lambda body, who: verbs.retire(registry, _ref(body), who=who),
        }

    def run(self, verb: str, body: JsonObject, *, who: str) -> JsonObject:
        """Run a verb of `serve.routes.ADMIN_VERBS`.

        Args:
            verb: The verb.
            body: The request's fields.
            who: Who asks, for the event.

        Raises:
            InputError: A field is wrong, or the version cannot be served on this base (verify).
            NotFoundError: There is no such adapter or version.
            ConflictError: The change collides with what serves, or with another one at the same time.
            UnavailableError: The registry cannot be reached.
        """
        if verb == "verify":
            manifest = verbs.verify(
                self._registry,
                _ref(body),
                base=self._base,
                max_rank=self._max_lora_rank,
                allow_unverified=self._allow_unverified,
            )
            return {"adapter": manifest.ref, "verified": True}
        outcome = self._moves[verb](body, who)
        event: JsonValue = None if outcome.event is None else outcome.event.model_dump(mode="json")
        return {**verbs.describe(outcome.name, outcome.entry), "revision": outcome.revision, "event": event}

    def adapters(self) -> JsonObject:
        """Every adapter with what its versions are."""
        index = self._registry.index()
        found: list[JsonValue] = [verbs.describe(name, entry) for name, entry in sorted(index.adapters.items())]
        return {"revision": index.revision, "adapters": found}

    def events(self, name: str | None) -> JsonObject:
        """The last changes, of one adapter where it is named.

        Raises:
            NotFoundError: There is no such adapter.
        """
        found: list[JsonValue] = [event.model_dump(mode="json") for event in verbs.events(self._registry, name=name)]
        return {"events": found}

    def without_places(self, message: str) -> str:
        """A message without the registry's path or address, for clients."""
        return message.replace(str(self._registry.root), "the registry")

    def _canary(self, body: JsonObject, who: str) -> Outcome:
        parsed = _parsed(_CanaryBody, body)
        return verbs.canary(self._registry, parsed.adapter, percent=parsed.percent, who=who)


def _ref(body: JsonObject) -> str:
    return _parsed(_Body, body).adapter


def _parsed(kind: type[Body], body: JsonObject) -> Body:
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InputError(
            f"The field '{'.'.join(map(str, first['loc'])) or 'body'}' is wrong: {first['msg']}."
        ) from error
