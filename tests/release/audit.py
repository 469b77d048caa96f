#!/usr/bin/env python
"""Looks up the pinned packages in an index of advisories; fails if one of them is vulnerable.

  python tests/release/audit.py requirements.txt requirements-newest.txt

Without a network, or with an index of packages that has no advisories, it says so and passes.
"""

import json
import subprocess
import sys


def main(*requirements):
  for path in requirements:
    command = ['pip_audit', '--no-deps', '--disable-pip', '--progress-spinner=off', '--format=json']
    audit = subprocess.run(
      [sys.executable, '-m', *command, '-r', path], capture_output=True, text=True
    )
    if audit.returncode and not audit.stdout:
      print(audit.stderr.strip(), file=sys.stderr)
    packages = json.loads(audit.stdout)['dependencies'] if audit.stdout else []
    looked_up = [package for package in packages if 'skip_reason' not in package]
    if not looked_up:
      print(f'{path}: not audited: no index of advisories can be reached')
      continue
    lines = [
      f'{path}: {package["name"]} {package["version"]}: {found["id"]}, fixed in '
      f'{", ".join(found["fix_versions"]) or "no version"}'
      for package in looked_up
      for found in package['vulns']
    ]
    if lines:
      sys.exit('\n'.join(lines))
    print(f'{path}: no advisory for {len(looked_up)} of {len(packages)} packages')


if __name__ == '__main__':
  main(*sys.argv[1:])
