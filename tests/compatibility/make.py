"""Makes the stored files and `expected.json`. This was run once, with revision 0a19643:

  git worktree add --detach ../then 0a19643
  mkdir /laboratory  # files keep the absolute path of the folder where they were made
  PYTHONPATH=$PWD/../then python tests/compatibility/make.py /laboratory

Do not make them again with a later revision: they show that files of this revision still open.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tarfile
import time

import numpy as np
from PIL import Image

from googlenet_jax import runtime

runtime.configure()  # before JAX is imported, as the command does

import observe  # noqa: E402

REVISION = '0a19643'
LEFT_OUT = ('lock', 'launcher.lock', 'events', 'curves.png', 'logs')


def start(*arguments):
  return subprocess.Popen([sys.executable, '-m', 'googlenet_jax', *arguments])


def finish(process, status=0):
  assert process.wait() == status, process.args


def train(run):
  return start('train', f'--config=experiment.py:{run}', f'--workdir={run}')


def stop_after_first_line(process, metrics):
  """Stops a run by SIGTERM as soon as it has logged anything."""
  while not metrics.exists() or not metrics.read_text():
    assert process.poll() is None
    time.sleep(0.002)
  process.send_signal(signal.SIGTERM)
  finish(process, 75)


def make_runs():
  stop_after_first_line(train('stopped'), pathlib.Path('stopped/metrics.jsonl'))
  for run in ('finished', 'caffe', 'torchvision'):
    finish(train(run))
  sweep = ['--config=experiment.py:study', '--sweep=heads', '--root=studies', '--parallel=1']
  finish(start('sweep', *sweep))
  for run in ('stopped', 'finished'):
    pack(run)
  ignored = shutil.ignore_patterns(*LEFT_OUT, 'checkpoints')
  shutil.copytree('studies', observe.STORED / 'studies', ignore=ignored)


def pack(folder):
  with tarfile.open(observe.STORED / f'{folder}.tar.xz', 'w:xz', preset=9) as archive:
    archive.add(folder, filter=anonymous)


def anonymous(entry):
  """An entry of an archive without its owner, or None for one that is left out."""
  if pathlib.PurePath(entry.name).name in LEFT_OUT:
    return None
  entry.uid = entry.gid = 0
  entry.uname = entry.gname = ''
  return entry


def make_weights():
  to = observe.WEIGHTS
  to.mkdir()
  for run, name, *more in (
    ('stopped', 'small.safetensors'),
    ('finished', 'finished.safetensors'),
    ('caffe', 'bvlc.safetensors'),
    ('caffe', 'bvlc.caffemodel'),
    ('caffe', 'folded.npz', '--fold_normalization'),
    ('torchvision', 'torchvision.safetensors', '--to=torchvision'),
  ):
    observe.googlenet('convert', run, to / name, *more)


def make_predictions():
  observe.PREDICTIONS.mkdir()
  for parameters in ('raw', 'ema'):
    kept = f'--predictions={observe.PREDICTIONS / parameters}.npz'
    observe.evaluated('finished', f'--parameters={parameters}', kept)


def make_prepared():
  """Eight images of two of the networks' classes, in folders with the classes' names."""
  random = np.random.RandomState(0)
  for number in range(8):
    file = pathlib.Path('images', f'class {number % 2}', f'{number}.png')
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(random.randint(0, 256, (20, 24, 3), np.uint8)).save(file)
  observe.googlenet('prepare', 'folder:images', 'prepared', '--short_side=20', '--processes=1')
  pack('prepared')


def expected():
  """The observations of all these files with this revision."""
  scratch = pathlib.Path('scratch')
  scratch.mkdir()
  observe.googlenet('train', '--config=experiment.py:finished', '--workdir=finished')  # still done
  return {
    'revision': REVISION,
    'machine': observe.machine(),
    'weights': {
      path.name: {
        **observe.converted(path, scratch),
        'log_probabilities': [round(x, 6) for x in observe.log_probabilities(path, scratch)],
      }
      for path in sorted(observe.WEIGHTS.iterdir())
    },
    'predicted': observe.predicted(scratch),
    'resumed': observe.resumed(pathlib.Path('stopped')),
    'finished': observe.evaluated('finished'),
    'combined': observe.combined(),
    'prepared': observe.prepared('prepared'),
    'studies': observe.reported('studies', scratch),
  }


def main():
  os.chdir(sys.argv[1])
  shutil.copy(observe.HERE / 'experiment.py', '.')
  observe.STORED.mkdir()
  make_runs()
  make_weights()
  make_predictions()
  make_prepared()
  text = json.dumps(expected(), indent=1) + '\n'
  (observe.HERE / 'expected.json').write_text(text)


if __name__ == '__main__':
  main()
