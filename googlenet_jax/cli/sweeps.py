"""`googlenet sweep` and `googlenet report`."""

import argparse
import json
import pathlib
import shlex
from collections.abc import Sequence
from typing import Any

from googlenet_jax.cli import flags
from googlenet_jax.errors import UserError
from googlenet_jax.storage.urls import Place, Url, place


def add_sweep(commands: Any) -> None:
  """Adds `googlenet sweep`."""
  sweep = flags.command(
    commands,
    'sweep',
    _sweep,
    'Train all members of a sweep on this machine or a cluster; run it again to continue.',
    takes_more=True,
    usage='googlenet sweep --config=FILE.py[:ARGUMENT] --sweep=NAME --root=DIR '
    '[--on=print|local|slurm|kubernetes|tpu] [--config.KEY=VALUE ...]',
    epilog='Each member is a run of `googlenet train` in DIR/NAME/members. --config.KEY=VALUE '
    'applies to every member. Ctrl-C stops all members after saving their state.',
  )
  sweep.add_argument(
    '--sweep',
    metavar='NAME',
    help='use sweep_NAME() of the experiment file (default: the only one)',
  )
  sweep.add_argument(
    '--root',
    type=place,
    required=True,
    help='folder for studies, or its URL in a bucket: s3://BUCKET/PATH or gs://BUCKET/PATH',
  )
  sweep.add_argument(
    '--on',
    choices=('print', 'local', 'slurm', 'kubernetes', 'tpu'),
    default='local',
    help='where members run (default: %(default)s)',
  )
  sweep.add_argument(
    '--parallel',
    type=flags.positive,
    help='number of members to run at a time (default with --on=local: one per GPU or TPU, else '
    'one per core; with --on=tpu: 1)',
  )
  sweep.add_argument(
    '--retries', type=flags.natural, help='how often to retry a failed member (default: 2)'
  )
  sweep.add_argument('--status', action='store_true', help='only print the status of the study')
  sweep.add_argument(
    '--slurm',
    action='append',
    default=[],
    metavar='OPTION',
    help='option of sbatch, such as gres=gpu:1; may be repeated',
  )
  sweep.add_argument(
    '--template',
    type=pathlib.Path,
    help='for SLURM, a bash script with a line @MEMBER@ where the member runs; for Kubernetes, a '
    'Job in YAML whose pod has a container named member',
  )
  sweep.add_argument(
    '--kubernetes',
    action='append',
    default=[],
    metavar='NAME=VALUE',
    help='image, claim (PersistentVolumeClaim to mount at --root), namespace, hosts (per member), '
    'tpu (ACCELERATOR:TOPOLOGY) or a resource such as nvidia.com/gpu; may be repeated',
  )
  sweep.add_argument(
    '--apply',
    action='store_true',
    help='with --on=kubernetes: create the objects in the manifests with kubectl; with --on=tpu: '
    'run the gcloud commands instead of printing them, until all members are done',
  )
  sweep.add_argument(
    '--tpu',
    action='append',
    default=[],
    metavar='NAME=VALUE',
    help='accelerator (such as v5litepod-16), runtime, zone, project, spot=yes, setup (a command '
    'to run once per host), folder and python (on the hosts), or a gcloud flag; may be repeated',
  )
  sweep.add_argument(
    '--sampler', choices=('optuna',), help='sample members instead of running the grid'
  )
  sweep.add_argument('--trials', type=flags.positive, help='number of members to sample')
  flags.add_cache_dir(sweep)


def _sweep(options: argparse.Namespace) -> None:
  from googlenet_jax.sweeps.study import Study
  from googlenet_jax.sweeps.sweep import Options, sweep

  study = Study(options.root, options.more, options.sweep, flags.cache_dir(options))
  typed = f'googlenet {shlex.join(options.argv)}'
  good = sweep(study, Options.of(vars(options), study), flags.cache_dir(options), typed)
  if not good:
    raise UserError(
      f'members have failed: see {study.path / "logs"}; run the same command again to retry them'
    )
  if options.on == 'local' and not options.status:
    print(f'next:   {flags.program()} report {shlex.quote(str(options.root))}')


def add_report(commands: Any) -> None:
  """Adds `googlenet report`."""
  report = flags.command(
    commands,
    'report',
    _report,
    'Summarize finished or unfinished studies as CSV, Markdown and an HTML page.',
  )
  report.add_argument(
    'root', type=place, metavar='ROOT', help='folder of one study or of several, or a URL'
  )
  flags.add_cache_dir(report)
  report.add_argument(
    '--out', type=pathlib.Path, help='folder for the report (default: ROOT/report)'
  )
  report.add_argument(
    '--baseline',
    metavar='SETTING',
    help="setting to compare others with, such as reduction=2 (default: the config's own)",
  )
  flags.add_format(report)


def _report(options: argparse.Namespace) -> None:
  from googlenet_jax.sweeps.report.reading import read_studies
  from googlenet_jax.sweeps.report.report import write_report
  from googlenet_jax.sweeps.report.tables import as_json, summary_markdown
  from googlenet_jax.sweeps.staged import fetched_studies, send_report

  root = options.root
  if isinstance(root, Url):
    root = fetched_studies(root, flags.cache_dir(options))
  studies = read_studies(root, baseline=options.baseline)
  written: Sequence[Place] = write_report(studies, options.out or root / 'report')
  if isinstance(options.root, Url) and not options.out:
    written = send_report(options.root, root / 'report')
  if options.format == 'json':
    print(json.dumps(as_json(studies)))
    return
  print(summary_markdown(studies))
  for path in written:
    print(path)
