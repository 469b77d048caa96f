"""The sentences around the rendered Table 1, the same in every format for people."""

from typing import Any

from googlenet_jax.analysis import paper
from googlenet_jax.analysis.columns import extent, mega
from googlenet_jax.analysis.table1 import Audit, ReductionExample


def title(audit: Audit) -> str:
  """One line that says which network the table is of."""
  knobs = ''.join(f', {name}={_value(value)}' for name, value in audit.knobs.items())
  size = f'{audit.image_size}x{audit.image_size}'
  return f'Table 1 for GoogLeNet {audit.variant} at {size}, {audit.classes} classes{knobs}'


def legend(mark: str) -> str:
  """What the columns and the mark mean."""
  return (
    f'{mark}: computed, and not the printed figure beside it ("paper": 1409.4842; K = 1024). '
    'MACs: multiply-adds of one image. The printed totals are the sums of the printed cells.'
  )


def below(audit: Audit) -> list[tuple[str, str]]:
  """What stands below the rows, as labels and sentences."""
  heads = [
    (head.name, f'{head.params:,} parameters, {mega(head.macs)} MACs (auxiliary head)')
    for head in audit.aux
  ]
  ratio = (
    f'{paper.ALEXNET_PARAMETERS:,} parameters, {audit.alexnet_ratio:.1f}x as many (computed); '
    f'the paper says {paper.ALEXNET_RATIO}x'
  )
  return [
    *heads,
    ('training', f'{audit.training_params:,} parameters with the heads'),
    ('AlexNet', ratio),
    *((f'{e.kernel}x{e.kernel} reduce', _example(e)) for e in audit.examples),
  ]


def _example(example: ReductionExample) -> str:
  kernel = (example.kernel, example.kernel, example.features)
  return (
    f"3a's branch, {extent(example.source)} -> {extent(kernel)}: {mega(example.direct)} MACs "
    f'directly, {mega(example.reduced)} through {example.reduction} channels '
    f'({example.saved:.1%} less)'
  )


def _value(value: Any) -> str:
  if isinstance(value, tuple):
    return ','.join(map(str, value)) or 'none'
  return str(value)
