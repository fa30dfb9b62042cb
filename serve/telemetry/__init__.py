"""What makes requests seen: metrics, spans, one log line each. None of it holds a prompt, a passage or a key."""
