"""Runs members as a SLURM job array; the members' state is in their work directories."""

import dataclasses
import json
import pathlib
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence

from googlenet_jax import files
from googlenet_jax.errors import UserError
from googlenet_jax.sweeps.clusters import script
from googlenet_jax.sweeps.members import Member
from googlenet_jax.sweeps.study import Study

BODY = '@MEMBER@'
"""The line of a template that is replaced by the commands that run the member."""

TEMPLATE = f"""\
#!/usr/bin/env bash
{BODY}
"""

# Each task of the array runs one member and retries it if it fails. If the member was stopped and
# has saved (status 75), the task requeues itself. SLURM itself requeues preempted tasks.
_RUN = """\
{functions}
pick {table} "$SLURM_ARRAY_TASK_ID"
task="${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
cd {folder} || exit 1
log={logs}/"$name".log
for attempt in $(seq 0 {retries}); do
  before=$(bytes_of "$log")
  # SLURM signals the steps of a job, so the member has to be one.
  srun --kill-on-bad-exit=1 bash -c "exec $command" >> "$log" 2>&1
  status=$?
  [ "$status" -eq 0 ] && exit 0
  if [ "$status" -eq 75 ]; then
    # The controller may be away for a while.
    for _ in $(seq 60); do
      scontrol requeue "$task" && exit 0
      sleep 5
    done
    exit 75
  fi
  note_failure "$log" "$before" "$status"
  [ "$attempt" -lt {retries} ] && sleep $((attempt < 6 ? 5 * 2 ** attempt : 300))
done
exit "$status"
"""


@dataclasses.dataclass(frozen=True)
class Slurm:
  """SLURM as a cluster.

  Attributes:
    template: text of the script in which members run.
    options: options of sbatch without dashes, such as `partition=gpu` or `gres=gpu:1`.
  """

  template: str
  options: tuple[str, ...] = ()

  attended = False

  def queued(self, study: Study) -> set[str]:
    """Names of members waiting or running in earlier arrays, according to squeue."""
    return _queued(study)

  def submit(
    self, study: Study, members: Sequence[Member], *, parallel: int | None, retries: int
  ) -> list[str]:
    """Submits one array; without `parallel`, any number of its tasks may run at a time."""
    job = _submit(study, members, self, parallel, retries)
    return [f'submitted {len(members)} members as job {job}; see them with squeue or --status']


def cluster(template: pathlib.Path | None, options: tuple[str, ...]) -> Slurm:
  """Reads the template.

  Raises:
    UserError: there is no sbatch here, or the template cannot be read or lacks the line `BODY`.
  """
  if not shutil.which('sbatch'):
    raise UserError('--on=slurm: no sbatch on the PATH; accepted: a machine that submits to SLURM')
  if template is None:
    return Slurm(TEMPLATE, options)
  try:
    text = template.read_text()
  except (OSError, UnicodeDecodeError) as error:
    reason = error.strerror if isinstance(error, OSError) else 'not text'
    raise UserError(f'--template={template}: cannot be read: {reason}') from error
  if not text.startswith('#!') or f'\n{BODY}\n' not in f'{text}\n':
    raise UserError(
      f'--template={template}: accepted: a bash script with the line {BODY} where the member runs'
    )
  return Slurm(text, options)


def _submit(
  study: Study, members: Sequence[Member], slurm: Slurm, parallel: int | None, retries: int
) -> str:
  """Submits an array with one task per member; returns its job id."""
  if set('\t\n') & set(str(study.path.absolute())):
    raise UserError(f'--root={study.path}: accepted: a path without tabs or line breaks')
  folder = study.path / 'slurm' / time.strftime('%Y%m%d-%H%M%S')
  (study.path / 'logs').mkdir(exist_ok=True)
  folder.mkdir(parents=True)
  table = folder / 'members.tsv'
  files.write_whole(table, script.table(study, members).encode(), folder)
  run = _RUN.format(
    functions=script.FUNCTIONS,
    table=shlex.quote(str(table.absolute())),
    folder=shlex.quote(str(pathlib.Path.cwd())),
    logs=shlex.quote(str((study.path / 'logs').absolute())),
    retries=retries,
  )
  array = folder / 'array.sh'
  files.write_whole(array, slurm.template.replace(BODY, run).encode(), folder)
  limit = f'%{parallel}' if parallel else ''
  arguments = [
    'sbatch',
    '--parsable',
    f'--array=0-{len(members) - 1}{limit}',
    '--requeue',
    '--signal=USR2@60',
    '--open-mode=append',
    f'--job-name={study.name}',
    f'--output={str(folder.absolute()).replace("%", "%%")}/task-%a.log',
    *(f'--{option.lstrip("-")}' for option in slurm.options),
    str(array.absolute()),
  ]
  submitted = subprocess.run(arguments, capture_output=True, text=True, check=False)
  if submitted.returncode:
    raise UserError(f'sbatch: {" ".join(submitted.stderr.split())}')
  job = submitted.stdout.strip().partition(';')[0]
  names = [member.name for member in members]
  record = {'job': job, 'members': names, 'command': shlex.join(arguments)}
  files.write_whole(folder / 'job.json', (json.dumps(record, indent=2) + '\n').encode(), folder)
  return job


def _queued(study: Study) -> set[str]:
  """Names of members that are waiting or running.

  Raises:
    UserError: squeue cannot tell, for example because the controller does not answer.
  """
  names: set[str] = set()
  for path in sorted((study.path / 'slurm').glob('*/job.json')):
    record = json.loads(path.read_text())
    asked = subprocess.run(
      ['squeue', '--noheader', '--array', '--format=%K', f'--jobs={record["job"]}'],
      capture_output=True,
      text=True,
      check=False,
    )
    # For an array that ended a while ago, squeue fails.
    if asked.returncode and 'Invalid job id' not in asked.stderr:
      raise UserError(f'squeue: {" ".join(asked.stderr.split())}')
    tasks = [int(line) for line in asked.stdout.split() if line.isdecimal()]
    # Jobs submitted to another cluster may have the ids of unrelated arrays on this one.
    names.update(record['members'][task] for task in tasks if task < len(record['members']))
  return names
