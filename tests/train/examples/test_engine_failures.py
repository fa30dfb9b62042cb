"""The reason stands in vLLM's log, and Ray's error repeats it only where vLLM itself raised it in the actor."""

from __future__ import annotations

import pytest

from train.examples.engine_failures import first_cause, raised

# As vllm 0.29 writes it, shortened.
LOG = """\
(Worker pid=25131) INFO 11-29 17:45:17 [cpu_model_runner.py:131] Starting to load model /models/tiny...
(Worker pid=25131) ERROR 11-29 17:45:17 [multiproc_executor.py:944] WorkerProc failed to start.
(Worker pid=25131) ERROR 11-29 17:45:17 [multiproc_executor.py:944] Traceback (most recent call last):
(Worker pid=25131) ERROR 11-29 17:45:17 [multiproc_executor.py:944]   File "vllm/envs.py", line 866, in <lambda>
(Worker pid=25131) ERROR 11-29 17:45:17 [multiproc_executor.py:944]     raise ValueError("never told from here")
(Worker pid=25131) ERROR 11-29 17:45:17 [multiproc_executor.py:944] ValueError: invalid literal for int(): ''
(EngineCore pid=25105) ERROR 11-29 17:45:19 [core.py:1374] EngineCore failed to start.
(EngineCore pid=25105) ERROR 11-29 17:45:19 [core.py:1374]     raise e from None
(EngineCore pid=25105) ERROR 11-29 17:45:19 [core.py:1374] Exception: WorkerProc initialization failed.
"""
RAISED = """\
ray.exceptions.ActorDiedError: The actor died because of an error raised in its creation task, ray::MapWorker
  File "vllm/v1/engine/utils.py", line 1320, in wait_for_engine_startup
    raise RuntimeError(
RuntimeError: Engine core initialization failed. See root cause above.
"""


def test_the_first_exception_of_the_log_is_the_cause() -> None:
    assert first_cause(LOG) == "ValueError: invalid literal for int(): ''"
    out_of_memory = "ERROR 11-29 17:45:17 [core.py:1374] torch.OutOfMemoryError: CUDA out of memory. Tried to"
    assert first_cause(out_of_memory) == "torch.OutOfMemoryError: CUDA out of memory. Tried to"


@pytest.mark.parametrize("log", ["", "INFO 11-29 17:45:17 [a.py:1] ValueError: of no weight", "ERROR: none of theirs"])
def test_a_log_that_tells_none(log: str) -> None:
    assert first_cause(log) is None


def test_what_the_actor_raised_is_told_without_rays_own() -> None:
    assert raised(RAISED) == "RuntimeError: Engine core initialization failed. See root cause above"
    assert raised("ray.exceptions.ActorDiedError: it died") is None
