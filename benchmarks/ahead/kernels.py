"""Compilers' predictions for GoogLeNet's pools and normalizations alone, in each form.

  python benchmarks/ahead/kernels.py --target=tpu:v5e:1x1 norm1=slices norm1=matrix pool1=window

Each part is compiled with its gradient for 256 images in bfloat16; nothing is computed. The
target's compiler has to be installed: see docs/compile.md.
"""

import argparse
import json
import sys
from typing import Any

from compiled import with_gradient

from googlenet_jax.analysis.ahead import targets

IMAGES = 256
# Shape of the input; window and stride of a max pool, or None for normalization.
PARTS: dict[str, tuple[tuple[int, int, int], tuple[int, int] | None]] = {
  'norm1': ((56, 56, 64), None),
  'norm2': ((56, 56, 192), None),
  'pool1': ((112, 112, 64), (3, 2)),
  'pool2': ((56, 56, 192), (3, 2)),
  'pool3': ((28, 28, 480), (3, 2)),
  'pool4': ((14, 14, 832), (3, 2)),
  'inception_3b': ((28, 28, 256), (3, 1)),
  'inception_4b': ((14, 14, 512), (3, 1)),
}


def main() -> None:
  """Compiles each requested part and prints a line about it."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--target', default='tpu:v5e:1x1', help='see docs/compile.md')
  parser.add_argument('--format', choices=('text', 'json'), default='text')
  parser.add_argument('parts', nargs='+', metavar='PART=FORM', help=f'PART: {", ".join(PARTS)}')
  options = parser.parse_args()
  target = targets.target_by(options.target)
  if target.chip is None:
    parser.error('--target=here: accepted: a TPU or a GPU')
  targets.prepare(target)
  for request in options.parts:
    part, _, form = request.partition('=')
    if part not in PARTS:
      parser.error(f'{request}: accepted: {", ".join(PARTS)}')
    found = _predicted(target, part, form)
    print(json.dumps(found) if options.format == 'json' else _text(found), flush=True)


def _predicted(target: targets.Target, part: str, form: str) -> dict[str, Any]:
  """Compiles a part and its gradient, and adds up the compiler's estimates."""
  import jax
  import jax.numpy as jnp

  from googlenet_jax.models import kernels

  shape, pool = PARTS[part]
  forms = kernels.forms_by(f'{"max_pool" if pool else "lrn"}={form}')

  def compute(params: Any, x: jax.Array) -> jax.Array:
    del params
    if pool is None:
      return kernels.local_response_norm(x, kernels.LRN(), forms)
    return kernels.max_pool(x, *pool, 'same', forms)

  before = (IMAGES, *shape)
  after = jax.eval_shape(compute, {}, jax.ShapeDtypeStruct(before, jnp.bfloat16)).shape
  found = with_gradient(compute, {}, before, after, target)
  return {
    'target': target.name,
    'part': part,
    'form': form,
    'predicted_seconds': found['seconds'],
    'predicted_cycles': found['cycles'],
    'without_estimate': found['without_estimate'],
    'predicted_traffic': found['traffic'],
    'predicted_temporaries': found['temporaries'],
    'compile_seconds': found['compile_seconds'],
  }


def _text(found: dict[str, Any]) -> str:
  cycles = found['predicted_cycles']
  return (
    f'{found["part"]:12} {found["form"]:8} {found["predicted_seconds"] * 1e3:7.2f} ms'
    + (f' {cycles / 1e6:7.2f} Mcycles' if cycles else ' at least')
    + f' ({found["without_estimate"]:.0%} from traffic alone),'
    f' traffic {found["predicted_traffic"] / 1e6:,.0f} MB,'
    f' temporaries {found["predicted_temporaries"] / 2**20:,.0f} MiB'
  )


if __name__ == '__main__':
  sys.exit(main())
