"""A step of training or evaluation as it was compiled for a machine."""

import dataclasses

from googlenet_jax.analysis.ahead.program import Memory, Prediction, TooBig
from googlenet_jax.analysis.ahead.targets import Target


@dataclasses.dataclass(frozen=True)
class Step:
  """A step compiled for a target, or found too big for it.

  Attributes:
    name: `train` or `evaluate`.
    images: images of a batch, over all chips.
    flops: floating-point operations of the step's matrix products on each chip, computed from the
      traced step: two for each multiply-add, forward and backward.
    seconds: how long the compiler took.
    memory: bytes on each chip; None where the compiler does not say, or the step does not fit.
    predicted: what the compiler says of it; None on machines whose compiler says nothing, and where
      the step does not fit.
    too_big: what does not fit, None where all does.
  """

  name: str
  images: int
  flops: float
  seconds: float
  memory: Memory | None
  predicted: Prediction | None
  too_big: TooBig | None


@dataclasses.dataclass(frozen=True)
class Compiled:
  """Both steps of a config for a target.

  Attributes:
    target: the machine.
    chips: how many of them share a batch.
    train: the training step.
    evaluate: the evaluation step.
    change: the override with which the training step fits, where it did not and one was found.
    fitting: the training step with it.
  """

  target: Target
  chips: int
  train: Step
  evaluate: Step
  change: str | None
  fitting: Step | None
