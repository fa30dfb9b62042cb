"""Who is worked on now, who waits, and who is turned away."""
