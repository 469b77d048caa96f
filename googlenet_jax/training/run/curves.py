"""Plots of a run: losses of the classifier and its heads, and errors on the test images."""

import pathlib

from googlenet_jax.training.run.metrics import read_metrics


def plot(metrics: pathlib.Path, out: pathlib.Path) -> bool:
  """Plots `metrics.jsonl` as a PNG; returns False if matplotlib is not installed."""
  try:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatter, MaxNLocator
  except ImportError:
    return False
  lines = read_metrics(metrics)

  class Plain(LogFormatter):
    """Labels like 0.5 and 20: typesetting powers of ten would take half of the time of a plot."""

    def __call__(self, x: float, pos: int | None = None) -> str:
      return f'{x:g}' if super().__call__(x, pos) else ''

  def series(name: str) -> tuple[list[float], list[float]]:
    points = [(line['step'], line[name]) for line in lines if name in line]
    return [step for step, _ in points], [value for _, value in points]

  names = sorted({name for line in lines for name in line})
  figure = Figure(figsize=(10, 4))
  FigureCanvasAgg(figure)
  # Matplotlib's own search for margins takes longer than the drawing itself.
  margins = {'left': 0.07, 'right': 0.985, 'bottom': 0.13, 'top': 0.92, 'wspace': 0.18}
  losses, errors = figure.subplots(1, 2, gridspec_kw=margins)
  parts = [name for name in names if name.startswith('train/loss_')]
  for index, name in enumerate(sorted(parts, key=lambda name: name != 'train/loss_main')):
    label = name.removeprefix('train/loss_').replace('_', ' ')
    losses.plot(*series(name), label=f'{label} (train)', color=f'C{index}', linewidth=1)
  losses.plot(*series('eval/loss'), label='main (test)', color='black', marker='.')
  losses.set(xlabel='step', ylabel='cross entropy (nats)', yscale='log', title='Loss')
  for index, name in enumerate(
    sorted((n for n in names if n.endswith('top1_error') and n.startswith('eval/')), key=len)
  ):
    label = name.removeprefix('eval/').removesuffix('top1_error').strip('_').replace('_', ' ')
    steps, values = series(name)
    percent = [100 * value for value in values]
    errors.plot(steps, percent, label=label or 'main', color=f'C{index}', marker='.')
  lowest = min((value for line in errors.lines for value in line.get_ydata()), default=0)
  scale = 'linear' if lowest > 5 else 'symlog'  # errors near 0 need a finer scale than others
  errors.set(xlabel='step', ylabel='top-1 error (%)', yscale=scale, title='Test images')
  errors.set_ylim(bottom=0)
  for axes in (losses, errors):
    axes.grid(alpha=0.3)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter('{x:,.0f}')
    if axes.get_yscale() != 'linear':
      axes.yaxis.set_major_formatter(Plain())
      axes.yaxis.set_minor_formatter(Plain(minor_thresholds=(2, 0.5)))
    axes.legend()
  temporary = out.with_suffix('.tmp.png')
  figure.savefig(temporary, dpi=120)
  temporary.replace(out)
  return True
