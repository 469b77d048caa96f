"""What Simonyan and Zisserman (1409.1556) print about their networks: Tables 1 to 4."""

from collections.abc import Iterator
from typing import Any

from googlenet_jax.analysis.papers.paper import Claim, Paper, PrintedRow, ReportedError, Statement

# Table 1: filters by block, and the letter and the convolutions by block of each column.
FILTERS = (64, 128, 256, 512, 512)
COLUMNS = {
  'vgg11': ('A', (1, 1, 2, 2, 2)),
  'vgg11_lrn': ('A-LRN', (1, 1, 2, 2, 2)),
  'vgg13': ('B', (2, 2, 2, 2, 2)),
  'vgg16_1x1': ('C', (2, 2, 3, 3, 3)),
  'vgg16': ('D', (2, 2, 3, 3, 3)),
  'vgg19': ('E', (2, 2, 4, 4, 4)),
}
# Table 2: millions of parameters.
PARAMETERS = {
  'vgg11': 133,
  'vgg11_lrn': 133,
  'vgg13': 133,
  'vgg16_1x1': 134,
  'vgg16': 138,
  'vgg19': 144,
}
# Tables 3 and 4, ILSVRC-2012 validation images, single networks: the best top-5 error in percent at
# one scale and at several scales.
TOP5_ERRORS = {
  'vgg11': (10.4, None),
  'vgg11_lrn': (10.5, None),
  'vgg13': (9.9, 9.6),
  'vgg16_1x1': (8.8, 8.2),
  'vgg16': (8.1, 7.5),
  'vgg19': (8.0, 7.5),
}
ENTRY_ERROR = 7.3  # Table 7: seven networks, ILSVRC-2014, test images


STATEMENTS = (
  *(
    Statement(
      'Table 2',
      f'{PARAMETERS[variant]} million parameters ({COLUMNS[variant][0]})',
      'params',
      f'vgg/{variant}',
      factor=PARAMETERS[variant] * 1e6,
      within=0.01,
    )
    for variant in ('vgg16', 'vgg19')
  ),
  *(
    Statement(
      'Table 1', f'{layers} weight layers', 'depth', f'vgg/vgg{layers}', factor=layers, within=0
    )
    for layers in (16, 19)
  ),
)


def _errors() -> Iterator[ReportedError]:
  for variant, (one, several) in TOP5_ERRORS.items():
    yield ReportedError(variant, one, 'whole images, 1 scale', 'Table 3')
    if several is not None:
      yield ReportedError(variant, several, 'several scales', 'Table 4')
  yield ReportedError('vgg19', ENTRY_ERROR, 'several scales', 'Table 7, test', 7, 2014)


def _printed(variant: str) -> str:
  """The name of a variant without batch normalization, as in `COLUMNS`."""
  return variant.removesuffix('_bn')


def _rows(variant: str) -> tuple[PrintedRow, ...]:
  if _printed(variant) not in COLUMNS:
    return ()
  letter, counts = COLUMNS[_printed(variant)]
  rows = []
  for block, (count, filters) in enumerate(zip(counts, FILTERS, strict=True), 1):
    for index in range(1, count + 1):
      kernel = 1 if (letter, index) == ('C', 3) else 3
      type_ = f'convolution {kernel}x{kernel}/1'
      rows.append(PrintedRow(f'conv{block}_{index}', type_, depth=1, widths={'channels': filters}))
    rows.append(PrintedRow(f'pool{block}', 'max pool 2x2/2', depth=0))
  hidden = [
    PrintedRow(name, 'fully connected', (1, 1, 4096), 1, {'channels': 4096})
    for name in ('fc6', 'fc7')
  ]
  return (*rows, *hidden, PrintedRow('classifier', 'linear', (1, 1, 1000), 1))


def _claims(audit: Any) -> tuple[Claim, ...]:
  printed = _printed(audit.variant)
  if printed not in COLUMNS:
    return ()
  params = PARAMETERS[printed]
  why = '' if printed == audit.variant else ' without batch normalization'
  claims = [
    Claim(
      'parameters',
      f'Table 2 says {params} million for {COLUMNS[printed][0]}{why}; {audit.params:,} computed',
      {'paper_params': params * 1_000_000},
    )
  ]
  if printed == audit.variant:
    one, several = TOP5_ERRORS[printed]
    more = '' if several is None else f', {several}% at several'
    errors = {'one scale': one / 100} | ({} if several is None else {'several': several / 100})
    claims.append(
      Claim(
        'top-5 error',
        f'{one}% at one scale{more} (one network, ILSVRC-2012 validation images); the entry of '
        f'2014, seven networks, {ENTRY_ERROR}%; printed',
        {'paper_top5_error': errors},
      )
    )
  return tuple(claims)


_CONVOLUTIONS = [f'conv{block}_{index}' for block in range(1, 6) for index in range(1, 5)]

PAPER = Paper(
  citation='1409.1556',
  table='Table 1',
  units={'M': 1_000_000},
  note='M = a million',
  image_size=224,
  rows=_rows,
  columns={'channels': 'channels'},
  labels={'channels': 'output'},
  widths_of={name: {'channels': name} for name in (*_CONVOLUTIONS, 'fc6', 'fc7')},
  claims=_claims,
  year=2014,
  headline={'vgg16': 'VGG-16', 'vgg19': 'VGG-19'},
  errors=tuple(_errors()),
  statements=STATEMENTS,
)
