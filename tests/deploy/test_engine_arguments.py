from __future__ import annotations

import pytest

from deploy.engine_arguments import (
    check_engine_arguments,
    check_offline,
    known_arguments,
    known_engine_arguments,
    known_sampling_parameters,
)
from indexer.errors import InputError


@pytest.mark.slow
def test_the_names_are_those_of_vllm_itself() -> None:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.cli_args import FrontendArgs
    from vllm.sampling_params import SamplingParams

    def public(*fields: str) -> set[str]:
        return {name for name in fields if not name.startswith("_")}

    engine = public(*AsyncEngineArgs.__dataclass_fields__)
    assert known_engine_arguments() == engine
    assert known_arguments() == engine | public(*FrontendArgs.__dataclass_fields__)
    assert known_sampling_parameters() == public(*SamplingParams.__struct_fields__)


def test_known_names_pass() -> None:
    check_engine_arguments(
        ["max_model_len", "tensor_parallel_size", "quantization", "tool_call_parser"], place=lambda _: ""
    )


@pytest.mark.parametrize(("name", "hint"), [("max-model-len", "max_model_len"), ("dtpye", "dtype")])
def test_an_unknown_name_gets_a_hint(name: str, hint: str) -> None:
    with pytest.raises(InputError, match=rf"serve\.engine\.{name} \(here\) .*did you mean {hint}\?"):
        check_engine_arguments([name], place=lambda _: " (here)")


def test_what_an_engine_without_routes_does_not_know() -> None:
    check_offline(engine=["max_model_len", "quantization"], fields=["temperature", "top_p", "seed"])
    with pytest.raises(InputError, match=r"--engine's tool_call_parser is no argument of the installed vLLM"):
        check_offline(engine=["tool_call_parser"], fields=[])
    with pytest.raises(InputError, match=r"--fields' max_completion_tokens is no sampling parameter .* max_tokens\?"):
        check_offline(engine=[], fields=["max_completion_tokens"])
