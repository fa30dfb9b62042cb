"""What Ray Train adds to a run, measured on this machine."""
