from __future__ import annotations

import pytest

from indexer.environment import section_values


def test_a_section_is_taken_by_lower_case_names_and_the_others_are_left_out() -> None:
    environment = {"GRAFTWORK_TRAIN__RANK": "8", "graftwork_train__use_gpu": "true", "GRAFTWORK_INDEXER__EMBEDDER": "e"}
    assert section_values(environment | {"GRAFTWORK_HOME": "/h", "TRAIN__RANK": "9"}, "train") == {
        "rank": "8",
        "use_gpu": "true",
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [('["q_proj", "v_proj"]', ["q_proj", "v_proj"]), ("[broken", "[broken"), ("1", "1"), ("", ""), ("{}", "{}")],
)
def test_a_json_list_becomes_a_list_and_all_else_stays_text(text: str, value: object) -> None:
    assert section_values({"GRAFTWORK_TRAIN__TARGET_MODULES": text}, "train") == {"target_modules": value}
