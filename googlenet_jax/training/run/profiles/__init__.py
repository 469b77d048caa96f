"""Traces of a few steps of a run: made by the run, and asked for from outside."""
