"""What `googlenet train` prints at its end."""

import pathlib

from googlenet_jax.training.run.launch import Finished, describe

RESULT = {
  'steps': 60,
  'evaluated_parameters': 'ema',
  'test': {'main': {'images': 359, 'top1_error': 0.25, 'top5_error': 0.125, 'loss': 0.98765}},
  'train': {'seconds': 12.6},
}
FIGURES = 'test accuracy 75.00% on 359 images (top-5 87.50%, loss 0.9877, ema parameters)'


def test_a_finished_run_is_described():
  done = Finished(RESULT, already=False, curves=pathlib.Path('a run/curves.png'))
  assert describe(done) == f'done: 60 steps in 13 s\n{FIGURES}\ncurves: a run/curves.png'


def test_a_run_that_was_done_before_says_so():
  done = Finished(RESULT, already=True, curves=None)
  assert describe(done) == f'already done: 60 steps in 13 s\n{FIGURES}'
