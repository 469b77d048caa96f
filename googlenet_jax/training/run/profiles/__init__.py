"""Traces of a few steps of a run: recorded by the run, possibly at another process's request."""
