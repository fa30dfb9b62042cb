"""How well a collection answers: questions with known passages, measures and intervals."""
