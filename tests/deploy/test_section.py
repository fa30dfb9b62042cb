from __future__ import annotations

from deploy.local import instance
from deploy.section import DeploySettings


def test_the_time_for_a_start_names_what_comes_on_top_of_it() -> None:
    description = str(DeploySettings.model_fields["start_timeout_s"].description)
    assert "until every replica runs" in description
    assert f" {instance.FIRST_TOKEN_TIMEOUT_S:g} s more" in description
