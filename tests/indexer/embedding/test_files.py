from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from indexer.chunking.tokens import EmbedderTokenizer
from indexer.embedding.embedder import Embedder
from indexer.embedding.files import EMBEDDED_NAME, resolve_embedder, same_weights
from indexer.errors import InputError, UnavailableError


def test_what_the_files_say_is_what_the_loaded_model_says(embedder: Embedder) -> None:
    files = resolve_embedder(EMBEDDED_NAME)
    assert (files.dimension, files.max_tokens, files.identity) == (384, 256, embedder.identity)
    assert (embedder.dimension, embedder.max_tokens) == (384, 256)


def test_a_copy_elsewhere_has_the_same_weights_and_changed_ones_do_not(tmp_path: Path) -> None:
    here = resolve_embedder(EMBEDDED_NAME)
    shutil.copytree(here.path, tmp_path / "copy")
    copy = resolve_embedder(str(tmp_path / "copy"))
    assert copy.identity.startswith("copy@")
    assert same_weights(copy.identity, here.identity)
    shutil.copytree(here.path, tmp_path / "changed")
    (tmp_path / "changed" / "model.safetensors").write_bytes(b"other")
    assert not same_weights(resolve_embedder(str(tmp_path / "changed")).identity, here.identity)


def test_an_unknown_model_is_unavailable() -> None:
    with pytest.raises(UnavailableError, match="no-such/model"):
        resolve_embedder("no-such/model")


def test_a_model_of_the_hub_is_named_with_the_revision_that_was_found(tmp_path: Path) -> None:
    first, second = "a1" * 20, "b2" * 20
    cached = tmp_path / "hub" / "models--org--mini"
    for commit in (first, second):
        shutil.copytree(resolve_embedder(EMBEDDED_NAME).path, cached / "snapshots" / commit)
    (cached / "snapshots" / second / "model.safetensors").write_bytes(b"other")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(first)
    (cached / "refs" / "v2").write_text(second)
    script = (
        "import sys\nfrom indexer.embedding.files import resolve_embedder\n"
        "for name in sys.argv[1:]: print(resolve_embedder(name).identity)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "org/mini", "org/mini@v2", f"org/mini@{second}"],
        env={**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    main, tag, commit = done.stdout.split()
    assert main.startswith(f"org/mini@{first[:12]}@")
    assert same_weights(main, resolve_embedder(EMBEDDED_NAME).identity)
    assert tag == commit
    assert tag.startswith(f"org/mini@{second[:12]}@")
    assert not same_weights(tag, main)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"modules\.json"):
        resolve_embedder(str(tmp_path))


def test_a_dense_layer_sets_the_dimension(tmp_path: Path) -> None:
    (tmp_path / "2_Dense").mkdir()
    modules = [{"type": "x.Transformer", "path": ""}, {"type": "x.Dense", "path": "2_Dense"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "2_Dense" / "config.json").write_text('{"out_features": 96}')
    files = resolve_embedder(str(tmp_path))
    assert (files.dimension, files.max_tokens) == (96, 512)


@pytest.mark.parametrize(
    ("saved", "prompt"),
    [
        ({"prompts": {"document": "passage: ", "query": "query: "}}, "passage: "),
        ({"prompts": {"passage": "passage: "}}, ""),
        ({"prompts": {"x": "x: "}, "default_prompt_name": "x"}, ""),
        ({"prompts": {"document": None}}, ""),
        ({}, ""),
    ],
)
def test_the_files_tell_the_prompt_that_the_loaded_model_puts_in_front(
    tmp_path: Path, saved: dict[str, object], prompt: str
) -> None:
    folder = tmp_path / "prompted"
    shutil.copytree(resolve_embedder(EMBEDDED_NAME).path, folder, copy_function=os.symlink)
    config = folder / "config_sentence_transformers.json"
    whole = {**json.loads(config.read_text()), **saved}
    config.unlink()
    config.write_text(json.dumps(whole))
    assert resolve_embedder(str(folder)).document_prompt == prompt
    assert Embedder(str(folder), "cpu")._prompt(query=False) == prompt


def test_the_tokenizer_counts_all_of_a_long_text(tokenizer: EmbedderTokenizer) -> None:
    text = "soil and water " * 200
    assert tokenizer.count(text) == 600
    spans = tokenizer.spans(text)
    assert len(spans) == 600
    assert text[slice(*spans[-1])] == "water"
    assert tokenizer.special_tokens == 2


def test_a_model_without_fast_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        EmbedderTokenizer(tmp_path)
