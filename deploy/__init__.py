"""Settings, the local cluster and the `graftwork` command."""
