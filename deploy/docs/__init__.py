"""Keeps the README true: runs the commands it shows and writes what they print."""
