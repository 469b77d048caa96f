"""The fault drill in a short form: real runs are attacked, and must end as if they had not been.

`make faults` is the long form: 50 kills, 100 flipped bits, two processes, data workers. In the
suite, tests/test_cli.py stops a run by SIGTERM and by SIGKILL, and tests/training/run has damaged
checkpoints, a full disk and two runs in one work directory.
"""

import drill
import pytest

pytestmark = [
  pytest.mark.long,
  pytest.mark.skipif(not hasattr(drill.os, 'killpg'), reason='needs POSIX signals and groups'),
]


def test_short_drill(capfd):
  status = drill.main(['--short'])
  out, err = capfd.readouterr()
  assert status == 0, f'{err}\n{out}'
  assert 'SIGKILL at a random moment | 2 |' in out
