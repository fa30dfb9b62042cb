"""Under which keys everything lies in a registry, and which files a version has. Pure."""

from __future__ import annotations

from indexer.errors import InputError
from train.registry.manifest import AdapterManifest
from train.registry.names import check_name

INDEX = "index.json"
MANIFEST = "manifest.json"
ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")


def version_key(name: str, version: int) -> str:
    """Key below which a version's files are.

    Raises:
        InputError: The name or version could point outside the registry.
    """
    check_name(name)
    if version < 1:
        raise InputError(f"{version} is no version of the adapter {name}; versions begin at 1.")
    return f"adapters/{name}/{version}"


def specialist_key(name: str) -> str:
    """Key of a specialist's document.

    Raises:
        InputError: A bad name.
    """
    return f"specialists/{check_name(name, what='specialist')}.json"


def check_file_names(manifest: AdapterManifest) -> None:
    """Refuse a version of other files than a LoRA adapter's in safetensors.

    Raises:
        InputError: A file is missing from the manifest or is foreign to an adapter.
    """
    if set(manifest.files) != set(ADAPTER_FILES):
        raise InputError(
            f"The manifest of {manifest.ref} names the files {', '.join(sorted(manifest.files)) or 'none'}, an adapter "
            f"has {' and '.join(ADAPTER_FILES)}; publish it again."
        )
