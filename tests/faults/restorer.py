"""Restores damaged work directories one after another, in a process that has already started up.

python tests/faults/restorer.py CONFIG PRISTINE CACHE

For each line with the path of a `checkpoints` folder, it restores as a run does, and answers with a
line of JSON: the `step` restored or the `error`, and how it `differs` from the saved state.
"""

import json
import logging
import pathlib
import sys

from states import by_path, complete_steps, difference, read_state

from googlenet_jax import runtime
from googlenet_jax.errors import UserError


def main(config: str, pristine: pathlib.Path, cache: pathlib.Path) -> None:
  runtime.configure()  # before JAX is imported
  import jax

  from googlenet_jax.training.config.experiment import open_experiment
  from googlenet_jax.training.config.flags import parse_config
  from googlenet_jax.training.run.checkpoints import Checkpoints

  logging.getLogger().setLevel(logging.CRITICAL)
  experiment = open_experiment(parse_config([f'--config={config}']), cache)
  abstract, sharding = experiment.abstract_state, experiment.parallel.replicated
  saved = {s: read_state(pristine / 'checkpoints' / str(s)) for s in complete_steps(pristine)}

  def restored(folder: pathlib.Path) -> dict:
    try:
      checkpoints = Checkpoints(folder, keep=3, about={})
      try:
        state = checkpoints.restore_newest(abstract, sharding)
      finally:
        checkpoints.close()
    except UserError as error:
      return {'error': str(error)}
    except Exception as error:
      return {'crash': f'{type(error).__name__}: {error}'}
    if state is None:
      return {'step': 0, 'differs': None}
    leaves = by_path(jax.device_get(state))
    step = int(leaves['step'])
    return {'step': step, 'differs': difference(leaves, saved.get(step, {}))}

  print(json.dumps({'ready': sorted(saved)}), flush=True)
  for line in sys.stdin:
    print(json.dumps(restored(pathlib.Path(line.rstrip('\n')))), flush=True)


if __name__ == '__main__':
  main(sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))
