"""Pages of predictions: a web page in one file, or a PNG."""

import base64
import html
import io
import pathlib
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from googlenet_jax import files
from googlenet_jax.data.geometry import resize, resized_size, without_far_ends
from googlenet_jax.errors import UserError
from googlenet_jax.evaluation.predict import Class

SUFFIXES = ('.html', '.png')
_MOST = {'.html': 2000, '.png': 100}  # images on one page
_SIDE = 224  # maximum length of a thumbnail's shorter side
_LONGEST = 90  # maximum characters of a file's name in a .png


class Entry(NamedTuple):
  """An image on the page.

  Attributes:
    name: name of its file.
    pictures: uint8[h, w, 3], RGB: its thumbnail and, if requested, where the networks look.
    classes: the most likely classes, in descending order.
  """

  name: str
  pictures: list[np.ndarray]
  classes: list[Class]


def check_path(path: pathlib.Path, images: int) -> None:
  """Raises UserError, before anything is computed, if `save` could not write to the path."""
  if path.suffix.lower() not in SUFFIXES:
    raise UserError(f'--out={path}: accepted: a name that ends in {" or ".join(SUFFIXES)}')
  files.check_place('--out', path)
  most = _MOST[path.suffix.lower()]
  if images > most:
    raise UserError(f'--out={path}: {images} images; accepted: up to {most}')


def thumbnail(image: np.ndarray) -> np.ndarray:
  """A small copy of an image, or of its middle if one side is over 4 times the other."""
  image = without_far_ends(image)
  side = min(_SIDE, *image.shape[:2])
  return resize(image, resized_size(image.shape[:2], side), 'auto')


def save(entries: Sequence[Entry], path: pathlib.Path, title: str) -> None:
  """Writes the page in the format of its suffix, whole or not at all.

  Raises:
    UserError: the page cannot be written.
  """
  data = _page(entries, title).encode() if path.suffix.lower() == '.html' else _png(entries, title)
  with files.replacing(path) as temporary:
    temporary.write_bytes(data)


_STYLE = """
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --line: #ddd; --track: #eef1f6;
  --bar: #3567b0; --faint: #666; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e4e4; --paper: #16181c; --line: #34373d; --track: #24272e; --bar: #6f9ce0;
    --faint: #a0a4ab; }
}
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem;
  color: var(--ink); background: var(--paper); }
h1 { font-size: 1.2rem; overflow-wrap: anywhere; }
article { display: flex; flex-wrap: wrap; gap: 1rem; padding: 1rem 0;
  border-top: 1px solid var(--line); }
p { color: var(--faint); }
img { height: 160px; max-width: min(320px, 100%); object-fit: contain; object-position: left top; }
section { flex: 1 1 20rem; min-width: 0; }
h2 { font-size: 1rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
table { width: 100%; border-collapse: collapse; }
td { padding: .1rem 0; vertical-align: top; }
td:first-child { width: 55%; padding-right: 1rem; overflow-wrap: anywhere; }
td:last-child { width: 4.5rem; text-align: right; font-variant-numeric: tabular-nums; }
.track { background: var(--track); margin-top: .35em; }
.bar { background: var(--bar); height: .8em; min-width: 1px; }
tr:first-child td:first-child { font-weight: 600; }
"""
_EXPLAINED = (
  '<p>Next to each image: the parts of it that count for the first class, from red (most) to blue '
  '(not at all).</p>'
)


def _page(entries: Sequence[Entry], title: str) -> str:
  body = '\n'.join(_article(entry) for entry in entries)
  explained = any(len(entry.pictures) > 1 for entry in entries)
  return (
    '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    f'<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n'
    f'<h1>{html.escape(title)}</h1>\n{_EXPLAINED if explained else ""}{body}\n</html>\n'
  )


def _article(entry: Entry) -> str:
  name = html.escape(entry.name)
  pictures = ''.join(
    f'<img src="data:image/jpeg;base64,{_jpeg(picture)}" alt="{what}{name}">'
    for picture, what in zip(
      entry.pictures, ('', 'the parts that count for the first class in '), strict=False
    )
  )
  rows = ''.join(
    f'<tr><td>{html.escape(one.name)}</td>'
    f'<td><div class="track"><div class="bar" style="width:{one.probability:.1%}"></div></div></td>'
    f'<td>{one.probability:.1%}</td></tr>'
    for one in entry.classes
  )
  return f'<article>{pictures}<section><h2>{name}</h2><table>{rows}</table></section></article>'


def _jpeg(picture: np.ndarray) -> str:
  import simplejpeg

  data = simplejpeg.encode_jpeg(np.ascontiguousarray(picture), quality=90)
  return base64.b64encode(data).decode()


def _png(entries: Sequence[Entry], title: str) -> bytes:
  from matplotlib.figure import Figure

  columns = max(len(entry.pictures) for entry in entries)
  height = 1.9 * len(entries) + 0.5
  figure = Figure(figsize=(1.9 * columns + 7, height), layout='constrained')
  figure.suptitle(title, fontsize=10, parse_math=False)
  axes = figure.subplots(
    len(entries), columns + 1, squeeze=False, width_ratios=[1.9] * columns + [7]
  )
  for entry, row in zip(entries, axes, strict=True):
    for picture, axis in zip(entry.pictures, row, strict=False):
      axis.imshow(picture)
    for axis in row[:-1]:
      axis.set_axis_off()
    _bars(row[-1], entry)
  stream = io.BytesIO()
  with warnings.catch_warnings():
    warnings.filterwarnings('ignore', message='Glyph')  # names in scripts that the font lacks
    figure.savefig(stream, format='png', dpi=100)
  return stream.getvalue()


def _bars(axis: Any, entry: Entry) -> None:
  places = range(len(entry.classes))
  values = [one.probability for one in entry.classes]
  axis.barh(places, values, color='#3567b0', height=0.35, align='edge')
  for place, one in zip(places, entry.classes, strict=True):
    label = one.name if len(one.name) <= 70 else f'{one.name[:69]}...'
    axis.text(0, place - 0.08, label, fontsize=8, va='bottom', parse_math=False)
    axis.text(1.02, place + 0.17, f'{one.probability:.1%}', fontsize=8, va='center')
  axis.set(xlim=(0, 1), ylim=(-0.55, len(entry.classes) - 0.4), yticks=[])
  axis.invert_yaxis()
  axis.set_axis_off()
  name = entry.name  # shortened at the start, since file names differ at the end
  name = name if len(name) <= _LONGEST else f'...{name[3 - _LONGEST :]}'
  axis.set_title(name, fontsize=9, loc='left', parse_math=False)
