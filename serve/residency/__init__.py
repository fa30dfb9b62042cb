"""Which adapters a replica keeps in its engine: the decision (`plan`) and the work (`manager`)."""
