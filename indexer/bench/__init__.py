"""How fast a run of the indexer is, against the embedder alone on the same chunks."""
