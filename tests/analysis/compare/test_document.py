"""docs/family.md is up to date with `make docs-family`."""

import pathlib
import re

from googlenet_jax.analysis.compare.document import document
from googlenet_jax.analysis.compare.networks import compared, resolve
from googlenet_jax.analysis.figures import album

DOCS = pathlib.Path(__file__).resolve().parents[3] / 'docs'


def test_the_page_says_what_the_code_computes():
  networks = [compared(name) for name in resolve([])]
  pictures = [(name, description) for name, description, _ in album.pictures(networks)]
  page = (DOCS / 'family.md').read_text()
  assert page == document(networks, pictures, 'family'), 'make docs-family writes it anew'
  shown = set(re.findall(r'"(family/[^"]*)"', page))
  assert shown == {f'family/{path.name}' for path in (DOCS / 'family').glob('*.svg')}
