"""`googlenet doctor`."""

import argparse
import json
from typing import Any

from googlenet_jax.cli import flags
from googlenet_jax.errors import UserError


def add_doctor(commands: Any) -> None:
  """Adds `googlenet doctor`."""
  doctor = flags.command(
    commands,
    'doctor',
    _doctor,
    'Check this installation and machine, and train two steps on each device.',
    epilog='Paste the last line into issue reports. The exit status is 1 if something required is '
    'broken.',
  )
  flags.add_format(doctor)


def _doctor(options: argparse.Namespace) -> None:
  from googlenet_jax.doctor import report

  findings = report.examine()
  if options.format == 'json':
    print(json.dumps(report.values(findings)), flush=True)
  else:
    print(report.describe(findings), flush=True)
  if wrong := report.broken(findings):
    raise UserError(f'broken: {", ".join(wrong)}')
