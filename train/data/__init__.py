"""Datasets of conversations: where they lie, what a row may look like, and what is wrong with them."""
