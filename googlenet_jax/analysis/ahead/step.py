"""A training or evaluation step that was compiled for a machine."""

import dataclasses

from googlenet_jax.analysis.ahead.program import Memory, Prediction, TooBig
from googlenet_jax.analysis.ahead.targets import Target


@dataclasses.dataclass(frozen=True)
class Step:
  """A step compiled for a target, or found too big for it.

  Attributes:
    name: `train` or `evaluate`.
    images: images per batch, over all chips.
    flops: floating-point operations of the step's matrix products on each chip, computed from the
      traced step: two for each multiply-add, forward and backward.
    seconds: compilation time.
    memory: memory used on each chip; None if the compiler does not report it, as for a step that
      does not fit on a TPU.
    predicted: the compiler's predictions; None if the compiler makes none, as for a step that does
      not fit on a TPU. The GPU compiler also makes them for a step that does not fit.
    too_big: the memory needed and available if the step does not fit, otherwise None.
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
    chips: number of chips that share a batch.
    train: the training step.
    evaluate: the evaluation step.
    change: an override that makes the training step fit, if it does not and one was found.
    fitting: the training step with this override.
  """

  target: Target
  chips: int
  train: Step
  evaluate: Step
  change: str | None
  fitting: Step | None
