#!/usr/bin/env python
"""Writes a software bill of materials (CycloneDX): the installed packages with their licenses.

python tests/release/bill.py .venv/bin/python dist/googlenet_jax.cdx.json
"""

import json
import pathlib
import subprocess
import sys


def main(interpreter, path):
  command = [sys.executable, '-m', 'cyclonedx_py', 'environment', interpreter]
  command += ['--output-reproducible', '--gather-license-texts']
  bill = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
  for component in bill['components']:
    references = component.pop('externalReferences', [])
    public = [found for found in references if not found['url'].startswith('file:')]
    component |= {'externalReferences': public} if public else {}  # no folder of the builder's
  unlicensed = [found['name'] for found in bill['components'] if not found.get('licenses')]
  if unlicensed:
    sys.exit(f'{path}: packages without a license: {", ".join(unlicensed)}')
  pathlib.Path(path).write_text(json.dumps(bill, indent=1) + '\n')
  print(f'{path}: {len(bill["components"])} packages, each with its license')


if __name__ == '__main__':
  main(*sys.argv[1:])
