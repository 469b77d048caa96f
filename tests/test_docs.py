"""The pages: every link leads somewhere, every page is in the navigation, and their code runs."""

import json
import pathlib
import re

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOCS = ROOT / 'docs'
PAGES = sorted(DOCS.rglob('*.md'))


class Loader(yaml.SafeLoader):
  """Reads mkdocs.yml, whose own tags do not matter here."""


Loader.add_multi_constructor('', lambda loader, suffix, node: None)


def listed(entry):
  """Pages of a part of the navigation."""
  if isinstance(entry, str):
    yield entry
  for part in entry.values() if isinstance(entry, dict) else entry:
    if not isinstance(entry, str):
      yield from listed(part)


def test_every_page_is_in_the_navigation():
  navigation = yaml.load((ROOT / 'mkdocs.yml').read_text(), Loader)['nav']
  pages = list(listed(navigation))
  assert sorted(pages) == sorted(page.relative_to(DOCS).as_posix() for page in PAGES)


@pytest.mark.parametrize('page', [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *PAGES], ids=str)
def test_links_lead_to_files(page):
  text = re.sub(r'```.*?```', '', page.read_text(), flags=re.DOTALL)
  links = re.findall(r'\]\(([^)\s]+)\)|(?:src|srcset)="([^"]+)"', text)
  for target in (first or second for first, second in links):
    path = target.partition('#')[0]
    if path and not re.match(r'https?://', path):
      assert (page.parent / path).exists(), target


def test_the_front_page_is_short():
  assert len((ROOT / 'README.md').read_text().split()) <= 900


def blocks(page, name):
  """The Python block of a page that defines a name, executed."""
  found = re.findall(r'```python\n(.*?)```', (DOCS / page).read_text(), re.DOTALL)
  (block,) = (text for text in found if re.search(rf'^(def|class) {name}\b', text, re.MULTILINE))
  namespace = {'__name__': 'example'}
  exec(block, namespace)
  return namespace


def test_the_tracker_of_the_page_follows_a_run(tmp_path):
  lines = [{'step': 10, 'train/loss': 2.0}, {'step': 20, 'train/loss': 1.0}]
  text = ''.join(json.dumps(line) + '\n' for line in lines)
  (tmp_path / 'metrics.jsonl').write_text(text + '{"step": 30, "tra')
  (tmp_path / 'DONE').touch()
  sent = []
  blocks('extending.md', 'follow')['follow'](tmp_path, lambda *line: sent.append(line), every=0)
  assert sent == [(10, {'train/loss': 2.0}), (20, {'train/loss': 1.0})]


def test_the_source_of_the_page_is_a_split():
  split = blocks('extending.md', 'open_mine')['open_mine']('test')
  assert len(split.records) == 100 and split.classes == ('dark', 'light')
  assert split.records[3]['image'].shape == (32, 32, 3) and split.records[3]['label'] == 1


def test_the_network_of_the_page_is_one():
  import dataclasses

  import flax.linen as nn
  import jax

  from googlenet_jax.models.family import CLASSIFIER, Network, Outputs
  from googlenet_jax.models.layers import Classifier

  @dataclasses.dataclass(frozen=True)
  class Architecture:
    batch_norm: None = None
    kernel_init: str = 'he_normal'

  found = re.findall(r'```python\n(.*?)```', (DOCS / 'extending.md').read_text(), re.DOTALL)
  (block,) = (text for text in found if 'class TinyNet' in text)
  names = {'nn': nn, 'Network': Network, 'Outputs': Outputs, 'Classifier': Classifier}
  namespace = names | {'CLASSIFIER': CLASSIFIER, '__name__': 'example'}
  exec(block, namespace)
  model = namespace['TinyNet'](architecture=Architecture(), classes=7)
  images = jax.numpy.zeros([2, 32, 32, 3])
  variables = model.init(jax.random.key(0), images)
  assert model.apply(variables, images).logits.shape == (2, 7)
