"""index.json: the one small file that says which versions exist and changes its revision when anything does."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from indexer.errors import InputError
from train.registry.manifest import API_VERSION


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AdapterEntry(_Entry):
    """The versions of one adapter."""

    versions: tuple[int, ...] = Field(description="Published versions, ascending.")
    stable: int | None = Field(default=None, description="The version that name@stable means.")


class RegistryIndex(_Entry):
    """The whole index. Its methods return changed copies, each one revision higher."""

    api_version: str = API_VERSION
    revision: int = Field(default=0, ge=0, description="Grows by one with every change.")
    next_engine_id: int = Field(default=1, ge=1, description="Engine id of the next version to be published.")
    adapters: dict[str, AdapterEntry] = Field(default_factory=dict, description="Adapters by name.")
    specialists: tuple[str, ...] = Field(default=(), description="Names of the specialists, sorted.")

    def bumped(self) -> RegistryIndex:
        """Change nothing but the revision."""
        return self.model_copy(update={"revision": self.revision + 1})

    def with_version(self, name: str, version: int, *, engine_id: int, make_stable: bool) -> RegistryIndex:
        """Add a version; the first version of an adapter is stable in any case."""
        entry = self.adapters.get(name, AdapterEntry(versions=()))
        stable = version if make_stable or entry.stable is None else entry.stable
        changed = AdapterEntry(versions=tuple(sorted({*entry.versions, version})), stable=stable)
        return self.bumped().model_copy(
            update={
                "adapters": {**self.adapters, name: changed},
                "next_engine_id": max(self.next_engine_id, engine_id + 1),
            }
        )

    def with_stable(self, name: str, version: int) -> RegistryIndex:
        """Let name@stable mean this version, which must be there."""
        entry = self.adapters[name]
        changed = AdapterEntry(versions=entry.versions, stable=version)
        return self.bumped().model_copy(update={"adapters": {**self.adapters, name: changed}})

    def with_specialist(self, name: str) -> RegistryIndex:
        """Add the name of a specialist, or note that its document changed."""
        return self.bumped().model_copy(update={"specialists": tuple(sorted({*self.specialists, name}))})

    def without_specialist(self, name: str) -> RegistryIndex:
        """Leave the name of a specialist out."""
        return self.bumped().model_copy(update={"specialists": tuple(s for s in self.specialists if s != name)})


def parse_index(content: bytes, *, where: str) -> RegistryIndex:
    """Read an index.

    Raises:
        InputError: It is not one, or of an api_version this code does not know.
    """
    try:
        index = RegistryIndex.model_validate_json(content)
    except ValidationError as error:
        raise InputError(
            f"{where} is not a registry index: {error.errors()[0]['msg']}; restore it from a backup."
        ) from error
    if index.api_version != API_VERSION:
        raise InputError(
            f"{where} has api_version {index.api_version!r}, this Graftwork reads {API_VERSION!r}; upgrade it."
        )
    return index
