"""docs/family.md is up to date with `make docs-family`."""

import pathlib
import re

import pytest

from googlenet_jax.analysis.compare import claims
from googlenet_jax.analysis.compare.columns import columns
from googlenet_jax.analysis.compare.document import document
from googlenet_jax.analysis.compare.networks import compared, resolve
from googlenet_jax.analysis.compare.render import markdown_table
from googlenet_jax.analysis.figures import album
from googlenet_jax.analysis.papers import STATEMENTS

DOCS = pathlib.Path(__file__).resolve().parents[3] / 'docs'
PAGE = (DOCS / 'family.md').read_text()
# They take a second to trace, all networks of the page ten.
QUICK = ('googlenet/table1', 'alexnet/two_tower', 'nin/imagenet', 'zfnet/figure3', 'dsn/cifar')


@pytest.mark.long
def test_the_page_says_what_the_code_computes():
  networks = [compared(name) for name in resolve([])]
  pictures = [(name, description) for name, description, _ in album.pictures(networks)]
  assert document(networks, pictures, 'family') == PAGE, 'make docs-family writes it anew'


def test_the_page_says_of_a_few_networks_what_the_code_computes():
  networks = [compared(name) for name in QUICK]
  rows = markdown_table(networks, columns(networks, {}, {}))
  assert set(rows) <= set(PAGE.splitlines()), 'make docs-family writes it anew'
  statements = [
    statement
    for of_paper in STATEMENTS.values()
    for statement in of_paper
    if {statement.of, *statement.beside} <= set(QUICK)
  ]
  assert len(statements) >= 4
  for statement in statements:
    computed, _ = claims.judge(statement)
    assert f'| {statement.says} | {computed}' in PAGE, 'make docs-family writes it anew'


def test_more_than_a_printed_range_is_not_borne_out():
  (row,) = (line for line in PAGE.splitlines() if '| 2 to 3 times faster' in line)
  assert ': 9.8 times' in row and row.endswith('| **not borne out** |')


def test_the_page_shows_the_pictures_that_there_are():
  shown = set(re.findall(r'"(family/[^"]*)"', PAGE))
  assert shown == {f'family/{path.name}' for path in (DOCS / 'family').glob('*.svg')}
