"""One section of the settings out of environment variables, for the entry points that Ray jobs run.

The command line reads the same names (deploy/origins.py): GRAFTWORK_<SECTION>__<FIELD>, in any case.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

ENV_PREFIX = "GRAFTWORK_"
ENV_DELIMITER = "__"


def section_values(environment: Mapping[str, str], section: str) -> dict[str, object]:
    """Return what the environment sets in a section, by lower-case name of the field.

    Values stay text, which pydantic reads as numbers and truth values; a JSON list becomes a list. Other sections'
    variables are theirs to judge and are left out.
    """
    prefix = f"{ENV_PREFIX}{section}{ENV_DELIMITER}".lower()
    return {
        name.lower().removeprefix(prefix): _list_or_text(value)
        for name, value in environment.items()
        if name.lower().startswith(prefix)
    }


def _list_or_text(value: str) -> object:
    if not value.lstrip().startswith("["):
        return value
    try:
        parsed: object = json.loads(value)
    except ValueError:
        return value
    return parsed
