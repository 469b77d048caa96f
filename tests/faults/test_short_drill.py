"""The fault drill in short forms: real runs are attacked, and must end as if they had not been.

`make faults` is the long form: 50 kills, 100 flipped bits, two processes, data workers.
"""

import drill
import pytest

pytestmark = pytest.mark.skipif(
  not hasattr(drill.os, 'killpg'), reason='needs POSIX signals and groups'
)


@pytest.mark.parametrize(
  ('form', 'kills'),
  [
    (['--only=kills', '--kills=1'], 1),  # in the middle of a save
    pytest.param([], 2, marks=pytest.mark.long),
  ],
)
def test_short_drill(form, kills, capfd):
  status = drill.main(['--short', *form])
  out, err = capfd.readouterr()
  assert status == 0, f'{err}\n{out}'
  assert f'SIGKILL at a random moment | {kills} |' in out
