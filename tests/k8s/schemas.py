"""KubeRay's published schemas, closed: a field they do not know is an error, as with `kubectl --validate=strict`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.k8s.rendering import ROOT, Document

# Beside the repository, where there is one; not part of it.
FOLDER = ROOT.parent / "shared" / "crd-schemas"


def kuberay_validator(kind: str) -> Draft202012Validator:
    """Validator of RayService, RayJob or RayCluster; the test that asks is skipped where the schemas are absent."""
    path = FOLDER / f"{kind.lower()}s.v1.json"
    if not path.is_file():
        pytest.skip(f"KubeRay's schema {path.name} is not in {FOLDER}")
    return Draft202012Validator(closed(json.loads(path.read_text())))


def problems(validator: Draft202012Validator, document: Document) -> list[str]:
    """What does not fit, each with its place."""
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def closed(schema: Any) -> Any:
    """The schema, refusing other properties wherever it lists some and does not say that others are kept."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    lists_properties = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    if lists_properties and not schema.get("x-kubernetes-preserve-unknown-fields"):
        result.setdefault("additionalProperties", False)
    return result
