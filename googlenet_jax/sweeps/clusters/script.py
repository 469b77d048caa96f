"""Building blocks of the scripts that run members on clusters: commands, tables, functions."""

import shlex
import sys
from collections.abc import Sequence

from googlenet_jax.sweeps.members import Member
from googlenet_jax.sweeps.study import Study

FUNCTIONS = """\
pick() {  # TABLE ROW, from 0: sets $name, $workdir and $command
  IFS=$'\\t' read -r name workdir command <<< "$(sed -n "$(($2 + 1))p" "$1")"
}

note_failure() {  # LOG BYTES STATUS: records a failed attempt, whose output begins after BYTES
  local new said message before
  # The output of this attempt, without characters that JSON does not allow.
  new=$(tail -c "+$(($2 + 1))" "$1" | tail -c 4096 | tr -d '\\000-\\011\\013-\\037')
  said=$(grep '^googlenet train: ' <<< "$new" || grep . <<< "$new")
  message=$(tail -n 1 <<< "$said" | cut -c 1-300 | sed 's/\\\\/\\\\\\\\/g; s/"/\\\\"/g')
  mkdir -p "$workdir"
  before=$(cat "$workdir"/failures.jsonl 2> /dev/null | wc -l)
  printf '{"time": "%s", "attempt": %d, "status": %d, "message": "%s"}\\n' \\
    "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$((before + 1))" "$3" "$message" >> "$workdir"/failures.jsonl
}

bytes_of() { stat -c %s "$1" 2> /dev/null || echo 0; }
"""
"""Bash functions at the beginning of every cluster's script."""


def command(study: Study, member: Member, python: str = sys.executable) -> str:
  """The member's command as one line for a shell.

  Args:
    study: the study that the member belongs to.
    member: the member.
    python: the interpreter on the machine that runs it; by default this process's own.
  """
  line = shlex.join([python, '-m', 'googlenet_jax', *study.command(member)])
  return line.replace('\n', "'$'\\n''")  # inside the quotes that shlex added


def table(study: Study, members: Sequence[Member], python: str = sys.executable) -> str:
  """The table that `pick` reads: name, work directory and command, separated by tabs."""
  rows = (
    '\t'.join([member.name, str(study.workdir(member).absolute()), command(study, member, python)])
    for member in members
  )
  return ''.join(f'{row}\n' for row in rows)
