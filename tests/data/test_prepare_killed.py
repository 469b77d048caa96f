"""`prepare` killed: what a second run finds, and that no processes are left behind."""

import multiprocessing
import os
import pathlib
import random
import shutil
import signal

import pytest
from prepared_files import data_files, encoded, stored, write_files
from waiting import wait_until

from googlenet_jax.data.prepare import prepare
from googlenet_jax.data.sources import open_split
from googlenet_jax.errors import UserError

IMAGES, SHARDS = 240, 12


@pytest.fixture(scope='module')
def server():
  """Starts processes in milliseconds, with everything imported."""
  context = multiprocessing.get_context('forkserver')
  context.set_forkserver_preload(
    [
      'googlenet_jax.data.prepare',
      'tensorflow_datasets',
      'array_record.python.array_record_module',
      'simplejpeg',
      'cv2',
      'test_prepare_killed',
    ]
  )
  return context


@pytest.fixture(scope='module')
def source(tmp_path_factory):
  contents = {
    f'train/{("개", "b")[i % 2]}/{i}.{kind.lower()}': encoded(i, (40 + i % 7, 50), kind)
    for i in range(IMAGES)
    for kind in [('PNG', 'JPEG')[i % 2]]
  }
  contents['train/b/corrupt.jpg'] = contents['train/b/5.jpeg'][:300]
  return f'folder:{write_files(tmp_path_factory.mktemp("in"), contents)}'


def run(source, out, processes=1):
  return prepare(source, out, name='x', shards=SHARDS, processes=processes)


@pytest.fixture(scope='module')
def whole(source, tmp_path_factory):
  """The files of an undisturbed run."""
  out = tmp_path_factory.mktemp('whole')
  prepared = run(source, out)
  assert len(stored(out, 'train')) == IMAGES and len(prepared.bad) == 1
  return data_files(out)


def check_unfinished(out, whole):
  """Checks that files with final names are complete, and the description only comes last."""
  if out.is_dir():
    shards = {path.name: path.read_bytes() for path in out.glob('x-*')}
    assert shards.items() <= whole.items()
    assert len(shards) == SHARDS or not (out / 'dataset_info.json').exists()


def run_and_die(source, out, images, seconds):
  """Prepares, and dies after a number of images and some more computing time."""

  def progress(done, total):
    if done >= images and not any(signal.getitimer(signal.ITIMER_PROF)):
      signal.setitimer(signal.ITIMER_PROF, seconds)  # the default action of SIGPROF is death

  prepare(source, out, name='x', shards=SHARDS, progress=progress)


def test_killed_at_ten_random_moments(server, source, whole, tmp_path):
  """Moments in the work, not on the clock, so that a busy machine does not shift them."""
  moments, kept = random.Random(7), []
  while len(kept) < 10:
    out = tmp_path / str(len(kept))
    moment = (moments.randrange(IMAGES), moments.uniform(1e-6, 0.01))
    process = server.Process(target=run_and_die, args=(source, out, *moment))
    process.start()
    process.join()
    if process.exitcode == 0:  # the moment would have come after the end
      shutil.rmtree(out)
      continue
    assert process.exitcode == -signal.SIGPROF
    check_unfinished(out, whole)
    kept.append(IMAGES + 1 - run(source, out).written)
    assert data_files(out) == whole
  assert len(set(kept)) > 2, f'{kept}: the moments should have differed'


def die_at(source, out, rename, before):
  """Prepares until the given rename, then dies just before or after it."""
  replace, left = os.replace, rename

  def dying(*paths):
    nonlocal left
    left -= 1
    if left == 0 and before:
      os.kill(os.getpid(), signal.SIGKILL)
    replace(*paths)
    if left == 0:
      os.kill(os.getpid(), signal.SIGKILL)

  os.replace = dying
  prepare(source, out, name='x', shards=3)


def test_killed_around_every_rename(server, tmp_path):
  """In order: the plan, each shard and its note, the reports, the description."""
  files = {f'train/{"ab"[i % 2]}/{i}.png': encoded(i) for i in range(30)}
  source = f'folder:{write_files(tmp_path / "in", files)}'
  prepare(source, tmp_path / 'whole', name='x', shards=3)
  whole = data_files(tmp_path / 'whole')
  deaths, rename = 0, 0
  while deaths == 2 * rename:
    rename += 1
    for before in (True, False):
      out = tmp_path / f'{rename} {before}'
      process = server.Process(target=die_at, args=(source, out, rename, before))
      process.start()
      process.join()
      deaths += process.exitcode == -signal.SIGKILL
      finished = len(list(out.glob('x-*')))
      described = (out / 'dataset_info.json').exists()
      assert finished == 3 or not described
      if not described and out.is_dir():  # nothing that could be mistaken for a data set
        with pytest.raises(UserError, match=r'0 files named dataset_info\.json'):
          open_split(f'prepared:{out}', 'train', cache_dir=tmp_path)
      assert prepare(source, out, name='x', shards=3).written >= 30 - 10 * finished
      assert data_files(out) == whole
  assert rename - 1 == 1 + 2 * 3 + 2 + 4


def tell_workers(source, out, pids):
  def progress(done, total):
    children = [child.pid for child in multiprocessing.active_children()]
    if done and len(children) == 2 and not pids.exists():
      pids.with_suffix('.part').write_text(' '.join(map(str, children)))
      os.replace(pids.with_suffix('.part'), pids)

  prepare(source, out, name='x', shards=SHARDS, processes=2, progress=progress)


def alive(pid):
  try:
    status = pathlib.Path(f'/proc/{pid}/stat').read_text()
  except (FileNotFoundError, ProcessLookupError):
    return False
  return status.rpartition(')')[2].split()[0] not in 'ZX'


@pytest.mark.skipif(not pathlib.Path('/proc/self/stat').exists(), reason='looks into /proc')
def test_workers_end_with_their_parent(server, source, whole, tmp_path):
  pids = tmp_path / 'pids'
  process = server.Process(target=tell_workers, args=(source, tmp_path / 'out', pids))
  process.start()
  wait_until(pids.exists, 'the run tells of no workers')
  process.kill()
  process.join()
  workers = [int(pid) for pid in pids.read_text().split()]
  assert len(workers) == 2
  wait_until(lambda: not any(map(alive, workers)), 'workers are left behind')
  check_unfinished(tmp_path / 'out', whole)
  run(source, tmp_path / 'out')
  assert data_files(tmp_path / 'out') == whole


def test_a_killed_worker_is_an_error_and_no_hang(source, whole, tmp_path):
  def kill_one(done, total):
    workers = multiprocessing.active_children()
    if done and workers:
      workers[0].kill()

  before = set(multiprocessing.active_children())
  with pytest.raises(UserError, match=r'a worker process ended with signal SIGKILL.*again'):
    prepare(source, tmp_path, name='x', shards=SHARDS, processes=2, progress=kill_one)
  assert set(multiprocessing.active_children()) == before
  run(source, tmp_path)
  assert data_files(tmp_path) == whole


def test_an_interruption_ends_the_workers_at_once(source, whole, tmp_path):
  def interrupt(done, total):
    if done:
      raise KeyboardInterrupt

  before = set(multiprocessing.active_children())
  with pytest.raises(KeyboardInterrupt):
    prepare(source, tmp_path, name='x', shards=SHARDS, processes=2, progress=interrupt)
  assert set(multiprocessing.active_children()) == before
  run(source, tmp_path)
  assert data_files(tmp_path) == whole


def test_two_at_once_in_one_folder_are_refused(source, whole, tmp_path):
  seen = []

  def second(done, total):
    if done and not seen:
      with pytest.raises(UserError, match='in use by another prepare') as error:
        run(source, tmp_path)
      seen.append(str(error.value))

  prepare(source, tmp_path, name='x', shards=SHARDS, progress=second)
  assert str(tmp_path) in seen[0]
  assert data_files(tmp_path) == whole
