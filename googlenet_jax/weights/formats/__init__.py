"""Reads and writes the formats of weight files; nothing in a file is ever executed."""
