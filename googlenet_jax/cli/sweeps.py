"""`googlenet sweep` and `googlenet report`."""

import argparse
import json
import pathlib
import shlex
from typing import Any

from googlenet_jax.cli import flags
from googlenet_jax.errors import UserError


def add_sweep(commands: Any) -> None:
  """Adds `googlenet sweep`."""
  sweep = flags.command(
    commands,
    'sweep',
    _sweep,
    'Run a study: every member of a sweep, here or on a cluster; the same command goes on.',
    takes_config=True,
    usage='googlenet sweep --config=FILE.py[:ARGUMENT] --sweep=NAME --root=DIR '
    '[--on=print|local|slurm|tpu] [--config.KEY=VALUE ...]',
    epilog='--config.KEY=VALUE holds for every member. Ctrl-C saves and stops all members; each '
    'member is a run of `googlenet train` in DIR/NAME/members.',
  )
  sweep.add_argument('--sweep', metavar='NAME', help='sweep_NAME() of the experiment file')
  sweep.add_argument('--root', type=pathlib.Path, required=True, help='folder of studies')
  sweep.add_argument(
    '--on', choices=('print', 'local', 'slurm', 'tpu'), default='local', help='where (local)'
  )
  sweep.add_argument(
    '--parallel', type=flags.positive, help='members at a time (local: one a GPU, else one a core)'
  )
  sweep.add_argument('--retries', type=flags.natural, help='of a member that fails (2)')
  sweep.add_argument('--status', action='store_true', help='say how the study stands, only')
  sweep.add_argument(
    '--slurm', action='append', default=[], metavar='OPTION', help='of sbatch: gres=gpu:1; repeat'
  )
  sweep.add_argument(
    '--template', type=pathlib.Path, help='bash script with a line @MEMBER@, for sbatch'
  )
  sweep.add_argument('--tpu', metavar='POD', help='name of the pod, for --on=tpu')
  sweep.add_argument('--zone', help='of the pod')
  sweep.add_argument('--sampler', choices=('optuna',), help='ask for members in place of the grid')
  sweep.add_argument('--trials', type=flags.positive, help='members that the sampler asks for')
  flags.add_cache_dir(sweep)


def _sweep(options: argparse.Namespace) -> None:
  from googlenet_jax.sweeps.study import Study
  from googlenet_jax.sweeps.sweep import Options, sweep

  study = Study(options.root, options.config_arguments, options.sweep)
  typed = f'googlenet {shlex.join(options.argv)}'
  good = sweep(study, Options.of(vars(options), study), flags.cache_dir(options), typed)
  if not good:
    raise UserError(f'members have failed: see {study.path / "logs"}; the same command tries again')
  if options.on == 'local' and not options.status:
    print(f'next:   {flags.program()} report {shlex.quote(str(options.root))}')


def add_report(commands: Any) -> None:
  """Adds `googlenet report`."""
  report = flags.command(
    commands, 'report', _report, 'Studies as CSV, Markdown and one HTML page, however complete.'
  )
  report.add_argument(
    'root', type=pathlib.Path, metavar='ROOT', help='folder of studies, or of one'
  )
  report.add_argument('--out', type=pathlib.Path, help='folder of the report (ROOT/report)')
  report.add_argument(
    '--baseline',
    metavar='SETTING',
    help="such as reduction=2: what others are compared with (the config's own setting)",
  )
  flags.add_format(report)


def _report(options: argparse.Namespace) -> None:
  from googlenet_jax.sweeps.report.reading import read_studies
  from googlenet_jax.sweeps.report.report import write_report
  from googlenet_jax.sweeps.report.tables import as_json, summary_markdown

  studies = read_studies(options.root, baseline=options.baseline)
  written = write_report(studies, options.out or options.root / 'report')
  if options.format == 'json':
    print(json.dumps(as_json(studies)))
    return
  print(summary_markdown(studies))
  for path in written:
    print(path)
