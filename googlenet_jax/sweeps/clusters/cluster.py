"""What a launch knows of a cluster: whom it has already, and how to have members run."""

import hashlib
import re
from collections.abc import Sequence
from typing import Protocol

from googlenet_jax.sweeps.members import Member
from googlenet_jax.sweeps.study import Study


class Cluster(Protocol):
  """A place for members that is not this machine."""

  @property
  def attended(self) -> bool:
    """Whether a launcher stays here until all members are done."""

  def queued(self, study: Study) -> set[str]:
    """Names of members that need not be submitted, as they wait or run there.

    Raises:
      UserError: the cluster cannot be asked.
    """

  def submit(
    self, study: Study, members: Sequence[Member], *, parallel: int | None, retries: int
  ) -> list[str]:
    """Has members run.

    Args:
      study: the study that the members belong to.
      members: the members to run.
      parallel: number of members that run at a time; None for what the cluster does unasked.
      retries: how often a member that fails is tried again.

    Returns:
      Lines that say what was submitted; none where it goes on until all members are done.

    Raises:
      Preempted: a signal ended it, where it goes on until all members are done.
      UserError: the cluster refuses; with its words.
    """


def study_key(study: Study) -> str:
  """The study's name and folder as names in a cluster may be, in at most 27 characters."""
  name = re.sub(r'[^a-z0-9]+', '-', study.name.lower())[:20].strip('-') or 'study'
  folder = hashlib.sha256(str(study.place).encode()).hexdigest()[:6]
  return f'{name if name[0].isalpha() else f"s-{name[:18]}"}-{folder}'
