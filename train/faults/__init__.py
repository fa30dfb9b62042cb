"""What a run does when a node, a worker or its storage goes."""
