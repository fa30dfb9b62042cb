"""Everything the demo fixes, in one place, so that the prompts it trains on are the prompts it serves.

Sized for two CPU cores and SmolLM2-135M: a prompt with context stays near 600 tokens, because reading a token costs as
much in training as in serving, and both have minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from deploy.section import PortSettings
from indexer.settings import IndexerSettings
from serve.settings import ServeSettings
from serve.specialist import GenerationDefaults, RetrievalSettings, Specialist
from train.settings import TrainSettings

if TYPE_CHECKING:
    from deploy.settings import Settings

FOLDER: Final = Path(__file__).parent
CORPUS: Final = FOLDER / "corpus"
QUESTIONS: Final = FOLDER / "questions.jsonl"
HOME: Final = "demo"

COLLECTION: Final = "demo"
ADAPTER: Final = "demo"
PROMPT: Final = (
    "You answer questions about the Vessen Crossing Authority, its boats, tolls, rules and people. "
    "Answer with one short sentence."
)
# The weight is tuned on the training questions: the sources of .77 of them are among the best three passages at 0.5 and
# at 0.3, of .64 with embeddings alone and of .72 with BM25 alone.
RETRIEVAL: Final = RetrievalSettings(k=3, dense_weight=0.5, max_context_tokens=700)
MAX_NEW_TOKENS: Final = 48
MAX_MODEL_LEN: Final = 2048
CONCURRENCY: Final = 4

# Of the answerable training questions, the share whose context lacks the golden passages and whose answer is the
# refusal. RAFT (arXiv 2403.10131) keeps the golden passage in most rows; its best shares lie between 40 and 100%.
# A short adapter learns the refusal first: at 0.15 the demo's refused 63% of what it could have answered.
ABSENT_SHARE: Final = 0.05
# Questions of a training row that their context answers, at most.
TURNS: Final = 4
# Passages fetched per training question, among which a golden one is looked for that the served k would miss.
WIDE_K: Final = 40
SEED: Final = 7


@dataclass(frozen=True, slots=True)
class Arm:
    """One of the four specialists: its name, and what is grafted onto the base."""

    name: str
    retrieval: bool
    adapter: bool

    @property
    def grafts(self) -> str:
        """What is grafted, in words."""
        grafted = [word for word, there in (("retrieval", self.retrieval), ("adapter", self.adapter)) if there]
        return " + ".join(grafted) or "nothing"


BASE: Final = Arm("demo-base", retrieval=False, adapter=False)
WITH_RETRIEVAL: Final = Arm("demo-retrieval", retrieval=True, adapter=False)
WITH_ADAPTER: Final = Arm("demo-adapter", retrieval=False, adapter=True)
WITH_BOTH: Final = Arm("demo-both", retrieval=True, adapter=True)
ARMS: Final = (BASE, WITH_RETRIEVAL, WITH_ADAPTER, WITH_BOTH)


def specialist(arm: Arm, *, adapter_ref: str, base: str) -> Specialist:
    """The document of one arm; all four differ in nothing but what is grafted.

    Args:
        arm: Which one.
        adapter_ref: The adapter version that was trained, such as 'demo@1'.
        base: Name of the base model as served.
    """
    return Specialist(
        name=arm.name,
        base=base,
        adapter=adapter_ref if arm.adapter else None,
        collection=COLLECTION if arm.retrieval else None,
        retrieval=RETRIEVAL,
        prompt=PROMPT,
        generation_defaults=GenerationDefaults(temperature=0.0, max_tokens=MAX_NEW_TOKENS),
    )


@dataclass(frozen=True, slots=True)
class DemoPorts:
    """Ports that the demo's own instance listens on; free ones, so that the user's instance may run beside it."""

    milvus: int
    serve: int


def demo_settings(user: Settings, *, ports: DemoPorts) -> Settings:
    """The demo's settings: its own home below the user's, with its own registry, vectors, runs and state.

    Of the user's settings it keeps what says which machine this is: the folder of unpacked base models, GPUs, the kind
    of engine, HAProxy, memory and time limits. Base model, embedder and recipe are the demo's own.
    """
    home = user.home / HOME
    free_ports = PortSettings.model_validate(dict.fromkeys(PortSettings.model_fields, 0))
    return user.model_copy(
        update={
            "home": home,
            "indexer": IndexerSettings(
                milvus_uri=f"http://127.0.0.1:{ports.milvus}",
                chunk_tokens=140,
                chunk_overlap_tokens=20,
                embed_threads=2,
            ),
            "train": TrainSettings(
                models_dir=user.train.models_dir,
                registry=home / "registry",
                storage_path=home / "runs",
                workers=2,
                use_gpu=user.train.use_gpu,
                rank=16,
                alpha=32,
                learning_rate=1e-3,
                epochs=3,
                max_length=1024,
                per_device_batch_size=1,
                gradient_accumulation=1,
                dtype="bfloat16",
                seed=SEED,
                general_dataset=[],  # the demo measures on its own questions, within its budget
                engine_check=False,  # it serves the adapter at once, which shows the same, and the budget is short
            ),
            "serve": ServeSettings(
                port=ports.serve,
                haproxy=user.serve.haproxy,
                accelerator=user.serve.accelerator,
                accelerator_type=user.serve.accelerator_type,
                max_adapters=1,
                max_lora_rank=16,
                allow_unverified=True,  # its training leaves the engine check out
                engine={
                    "max_model_len": MAX_MODEL_LEN,
                    "max_num_seqs": 8,
                    "enforce_eager": True,
                    "dtype": "bfloat16",
                    "enable_prefix_caching": True,
                },
                engine_environment={"VLLM_CPU_KVCACHE_SPACE": "1"},
            ),
            "deploy": user.deploy.model_copy(
                update={"run_dir": None, "milvus_data": None, "start_milvus": True, "ports": free_ports}
            ),
        }
    )
