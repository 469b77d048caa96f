"""Compares installed packages with the version ranges in this package's metadata."""

import importlib.metadata

from packaging.requirements import Requirement

from googlenet_jax.doctor.findings import Finding

PACKAGE = 'googlenet_jax'


def check_packages() -> Finding:
  """Whether all required packages are installed, with versions in their ranges."""
  try:
    own = importlib.metadata.distribution(PACKAGE)
  except importlib.metadata.PackageNotFoundError:
    return Finding('packages', f'{PACKAGE} is not installed, but runs from its folder: unknown')
  required = _required(own)
  wrong = [problem for requirement in required for problem in problems(requirement)]
  text = '; '.join(wrong) or f'all {len(required)} that are required'
  return Finding('packages', text, {'required': len(required), 'problems': wrong}, bool(wrong))


def check_extras() -> Finding:
  """Which extras are completely installed; none is required."""
  try:
    own = importlib.metadata.distribution(PACKAGE)
  except importlib.metadata.PackageNotFoundError:
    return Finding('extras', 'unknown')
  extras = sorted(own.metadata.get_all('Provides-Extra') or ())
  whole = [e for e in extras if not any(map(problems, _of_extra(own, e)))]
  absent = [extra for extra in extras if extra not in whole]
  text = f'{", ".join(whole) or "none"} (not installed: {", ".join(absent) or "none"})'
  return Finding('extras', text, {'installed': whole, 'absent': absent})


def problems(requirement: Requirement) -> list[str]:
  """Lines that say why a requirement, including its extras, is not met; empty if it is met."""
  try:
    found = importlib.metadata.distribution(requirement.name)
  except importlib.metadata.PackageNotFoundError:
    return [f'{requirement.name} is missing']
  if not requirement.specifier.contains(found.version, prereleases=True):
    return [f'{requirement.name} {found.version} is not {requirement.specifier}']
  return [
    problem
    for extra in sorted(requirement.extras)
    for other in _of_extra(found, extra)
    for problem in problems(other)
  ]


def _required(own: importlib.metadata.Distribution) -> list[Requirement]:
  requirements = map(Requirement, own.requires or ())
  return [r for r in requirements if r.marker is None or r.marker.evaluate({'extra': ''})]


def _of_extra(own: importlib.metadata.Distribution, extra: str) -> list[Requirement]:
  """The requirements of an extra, without those of the package itself."""
  return [
    r
    for r in map(Requirement, own.requires or ())
    if r.marker and r.marker.evaluate({'extra': extra}) and not r.marker.evaluate({'extra': ''})
  ]
