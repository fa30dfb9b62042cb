"""A registry in a folder with one adapter that counts what is read of it, for tests of what replicas see of one."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from serve.registry_view import RegistryView
from train.base_model import BaseModelFiles, describe_base
from train.registry import publish_adapter, write_specialist
from train.registry.index import RegistryIndex
from train.registry.manifest import AdapterManifest, Provenance
from train.registry.registry import AdapterRegistry


def write_base(folder: Path, *, seed: int) -> BaseModelFiles:
    folder.mkdir()
    weights = np.random.default_rng(seed).standard_normal((8, 8), dtype=np.float32)
    save_file({"model.layers.0.self_attn.q_proj.weight": weights}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 8}))
    return describe_base(folder, name=folder.name)


def write_adapter(folder: Path, *, rank: int = 4) -> Path:
    folder.mkdir()
    prefix = "base_model.model.model.layers.0.self_attn.q_proj"
    tensors = {
        f"{prefix}.lora_A.weight": np.ones((rank, 8), np.float32),
        f"{prefix}.lora_B.weight": np.ones((8, rank), np.float32),
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "target_modules": ["q_proj"], "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


class CountingRegistry(AdapterRegistry):
    """A registry that counts what is read of it, and can be slow or fail where a disk would."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.read: Counter[str] = Counter()
        self.verifying = threading.Event()
        self.verify_s = 0.0
        self.fault: OSError | None = None
        self.lost_after_revision = False

    def read_manifest(self, name: str, version: int, *, index: RegistryIndex) -> AdapterManifest:
        self.read[f"{name}@{version}"] += 1
        return super().read_manifest(name, version, index=index)

    def verify(self, name: str, version: int) -> None:
        self.read["verify"] += 1
        self.verifying.set()
        time.sleep(self.verify_s)
        if self.fault is not None:
            raise self.fault
        super().verify(name, version)

    def read_specialist(self, name: str) -> bytes:
        if self.lost_after_revision:
            (self.root / "index.json").unlink(missing_ok=True)
        return super().read_specialist(name)


class World:
    """A registry with one adapter, and a view of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = write_base(folder / "base", seed=0)
        self.registry = CountingRegistry(folder / "registry")
        self.adapter = write_adapter(folder / "adapter")
        self.publish()

    def view(self, *, max_lora_rank: int = 16, allow_unverified: bool = False) -> RegistryView:
        return RegistryView(
            self.registry,
            base_name="base",
            base=self.base,
            max_lora_rank=max_lora_rank,
            interval_s=0.01,
            allow_unverified=allow_unverified,
        )

    def publish(self, count: int = 1, *, make_stable: bool = True, unverified: bool = False) -> None:
        """Publish the adapter again as the next versions of it."""
        for _ in range(count):
            publish_adapter(
                self.adapter,
                registry=self.registry,
                name="ropes",
                base=self.base,
                provenance=Provenance(unverified=unverified),
                make_stable=make_stable,
            )

    def apply(self, name: str, **document: object) -> None:
        write_specialist(name, json.dumps({"name": name, **document}).encode(), registry=self.registry)
