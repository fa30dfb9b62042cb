"""Sweeps: the same training over several values of its settings, run by Ray Tune, and the best of them published."""
