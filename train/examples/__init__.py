"""Training rows from a collection: questions about its chunks, answers from its passages, and what is left out."""
