"""The fault drill in two short forms: real runs are attacked, and must end as if they had not been.

`make faults` is the long form: 50 kills, 100 flipped bits, two processes, data workers.
"""

import drill
import pytest

pytestmark = pytest.mark.skipif(
  not hasattr(drill.os, 'killpg'), reason='needs POSIX signals and groups'
)


@pytest.mark.parametrize('only', [['--only=kills'], pytest.param([], marks=pytest.mark.long)])
def test_short_drill(only, capfd):
  status = drill.main(['--short', *only])
  out, err = capfd.readouterr()
  assert status == 0, f'{err}\n{out}'
  assert 'SIGKILL at a random moment | 2 |' in out
