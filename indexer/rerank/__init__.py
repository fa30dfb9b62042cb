"""Ordering the head of a ranking anew, by a second look at each passage together with the question."""
