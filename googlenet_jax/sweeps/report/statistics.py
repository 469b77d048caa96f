"""Means with intervals over a few seeds, and paired differences from a baseline."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

from googlenet_jax.sweeps.report.reading import StudyResult

CONFIDENCE = 0.95
MAX_FLIPS = 16  # maximum number of seeds for which all sign patterns are tried


@dataclasses.dataclass(frozen=True)
class Mean:
  """A mean over `n` seeds; `half` is half of its 95% interval (Student's t), None for one seed."""

  value: float
  half: float | None
  n: int


@dataclasses.dataclass(frozen=True)
class Difference:
  """A setting's figure minus the baseline's, over the seeds that both have.

  `p` is the two-sided p-value of the exact sign-flip permutation test; with n seeds it is never
  below `least_p` = 2 / 2**n. `holm` is p with Holm's correction for the study's other comparisons.
  """

  mean: Mean
  p: float | None
  least_p: float
  holm: float | None = None


def mean(values: Sequence[float]) -> Mean:
  """Mean and interval of a figure over one or more seeds."""
  from scipy import stats

  n = len(values)
  value = math.fsum(values) / n
  if n < 2:
    return Mean(value, None, n)
  spread = math.sqrt(math.fsum((x - value) ** 2 for x in values) / (n - 1))
  half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * spread / math.sqrt(n)
  return Mean(value, half, n)


def difference(figures: Mapping[int, float], baseline: Mapping[int, float]) -> Difference | None:
  """The differences paired by seed; None if the two have no seed in common."""
  seeds = sorted(figures.keys() & baseline.keys())
  if not seeds:
    return None
  pairs = [figures[seed] - baseline[seed] for seed in seeds]
  n = len(pairs)
  p = sign_flip_test(pairs) if 1 < n <= MAX_FLIPS else None
  return Difference(mean(pairs), p, 2 / 2**n)


def sign_flip_test(differences: Sequence[float]) -> float:
  """The two-sided p-value of the exact sign-flip test.

  This is the share of sign patterns for which the sum is at least as far from 0 as the observed
  one. The only assumption is that under the null hypothesis, each difference is equally likely to
  have either sign.
  """
  observed = abs(math.fsum(differences))
  slack = 1e-12 * math.fsum(map(abs, differences))
  signs = itertools.product((1, -1), repeat=len(differences))
  sums = [
    abs(math.fsum(s * d for s, d in zip(pattern, differences, strict=True))) for pattern in signs
  ]
  return sum(value >= observed - slack for value in sums) / len(sums)


def holm(values: Mapping[str, float]) -> dict[str, float]:
  """Holm's correction for a family of p-values."""
  corrected: dict[str, float] = {}
  largest = 0.0
  for rank, (name, p) in enumerate(sorted(values.items(), key=lambda item: item[1])):
    largest = max(largest, min(1.0, (len(values) - rank) * p))
    corrected[name] = largest
  return corrected


@dataclasses.dataclass(frozen=True)
class Summary:
  """A setting's figures over seeds, its costs, and its difference from the study's baseline."""

  setting: str
  members: int
  costs: Mapping[str, int]
  overrides: Mapping[str, object]
  top1_error: Mean | None
  top5_error: Mean | None
  loss: Mean | None
  difference: Difference | None


def summaries(study: StudyResult) -> list[Summary]:
  """Summaries of a study's settings, in the order of the sweep."""
  errors = {
    name: {
      member.seed: error for member in members if (error := member.figure('top1_error')) is not None
    }
    for name, members in study.settings().items()
  }
  baseline = errors.get(study.baseline or '', {})
  differences = {
    name: difference(found, baseline) for name, found in errors.items() if name != study.baseline
  }
  corrected = holm({k: d.p for k, d in differences.items() if d is not None and d.p is not None})
  found = []
  for name, members in study.settings().items():
    paired = differences.get(name)
    if paired is not None:
      paired = dataclasses.replace(paired, holm=corrected.get(name))

    def over_seeds(figure: str, members: Sequence = members) -> Mean | None:
      values = [value for m in members if (value := m.figure(figure)) is not None]
      return mean(values) if values else None

    found.append(
      Summary(
        setting=name,
        members=len(members),
        costs=members[0].costs,
        overrides={k: v for k, v in members[0].overrides.items() if k != 'seed'},
        top1_error=over_seeds('top1_error'),
        top5_error=over_seeds('top5_error'),
        loss=over_seeds('loss'),
        difference=paired,
      )
    )
  return found


def pareto(points: Mapping[str, tuple[float, float]]) -> set[str]:
  """Names of the Pareto-optimal (cost, error) points, which no other point dominates."""
  return {
    name
    for name, (cost, error) in points.items()
    if not any((c <= cost and e <= error) and (c < cost or e < error) for c, e in points.values())
  }
