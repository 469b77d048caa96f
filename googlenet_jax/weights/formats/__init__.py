"""Reads and writes the formats of files of weights; nothing in a file is ever executed."""
