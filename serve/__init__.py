"""The serving graph: a request becomes an adapter, a context and a stream."""
