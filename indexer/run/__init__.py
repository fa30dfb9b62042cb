"""A run of the indexer on Ray Data."""
