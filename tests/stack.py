"""A real instance for tests: `graftwork up` with a tiny engine, its collections, adapters and specialists.

Everything is done through the command line, as a user would.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import openai
import yaml

from tests.models import build_tiny_llama

HANDBOOK = {
    "ropes.md": "# Ropes of Tarn Quay\n\n## Hawser\n\nThe hawser of the north berth is 212 metres long and is tarred "
    "every third autumn.\n\n## Heaving line\n\nThe heaving line is 31 metres of braided flax.\n",
    "lamps.md": "# Lamps\n\n## Red lamp\n\nThe red lamp burns rape oil and is trimmed at the fourth bell.\n",
    "tides.txt": "Tides at Tarn Quay\n\nThe ferry does not cross when the ebb runs faster than five knots.\n",
}
SPECIALISTS: tuple[dict[str, object], ...] = (
    {"name": "plain", "prompt": "You keep the quay."},
    {"name": "retrieval", "collection": "handbook", "retrieval": {"k": 2}},
    {"name": "adapter", "adapter": "ropes@1"},
    {"name": "both", "adapter": "ropes@stable", "collection": "handbook", "retrieval": {"k": 2, "dense_weight": 0.5}},
)
# A model of random weights would write blanks for ever where a grammar lets it.
PARSERS = {
    "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
    "enable_auto_tool_choice": True,
    "tool_call_parser": "hermes",
}
DEFAULTS = {"temperature": 0, "max_tokens": 8}
_COMMAND_LIMIT_S = 400


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command did."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, object]:
        """The JSON object in the last line of stdout."""
        last = self.stdout.strip().splitlines()[-1]
        found = json.loads(last)
        assert isinstance(found, dict)
        return found


@dataclass(frozen=True, slots=True)
class Stack:
    """One instance; every command runs in an unrelated folder."""

    home: Path
    config: Path
    url: str
    key: str = "none"

    def run(
        self, *arguments: str, check: bool = True, limit_s: float = _COMMAND_LIMIT_S, given: str | None = None
    ) -> Answer:
        """Run one `graftwork` command against this home; `given` is its standard input."""
        command = [str(Path(sys.executable).parent / "graftwork"), "--config", str(self.config), *arguments]
        done = subprocess.run(
            command,
            cwd="/",
            env={**environment(self.home), "GRAFTWORK_API_KEY": self.key},
            input=given,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )
        answer = Answer(code=done.returncode, stdout=done.stdout, stderr=done.stderr)
        if check and answer.code != 0:
            raise AssertionError(f"graftwork {' '.join(arguments)} exited {answer.code}:\n{done.stdout}\n{done.stderr}")
        return answer

    @property
    def client(self) -> openai.OpenAI:
        """The official client."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.key, max_retries=0, timeout=120)

    @property
    def async_client(self) -> openai.AsyncOpenAI:
        """The official asynchronous client."""
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=self.key, max_retries=0, timeout=120)

    @property
    def http(self) -> httpx.Client:
        """A plain HTTP client; reading the certificates of the world takes seconds beside a busy engine."""
        headers = {"authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=self.url, timeout=120, trust_env=False, verify=False, headers=headers)


def environment(home: Path) -> dict[str, str]:
    """The environment of a command: ours, offline, with a home folder of its own and no Graftwork settings."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("GRAFTWORK_", "RAY_"))}
    return {**kept, **engine_cache(), "HOME": str(home), "HF_HUB_OFFLINE": "1", "COLUMNS": "120"}


def engine_cache() -> dict[str, str]:
    """One cache for all homes: vLLM looks into a model's class in a process of its own, 10 s, where none has it yet."""
    return {"VLLM_CACHE_ROOT": os.environ.get("VLLM_CACHE_ROOT", str(Path.home() / ".cache" / "vllm"))}


def free_port() -> int:
    """A port that is free now on 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def write_config(folder: Path, *, base_model: Path, haproxy: bool, **serve: object) -> Path:
    """A settings file for an instance on free ports with an engine that starts in seconds."""
    settings = {
        "home": str(folder / "graftwork"),
        "indexer": {"milvus_uri": f"http://127.0.0.1:{free_port()}"},
        "train": {"base_model": str(base_model)},
        "serve": {
            "port": free_port(),
            "haproxy": haproxy,
            "engine": {"max_model_len": 1024, "enforce_eager": True, "dtype": "float32", "max_num_seqs": 8, **PARSERS},
            "engine_environment": {"VLLM_CPU_KVCACHE_SPACE": "1"},
            "max_adapters": 2,
            **serve,
        },
        "deploy": {"ports": {"dashboard": 0}, "object_store_mib": 100},
    }
    path = folder / "graftwork.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def start_stack(folder: Path, *, haproxy: bool, keys: bool = False, **serve: object) -> Stack:
    """Bring an instance up and give it a collection, two adapter versions and four specialists.

    Args:
        folder: Where everything of it lies.
        haproxy: Whether HAProxy is the ingress, or Serve's own proxy.
        keys: Whether it asks for keys; the stack has one that may do all.
        serve: More of the settings' section `serve`.
    """
    base_model = build_tiny_llama(folder / "tiny-base")
    file = {"keys": {"file": str(folder / "keys.json")}} if keys else {}
    write_config(folder, base_model=base_model, haproxy=haproxy, **file, **serve)
    stack = open_stack(folder)
    if keys:
        stack = replace(stack, key=str(stack.run("keys", "create", "--tenant", "default", "--json").json["key"]))
    stack.run("up")
    try:
        _fill(stack, base_model)
    except BaseException:
        stack.run("down", check=False)
        raise
    return stack


def open_stack(folder: Path) -> Stack:
    """The instance whose settings file lies in a folder."""
    config = folder / "graftwork.yaml"
    port = yaml.safe_load(config.read_text())["serve"]["port"]
    return Stack(home=folder, config=config, url=f"http://127.0.0.1:{port}")


def _fill(stack: Stack, base_model: Path) -> None:
    documents = stack.home / "handbook"
    documents.mkdir()
    for name, text in HANDBOOK.items():
        (documents / name).write_text(text)
    stack.run("index", str(documents), "--collection", "handbook")
    for seed in (1, 2):
        folder = build_tiny_adapter(base_model, stack.home / f"adapter-{seed}", seed=seed)
        stack.run("adapters", "import", str(folder), "--name", "ropes")
    for specialist in SPECIALISTS:
        path = stack.home / f"{specialist['name']}.json"
        path.write_text(json.dumps({**specialist, "generation_defaults": DEFAULTS}))
        stack.run("specialists", "apply", str(path))


def build_tiny_adapter(base_model: Path, folder: Path, *, seed: int) -> Path:
    """A random LoRA of rank 4 that changes what the tiny model says."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.float32)
        config = LoraConfig(
            r=4, lora_alpha=64, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False
        )
        get_peft_model(model, config).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True)
    print(start_stack(target, haproxy=True).url)
