"""The savings of a 1x1 reduction: computed, predicted for TPUs and a GPU, measured on this CPU.

  python benchmarks/ahead/reductions.py --targets=tpu:v5e:1x1,gpu:h100:1 --measure \\
    --data=docs/hardware/reductions.json --figures=docs/hardware

Two branches of an Inception module, each a 1x1 reduction and the 3x3 or 5x5 convolution after it,
are compiled separately with their gradients: with the paper's reduction, with multiples of it, and
without any, as in the naive module of Figure 2a. Results that are already in `--data` are kept and
not repeated, so that targets can be added one by one. See docs/compile.md for targets and their
requirements.
"""

import argparse
import datetime
import json
import pathlib
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from compiled import with_gradient
from records import BRANCHES, CPU, FACTORS, MODULES, Record, counted, table

from googlenet_jax import files
from googlenet_jax.analysis.ahead import targets
from googlenet_jax.errors import UserError

ROUNDS = 5


def main() -> None:
  """Adds the requested figures to the data, and prints all of it as a table."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--targets', default='', help='separated by commas; see docs/compile.md')
  parser.add_argument('--measure', action='store_true', help='on this CPU, in float32')
  parser.add_argument('--modules', default=','.join(MODULES))
  parser.add_argument('--batch_size', type=int, default=64, help='images that are compiled for')
  parser.add_argument('--measured_batch_size', type=int, default=16)
  parser.add_argument('--rounds', type=int, default=ROUNDS)
  parser.add_argument('--data', type=pathlib.Path, help='JSON file, new or to be continued')
  parser.add_argument('--figures', type=pathlib.Path, help='folder to draw into')
  parser.add_argument('--png', action='store_true', help='draw as PNG too')
  options = parser.parse_args()
  try:
    machines = [targets.target_by(name) for name in filter(None, options.targets.split(','))]
    for target in machines:
      targets.prepare(target)  # before JAX starts
    if not set(modules := options.modules.split(',')) <= set(MODULES):
      raise UserError(f'--modules={options.modules}: accepted: {", ".join(MODULES)}')
    kept = options.data and options.data.exists() and json.loads(options.data.read_text())
    records: list[Record] = kept or [
      counted(module, branch, factor)
      for module in MODULES
      for branch in BRANCHES
      for factor in FACTORS
    ]
    chosen = [record for record in records if record['module'] in modules]

    def save() -> None:
      if options.data:
        with files.replacing(options.data) as unfinished:
          unfinished.write_text(json.dumps(records, indent=1) + '\n')

    for target in machines:
      for record in chosen:
        if target.name not in record['predicted']:
          record['predicted'][target.name] = _predicted(record, target, options.batch_size)
          save()
    if options.measure:
      _measure(chosen, options.measured_batch_size, options.rounds)
      save()
  except UserError as error:
    parser.error(str(error))
  if options.figures:
    import picture

    picture.save(records, options.figures, options.png)
  print(table(records))


def _branch(record: Record, dtype: str) -> tuple[Callable[[Any, Any], Any], Any, tuple[int, ...]]:
  """The branch as a function (parameters, x) -> y, its parameters' shapes, and the shape of x."""
  import flax.linen as nn
  import jax
  import jax.numpy as jnp

  from googlenet_jax.models.layers import DTYPES, ConvUnit

  kernel = BRANCHES[record['branch']]
  units = [ConvUnit(record['width'], 1, dtype=DTYPES[dtype])] if record['width'] else []
  units.append(ConvUnit(record['outputs'], kernel, dtype=DTYPES[dtype]))
  branch = nn.Sequential(units)
  side, channels = MODULES[record['module']]
  image = (side, side, channels)
  x = jax.ShapeDtypeStruct((1, *image), jnp.float32)
  return branch.apply, jax.eval_shape(branch.init, jax.random.key(0), x), image


def _predicted(record: Record, target: targets.Target, images: int) -> dict[str, Any]:
  function, params, image = _branch(record, 'bfloat16')
  after = (images, *image[:2], record['outputs'])
  return {'images': images} | with_gradient(function, params, (images, *image), after, target)


def _measure(records: list[Record], images: int, rounds: int) -> None:
  """Times branches with their gradients, alternating between a branch's reductions.

  Seconds are processor time over all threads, which measures the work even on a shared machine, if
  less precisely.
  """
  for module in MODULES:
    for branch in BRANCHES:
      turns = [r for r in records if (r['module'], r['branch']) == (module, branch)]
      steps = [_timed(record, images) for record in turns]
      seconds = [[step() for step in steps] for _ in range(rounds)]
      for record, taken in zip(turns, zip(*seconds, strict=True), strict=True):
        record['measured'][CPU] = {
          'images': images,
          'processor_seconds': statistics.median(taken),
          'rounds': [round(one, 4) for one in taken],
          'date': datetime.date.today().isoformat(),
        }


def _timed(record: Record, images: int) -> Callable[[], float]:
  """A compiled step of the branch with its gradient, as a function that returns its duration."""
  import jax
  import numpy as np

  function, shapes, image = _branch(record, 'float32')
  rng = np.random.default_rng(0)

  def draw(shape: tuple[int, ...]) -> jax.Array:
    return jax.device_put(rng.normal(size=shape).astype(np.float32))

  params = jax.tree.map(lambda leaf: draw(leaf.shape), shapes)
  x, gradient = draw((images, *image)), draw((images, *image[:2], record['outputs']))

  def both(params: Any, x: jax.Array, gradient: jax.Array) -> Any:
    y, pull = jax.vjp(function, params, x)
    return y, *pull(gradient)

  compiled = jax.jit(both).lower(params, x, gradient).compile()
  jax.block_until_ready(compiled(params, x, gradient))

  def step() -> float:
    began = time.process_time()
    jax.block_until_ready(compiled(params, x, gradient))
    return time.process_time() - began

  return step


if __name__ == '__main__':
  sys.exit(main())
