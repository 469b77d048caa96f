"""Runs of `googlenet train` in float64, on as many devices as XLA_FLAGS say, for `test_elastic.py`.

python tests/training/devices/elastic_run.py FAMILY CACHE [FOLDER STOP]...

Each FOLDER is a work directory, whose run is resumed, and stopped by a signal after STOP steps.
Its newest state is left in `state.npz` there.
"""

import contextlib
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from short_runs import final_state, short, stopped_after

from googlenet_jax.training.config import experiment
from googlenet_jax.training.run import loop
from googlenet_jax.training.run.workdir import WorkDirectory

STEPS = 12
CHANGES = {
  'duration': f'{STEPS} steps',
  'log_every': '1 steps',
  'evaluation.every': '12 steps',
  'ema.kind': 'polyak',
}


def in_float64(tree):
  return jax.tree.map(lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, tree)


def compute_in_float64():
  """Configs offer float32 and bfloat16, whose rounding could hide an error of ours."""
  jax.config.update('jax_enable_x64', True)
  build_model, create_state = experiment.build_model, experiment.create_state
  abstract_state = experiment.abstract_state
  experiment.build_model = lambda *a: build_model(*a).clone(dtype=jnp.float64)
  experiment.create_state = lambda *a: in_float64(create_state(*a))
  experiment.abstract_state = lambda *a: jax.eval_shape(in_float64, abstract_state(*a))


def main(family, cache, *folders):
  compute_in_float64()
  cache = pathlib.Path(cache)
  for folder, stop in zip(folders[::2], map(int, folders[1::2]), strict=True):
    with stopped_after(stop, pytest.MonkeyPatch()) if stop < STEPS else contextlib.nullcontext():
      loop.train(short(family, **CHANGES), WorkDirectory(folder), cache)
    leaves, _ = jax.tree_util.tree_flatten_with_path(final_state(folder, cache, family, **CHANGES))
    np.savez(
      pathlib.Path(folder) / 'state.npz', **{jax.tree_util.keystr(p): leaf for p, leaf in leaves}
    )


main(*sys.argv[1:])
