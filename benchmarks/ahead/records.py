"""The costs of branches with different reductions, as stored by `reductions.py` and as a table."""

from typing import Any

from googlenet_jax.analysis.ahead import targets

FACTORS = (1 / 8, 1 / 4, 1 / 2, 1, 2, None)  # None: no reduction
# Height (and width) and channels of the module's input (Table 1).
MODULES = {'3a': (28, 192), '4a': (14, 480)}
BRANCHES = {'3x3': 3, '5x5': 5}
MACS, CPU = 'multiply-adds', 'cpu'

Record = dict[str, Any]


def counted(module: str, branch: str, factor: float | None) -> Record:
  """A branch, with the multiply-adds of its forward pass for one image."""
  from googlenet_jax.models.googlenet.inception import TABLE1

  (side, channels), kernel = MODULES[module], BRANCHES[branch]
  widths = TABLE1[module]
  reduction = getattr(widths, f'reduce_{branch}')
  width = None if factor is None else round(reduction * factor)
  outputs = getattr(widths, f'conv{branch}')
  large = kernel**2 * (width or channels) * outputs
  return {
    'module': module,
    'branch': branch,
    'factor': factor,
    'width': width,
    'outputs': outputs,
    'macs': side**2 * (large + channels * (width or 0)),
    'predicted': {},
    'measured': {},
  }


def cost(record: Record, what: str) -> float | None:
  """The cost of a branch: multiply-adds, processor seconds, cycles, or traffic on a GPU.

  Args:
    record: the branch.
    what: `MACS`, `CPU`, or the name of a target.

  Returns:
    The cost, or None if the branch has no such figure.
  """
  if what == MACS:
    return float(record['macs'])
  if what == CPU:
    found = record['measured'].get(CPU)
    return found and float(found['processor_seconds'])
  found = record['predicted'].get(what)
  return found and float(found['cycles'] or found['traffic'])


def columns(records: list[Record]) -> list[str]:
  """The kinds of costs in the records, multiply-adds first."""
  names = dict.fromkeys(name for record in records for name in record['predicted'])
  return [MACS, *names, *([CPU] if any(record['measured'] for record in records) else [])]


def relative(records: list[Record], record: Record, what: str) -> float | None:
  """The cost of a branch divided by that of the same branch with the paper's reduction."""
  key = (record['module'], record['branch'], 1)
  paper = next(r for r in records if (r['module'], r['branch'], r['factor']) == key)
  own, whole = cost(record, what), cost(paper, what)
  return None if own is None or not whole else own / whole


def label(what: str) -> str:
  """A column's name: the machine, the quantity and its provenance."""
  if what == MACS:
    return 'MACs, computed'
  if what == CPU:
    return 'this CPU: seconds, measured'
  kind = 'traffic' if what.startswith('gpu') else 'cycles'
  chip = targets.target_by(what).chip
  return f'{chip.title if chip else what}: {kind}, predicted'


def table(records: list[Record]) -> str:
  """All costs, relative to the paper's reduction, as Markdown."""
  shown = columns(records)
  lines = [
    f'| branch | reduction | {" | ".join(label(what) for what in shown)} |',
    f'|---|---|{"---|" * len(shown)}',
  ]
  for record in records:
    ratios = [relative(records, record, what) for what in shown]
    cells = ' | '.join('' if ratio is None else f'{ratio:.2f}' for ratio in ratios)
    times = 'none' if record['factor'] is None else f'{record["factor"]:g} ({record["width"]})'
    lines.append(f'| {record["module"]} {record["branch"]} | {times} | {cells} |')
  return '\n'.join(lines)
