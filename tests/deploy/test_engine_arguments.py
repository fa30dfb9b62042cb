from __future__ import annotations

import pytest

from deploy.engine_arguments import check_engine_arguments, known_arguments
from indexer.errors import InputError


@pytest.mark.slow
def test_the_names_are_those_of_vllm_itself() -> None:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.cli_args import FrontendArgs

    fields = {*AsyncEngineArgs.__dataclass_fields__, *FrontendArgs.__dataclass_fields__}
    public = {name for name in fields if not name.startswith("_")}
    assert known_arguments() == public


def test_known_names_pass() -> None:
    check_engine_arguments(
        ["max_model_len", "tensor_parallel_size", "quantization", "tool_call_parser"], place=lambda _: ""
    )


@pytest.mark.parametrize(("name", "hint"), [("max-model-len", "max_model_len"), ("dtpye", "dtype")])
def test_an_unknown_name_gets_a_hint(name: str, hint: str) -> None:
    with pytest.raises(InputError, match=rf"serve\.engine\.{name} \(here\) .*did you mean {hint}\?"):
        check_engine_arguments([name], place=lambda _: " (here)")
