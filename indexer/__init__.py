"""Documents in, searchable passages out: parse, chunk, embed and store in Milvus with Ray Data."""
