"""The `graftwork` command: one module per group of verbs."""
