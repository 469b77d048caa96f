"""The run that is exposed to faults: eight steps on digits, a checkpoint every second step."""

from short_runs import short

CHANGES = {
  'duration': '8 steps',
  'log_every': '1 step',
  'checkpoint.every': '2 steps',
  'checkpoint.keep': 2,
  'evaluation.every': '4 steps',
}


def get_config(arg=''):
  return short(**CHANGES)


def sweep_seeds():
  for seed in range(4):
    yield {'seed': seed}
