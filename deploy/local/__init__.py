"""One Graftwork instance on this machine: Ray, milvus-lite and the serving graph, started, watched and stopped."""
