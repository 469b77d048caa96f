"""A summary of a conversion as text."""

import pathlib
from typing import Any


def describe(figures: dict[str, Any], destination: pathlib.Path) -> str:
  """A conversion's figures (`convert.Conversion.figures`) and destination, as text."""
  taken = figures['preprocessing']
  mean, std = (', '.join(f'{value:g}' for value in taken[key]) for key in ('mean', 'std'))
  named = 'named' if figures['named_classes'] else 'without names (--classes=FILE gives them)'
  lines = [
    f'found:   {figures["layout"]}, names {figures["names"]}, '
    f'family {figures["family"]}, variant {figures["variant"] or "other"}',
    f'holds:   {figures["layers"]} layers, {figures["tensors"]} tensors, '
    f'{figures["values"]:,} values',
    f'heads:   {", ".join(figures["heads"]) or "none"}',
    f'classes: {figures["classes"]}, {named}',
    f'images:  {taken["image_size"]} pixels of {taken["resize"]}, {taken["channel_order"]}, '
    f'mean {mean}, std {std}',
    *(f'note:    {note}' for note in figures['notes']),
    f'written: {destination}',
  ]
  return '\n'.join(lines)
