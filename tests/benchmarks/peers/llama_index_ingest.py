"""LlamaIndex's IngestionPipeline on a folder of HTML files, as its documentation builds it; the last line is JSON.

    python llama_index_ingest.py --folder HTML --model FOLDER --milvus URI [--workers N] [--batch N] [--dtype NAME]

Runs in an environment of its own, see requirements-llama-index.txt. Its own reader, sentence splitter, embedding class
and Milvus store; chunks of 200 tokens by the model's tokenizer with an overlap of 30, and no metadata in front of them.
The clock starts before torch is imported and stops when the store has everything.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import cache, partial
from pathlib import Path

from llama_index.core import SimpleDirectoryReader
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from tokenizers import Tokenizer

CHUNK_TOKENS, OVERLAP_TOKENS = 200, 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True, help="folder of the sentence-transformers model")
    parser.add_argument("--milvus", required=True, help="URI of a Milvus server")
    parser.add_argument("--workers", type=int, default=1, help="processes that read, split and embed")
    parser.add_argument("--batch", type=int, default=32, help="texts of a forward pass")
    parser.add_argument("--dtype", default="float32")
    given = parser.parse_args()
    began = time.perf_counter()
    from llama_index.embeddings.huggingface import HuggingFaceEmbedding
    from llama_index.readers.file import HTMLTagReader
    from llama_index.vector_stores.milvus import MilvusVectorStore

    embedding = HuggingFaceEmbedding(
        model_name=str(given.model),
        device="cpu",
        embed_batch_size=given.batch,
        model_kwargs={"dtype": given.dtype},
    )
    splitter = SentenceSplitter(
        chunk_size=CHUNK_TOKENS,
        chunk_overlap=OVERLAP_TOKENS,
        tokenizer=partial(token_ids, given.model),
        include_metadata=False,
    )
    store = MilvusVectorStore(
        uri=given.milvus, collection_name="peer", dim=384, overwrite=True, use_async_client=False, batch_size=500
    )
    loaded = time.perf_counter()
    reader = SimpleDirectoryReader(
        input_dir=str(given.folder),
        recursive=True,
        required_exts=[".html"],
        file_extractor={".html": HTMLTagReader(tag="body")},
    )
    documents = reader.load_data(num_workers=given.workers)
    for document in documents:
        document.excluded_embed_metadata_keys = list(document.metadata)
    read = time.perf_counter()
    nodes = IngestionPipeline(transformations=[splitter, embedding], vector_store=store, disable_cache=True).run(
        documents=documents, num_workers=given.workers
    )
    done = time.perf_counter()
    figures = {
        "documents": len(documents),
        "chunks": len(nodes),
        "seconds": done - began,
        "load_s": loaded - began,
        "read_s": read - loaded,
        "pipeline_s": done - read,
        "workers": given.workers,
        "batch": given.batch,
        "dtype": given.dtype,
    }
    print(json.dumps(figures))


def token_ids(model: Path, text: str) -> list[int]:
    """The ids of a text's tokens; a plain function, because the pipeline sends it to its processes."""
    return tokenizer_of(model).encode(text, add_special_tokens=False).ids


@cache
def tokenizer_of(model: Path) -> Tokenizer:
    """The model's tokenizer, which neither cuts nor pads."""
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


if __name__ == "__main__":
    main()
