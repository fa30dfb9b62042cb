from __future__ import annotations

import pytest

from indexer.errors import UnavailableError
from train.engine.placing import GIB, Place, find_place, memory_for
from train.settings import TrainSettings

LAPTOP = {"CPU": 2.0, "memory": 12.0 * GIB, "node:127.0.0.1": 1.0}
HEAD = {"memory": 3.0 * GIB}
GPU = {"CPU": 16.0, "GPU": 8.0, "memory": 500.0 * GIB}
SETTINGS = TrainSettings(workers=4, cpus_per_worker=2.0)


def test_it_takes_the_cpus_of_training_as_far_as_a_fitting_node_has_them() -> None:
    assert find_place([HEAD, LAPTOP, GPU], gpus=1, memory_bytes=4 * GIB, settings=SETTINGS) == Place(8.0, 1, 4 * GIB)
    assert find_place([HEAD, LAPTOP], gpus=0, memory_bytes=4 * GIB, settings=SETTINGS) == Place(2.0, 0, 4 * GIB)


@pytest.mark.parametrize(
    ("nodes", "gpus", "memory_gib", "says"),
    [
        ([HEAD, LAPTOP], 1, 4, r"2 CPUs, 1 GPUs and 4\.0 GiB .* \(at most 2, 0 and 12\.0 GiB\)"),
        ([HEAD, LAPTOP], 0, 13, r"0 GPUs and 13\.0 GiB"),
        ([{"CPU": 1.0, "memory": 99.0 * GIB}], 0, 4, r"\(at most 1, 0 and 99\.0 GiB\)"),
        ([], 0, 4, "at most 0, 0"),
    ],
)
def test_a_cluster_without_room_is_refused_with_both_figures(
    nodes: list[dict[str, float]], gpus: int, memory_gib: int, says: str
) -> None:
    with pytest.raises(UnavailableError, match=says) as raised:
        find_place(nodes, gpus=gpus, memory_bytes=memory_gib * GIB, settings=SETTINGS)
    assert "train.engine_check_memory_gib" in str(raised.value)
    assert "--skip-engine-check" in str(raised.value)


def test_memory_follows_the_weights_unless_it_is_set() -> None:
    assert memory_for(0, gpu=False, settings=SETTINGS) > 2 * GIB
    per_gib = memory_for(GIB, gpu=False, settings=SETTINGS) - memory_for(0, gpu=False, settings=SETTINGS)
    assert per_gib >= 3 * GIB  # bfloat16 files that are mapped, and as many weights in float32
    on_gpu = memory_for(GIB, gpu=True, settings=SETTINGS) - memory_for(0, gpu=True, settings=SETTINGS)
    assert GIB < on_gpu < 2 * GIB
    given = SETTINGS.model_copy(update={"engine_check_memory_gib": 1.5})
    assert memory_for(100 * GIB, gpu=False, settings=given) == 3 * GIB // 2
