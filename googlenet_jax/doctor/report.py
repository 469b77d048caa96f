"""The report of all checks, as text, as JSON, and as one line for an issue."""

import importlib.metadata
import platform
from typing import Any

from googlenet_jax import __version__
from googlenet_jax.doctor import machine, packages, training
from googlenet_jax.doctor.findings import Finding


def examine() -> list[Finding]:
  """Runs all checks, in the order of the report."""
  devices, about = training.check_devices()
  return [
    _versions(about.get('revision')),
    packages.check_packages(),
    packages.check_extras(),
    machine.check_memory(),
    machine.check_disk(),
    machine.check_decoder(),
    *devices,
    machine.check_environment(),
  ]


def broken(findings: list[Finding]) -> list[str]:
  """The names of the checks that found something required to be broken."""
  return [finding.name for finding in findings if finding.broken]


def describe(findings: list[Finding]) -> str:
  """A line for each check, followed by the line for an issue."""
  width = max(len(finding.name) for finding in findings)
  lines = [
    f'{"BROKEN" if finding.broken else "ok":7}{finding.name:{width}}  {finding.text}'
    for finding in findings
  ]
  return '\n'.join([*lines, '', 'for an issue:', one_line(findings)])


def one_line(findings: list[Finding]) -> str:
  """The line for an issue, without names of folders."""
  by_name = {finding.name: finding for finding in findings}
  devices = [finding for finding in findings if 'kind' in finding.values]
  kinds = [finding.values['kind'] for finding in devices]
  shown = ', '.join(f'{kinds.count(kind)} {kind}' for kind in dict.fromkeys(kinds)) or 'no device'
  parts = [
    by_name['versions'].text,
    shown,
    by_name['memory'].text,
    f'extras {", ".join(by_name["extras"].values.get("installed", [])) or "none"}',
  ]
  wrong = [f'{f.name}: {f.text}' for f in findings if f.broken and f.name != 'disk']
  wrong += ['disk'] if by_name['disk'].broken else []
  return '; '.join([*parts, f'broken: {" | ".join(wrong) or "nothing"}'])


def values(findings: list[Finding]) -> dict[str, Any]:
  """The report as JSON values."""
  return {
    'checks': {
      finding.name: {'broken': finding.broken, 'text': finding.text, **finding.values}
      for finding in findings
    },
    'broken': broken(findings),
    'line': one_line(findings),
  }


def _versions(revision: str | None) -> Finding:
  found: dict[str, Any] = {'googlenet_jax': __version__, 'python': platform.python_version()}
  for package in ('jax', 'jaxlib', 'flax', 'numpy', 'libtpu', 'jax-cuda12-plugin'):
    try:
      found[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      continue
  system = {'revision': revision, 'system': platform.platform(), 'machine': platform.machine()}
  shown = ', '.join(f'{name} {version}' for name, version in found.items())
  if revision:
    code, plus, changes = revision.partition('+')
    shown += f', revision {code[:12]}{plus}{changes}'
  return Finding('versions', f'{shown}, {platform.platform(terse=True)}', found | system)
