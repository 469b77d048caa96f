"""All readers of manifests follow the same rules."""

import io

import pytest
from PIL import Image

from googlenet_jax.data.prepare.sources import list_manifest
from googlenet_jax.data.sources import open_split
from googlenet_jax.data.sources.manifest import read_rows
from googlenet_jax.errors import UserError
from googlenet_jax.evaluation.data import open_manifest


@pytest.fixture
def written(tmp_path):
  def write(text):
    path = tmp_path / '목록.csv'
    path.write_text(text, encoding='utf-8')
    return path

  return write


@pytest.mark.parametrize(
  ('text', 'expected'),
  [
    ('file,label,split\na.png,개,val\n', [('a.png', '개', 'validation')]),
    ('\ufefffile,label,split\r\na.png,x,train\r\n', [('a.png', 'x', 'train')]),
    (
      'split , author, label,file\n test,"Kim, J.", "newt, eft",  "b/"",c.png"\n',
      [('b/",c.png', 'newt, eft', 'test')],
    ),
    ('file,label,split\n\na.png,x,train\n\n', [('a.png', 'x', 'train')]),
  ],
)
def test_what_a_manifest_may_look_like(written, text, expected):
  assert [(row.file, row.label, row.split) for row in read_rows(written(text))] == expected


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('', "line 1: no column 'file'; accepted: file,label or more columns"),
    ('path,label\na.png,1\n', "line 1: no column 'file'"),
    ('file,class\na.png,1\n', "line 1: no column 'label'"),
    ('file,label,file\na.png,1,b.png\n', "line 1: two columns named 'file'"),
    ('file,label\n', 'no images below the line with the column names'),
    ('file,label\na.png\n', "line 2: 'a.png': 1 cells; accepted: 2, as in line 1"),
    ('file,label\na.png,newt, eft\n', "line 2: 'a.png,newt,eft': 3 cells; accepted: 2"),
    ('file,label\na.png, \n', "line 2: 'a.png,': label is empty or not text"),
    ('file,label\n\0,x\n', 'line 2: '),
    ('file,label,split\na.png,x,\n', 'split is empty or not text'),
    ('file,label,split\na.png,x,dev\n', "split 'dev'; accepted: train, val, validation, test"),
    ('file,label\na.png,x\nb.png,x\na.png,y\n', 'line 4: a.png is already in line 2'),
    ('file,label\n"a.png,x\n', 'not a CSV file in UTF-8'),
  ],
)
def test_every_reader_refuses_the_same_with_its_line(written, tmp_path, text, message):
  path = written(text)
  for read in (
    list_manifest,
    lambda path: open_manifest(path, None, ('x', 'y')),
    lambda path: open_split(f'manifest:{path}', 'train', cache_dir=tmp_path),
  ):
    with pytest.raises(UserError) as error:
      read(path)
    assert message in str(error.value) and str(error.value).startswith(str(path))
    assert '\n' not in str(error.value)


def test_not_utf_8_or_not_there(tmp_path):
  with pytest.raises(UserError, match=r'no\.csv: cannot be read: No such file'):
    read_rows(tmp_path / 'no.csv')
  (tmp_path / 'a.csv').write_bytes('file,label\n개.png,x\n'.encode('cp949'))
  with pytest.raises(UserError, match=r'a\.csv: not a CSV file in UTF-8'):
    read_rows(tmp_path / 'a.csv')


def test_training_reads_a_manifest(written, tmp_path):
  stream = io.BytesIO()
  Image.new('RGB', (4, 4)).save(stream, 'PNG')
  (tmp_path / 'b.png').write_bytes(stream.getvalue())
  path = written('file,label,split\na.png,10,train\nb.png,9,train\nc.png,10,val\n')
  source = f'manifest:{path}'
  train = open_split(source, 'train', cache_dir=tmp_path)
  assert train.classes == ('9', '10'), 'whole numbers in their own order'
  assert [(file.name, label) for file, label in train.records.files] == [('a.png', 1), ('b.png', 0)]
  assert train.records[1] == {
    'image': stream.getvalue(),
    'label': 0,
    'name': str(tmp_path / 'b.png'),
  }
  for name in ('val', 'validation'):
    assert len(open_split(source, name, cache_dir=tmp_path).records) == 1
  with pytest.raises(UserError, match=r"split 'test' of manifest:.*accepted: train, validation"):
    open_split(source, 'test', cache_dir=tmp_path)


def test_without_a_column_split_all_readers_hold_out_the_same_tenth(written, tmp_path):
  path = written('file,label\n' + ''.join(f'{i}.png,{"ab"[i % 2]}\n' for i in range(300)))
  found = {}
  for split in ('train', 'test'):
    opened = open_split(f'manifest:{path}', split, cache_dir=tmp_path).records.files
    assert opened == open_manifest(path, split, ('a', 'b')).records.files
    listed = list_manifest(path).splits[split]
    assert [(item.path, item.label) for item in listed] == [(str(f), label) for f, label in opened]
    found[split] = len(opened)
  assert sum(found.values()) == 300 and 15 <= found['test'] <= 45
