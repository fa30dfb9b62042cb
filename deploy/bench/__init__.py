"""Starts the servers that `graftwork bench serve` measures, one after another."""
