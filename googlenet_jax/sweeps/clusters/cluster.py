"""The protocol that clusters implement: which members are queued, and how to submit more."""

import hashlib
import re
from collections.abc import Sequence
from typing import Protocol

from googlenet_jax.sweeps.members import Member
from googlenet_jax.sweeps.study import Study


class Cluster(Protocol):
  """A place other than this machine where members run."""

  @property
  def attended(self) -> bool:
    """Whether a launcher runs on this machine until all members are done."""

  def queued(self, study: Study) -> set[str]:
    """Names of members that need not be submitted because they are already waiting or running.

    Raises:
      UserError: the cluster does not respond.
    """

  def submit(
    self, study: Study, members: Sequence[Member], *, parallel: int | None, retries: int
  ) -> list[str]:
    """Submits members; on an attended cluster, runs them to their end.

    Args:
      study: the study that the members belong to.
      members: the members to run.
      parallel: number of members that run at a time; None for the cluster's default.
      retries: how often a failed member is retried.

    Returns:
      Lines of text about the submission; none on an attended cluster.

    Raises:
      Preempted: a signal stopped it, on an attended cluster.
      UserError: the cluster refused; quotes its message.
    """


def study_key(study: Study) -> str:
  """A name for the study that clusters accept: at most 27 characters, unique to its folder."""
  name = re.sub(r'[^a-z0-9]+', '-', study.name.lower())[:20].strip('-') or 'study'
  folder = hashlib.sha256(str(study.place).encode()).hexdigest()[:6]
  return f'{name if name[0].isalpha() else f"s-{name[:18]}"}-{folder}'
