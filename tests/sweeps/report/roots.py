"""Roots of studies as `googlenet sweep` leaves them, made from figures instead of training."""

import json

from googlenet_jax.sweeps.status import record_failure

VERSIONS = {'jax': '0.10.2', 'flax': '0.12.8'}


def study(root, name, errors, *, key='model.reduction', baseline='reduction=1', command='', **more):
  """Writes a study of `{(value, seed): top-1 error, or None where it is not done}`."""
  folder = root / name
  short = key.partition('.')[2]
  members = []
  for (value, seed), error in errors.items():
    member = f'{short}={value},seed={seed}'
    parameters = int(1000 * (1 + len(str(value)))) if isinstance(value, str) else int(1e6 * value)
    members.append(
      {
        'id': f'{len(members):08x}',
        'name': member,
        'overrides': {key: value, 'seed': seed},
        'parameters': parameters,
        'training_parameters': 2 * parameters,
        'macs': 10 * parameters,
        'training_macs': 11 * parameters,
        'steps': 20,
        'images': 2560,
      }
    )
    workdir = folder / 'members' / member
    workdir.mkdir(parents=True)
    lines = [{'step': s, 'train/loss': 2 / s, 'train/loss_aux_4a': 3 / s} for s in (5, 10, 15, 20)]
    (workdir / 'metrics.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    if error is not None:
      finish(workdir, error, seed)
  stored = {
    'format': 1,
    'study': name,
    'config': 'experiments/digits.py',
    'arguments': ['--config=experiments/digits.py'],
    'values': {},
    'command': command or f'googlenet sweep --sweep={name}',
    'baseline': baseline,
    'created': '2026-11-24T03:00:00Z',
    'members': members,
    **more,
  }
  (folder / 'sweep.json').write_text(json.dumps(stored))
  return folder


def finish(workdir, error, seed=0):
  figures = {'images': 359, 'top1_error': error, 'top5_error': error / 4, 'loss': 3 * error}
  result = {
    'steps': 20,
    'evaluated_parameters': 'raw',
    'test': {'main': figures, 'aux_4a': {**figures, 'top1_error': error + 0.01}},
    'train': {'seconds': 12.5, 'images_per_second': 204.8, 'skipped_images': 0},
    'seed': seed,
    'revision': 'a' * 40,
    'versions': VERSIONS,
    'device': 'cpu',
    'platform': 'cpu',
    'devices': 1,
    'processes': 1,
  }
  (workdir / 'result.json').write_text(json.dumps(result))
  (workdir / 'DONE').touch()


def complete(root, name='reduction'):
  errors = {
    (0.5, 0): 0.04,
    (1.0, 0): 0.02,
    (2.0, 0): 0.01,
    (0.5, 1): 0.05,
    (1.0, 1): 0.03,
    (2.0, 1): 0.03,
    (0.5, 2): 0.06,
    (1.0, 2): 0.03,
    (2.0, 2): 0.02,
  }
  return study(root, name, errors, baseline='reduction=1.0')


def partial(root, name='weights'):
  """One done, one still running, one failed, one with a damaged result; a name that is markup."""
  bad = '</script><script>document.title="broken"</script>'
  errors = {('<b>굵게</b>', 0): 0.5, (bad, 0): None, ('c', 0): None, ('d', 0): None}
  errors = {(value.replace('/', ''), seed): error for (value, seed), error in errors.items()}
  folder = study(root, name, errors, key='data.source', baseline=None, command=f'echo {bad}')
  workdirs = sorted((folder / 'members').iterdir())
  named = {path.name.partition('=')[2][0]: path for path in workdirs}
  for _ in range(3):
    record_failure(named['c'], 1, f'no such file: {bad}')
  (named['d'] / 'result.json').write_text('{"steps": 3')
  (named['d'] / 'DONE').touch()
  return folder
