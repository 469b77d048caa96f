"""Lists the convolutions and matrix products of a traced function: module, cost and depth."""

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from jax.extend import core

# Primitives that run a single inner computation once, with the same arguments. Primitives not
# handled below raise an error where it matters: an unknown loop or kernel would hide multiply-adds.
CALLS = {'jit', 'remat2', 'custom_jvp_call', 'custom_vjp_call'}


@dataclasses.dataclass(frozen=True)
class Contraction:
  """A convolution or matrix product of a traced function.

  `scope` is the path of the module that contains it (`GoogLeNet/inception_3a/conv1x1`), `macs` its
  multiply-adds, `depth` the number of weighted layers on the longest path up to and including it,
  and `outputs` the number of its output values.
  """

  scope: str
  macs: int
  depth: int
  outputs: int


class _Reach(NamedTuple):
  """The depth of a value, and whether it comes directly from a contraction."""

  depth: int = 0
  fresh: bool = False


def contractions(function: Callable[..., Any], *arguments: Any) -> tuple[list[Contraction], Any]:
  """Traces `function` and lists its convolutions and matrix products in order; computes nothing.

  Padded positions count like any others, as is customary. Two contractions with nothing in between
  (a depthwise convolution, then a pointwise one) are the factors of one weighted layer. A `scan`
  counts once per iteration, a `cond` as its most expensive branch.

  Args:
    function: the function to trace.
    *arguments: arrays or `jax.ShapeDtypeStruct`s, or trees of them.

  Returns:
    The contractions, and the shapes and types of the results of `function`.

  Raises:
    NotImplementedError: the number of contractions is not known, as inside a `while`.
  """
  # By default, Flax may leave the names of modules out of the trace.
  with nn.override_named_call(True):
    closed, outputs = jax.make_jaxpr(function, return_shape=True)(*arguments)
  return contractions_in(closed), outputs


def contractions_in(computation: core.ClosedJaxpr) -> list[Contraction]:
  """The convolutions and matrix products of a computation traced with the names of modules."""
  jaxpr = computation.jaxpr
  return _walk(jaxpr, [_Reach()] * len(jaxpr.invars), '')[0]


def _walk(
  jaxpr: Any, inputs: Sequence[_Reach], scope: str
) -> tuple[list[Contraction], list[_Reach]]:
  found: list[Contraction] = []
  reached = dict(zip(jaxpr.invars, inputs, strict=True))

  def read(atom: Any) -> _Reach:
    return _Reach() if isinstance(atom, core.Literal) else reached.get(atom, _Reach())

  for equation in jaxpr.eqns:
    sources = [read(atom) for atom in equation.invars]
    inside = join_scope(scope, equation.source_info.name_stack)
    macs = _macs(equation)
    if macs is not None:
      depth = max(source.depth + (not source.fresh) for source in sources)
      outputs = math.prod(equation.outvars[0].aval.shape)
      found.append(Contraction(inside, macs, depth, outputs))
      results = [_Reach(depth, fresh=True)]
    elif inner_jaxprs(equation):
      within, results = _enter(equation, sources, inside)
      found += within
    else:
      depth = max((source.depth for source in sources), default=0)
      results = [_Reach(depth)] * len(equation.outvars)
    reached.update(zip(equation.outvars, results, strict=True))
  return found, [read(atom) for atom in jaxpr.outvars]


def _enter(
  equation: Any, sources: list[_Reach], scope: str
) -> tuple[list[Contraction], list[_Reach]]:
  """Walks through the computations inside an equation."""
  name = equation.primitive.name
  inner = inner_jaxprs(equation)
  if name in CALLS:
    return _walk(inner[0], sources, scope)
  results: list[_Reach]
  if name == 'cond':
    walks = [_walk(branch, sources[1:], scope) for branch in inner]
    found = max((branch for branch, _ in walks), key=lambda branch: sum(c.macs for c in branch))
    deepest = [
      max(reached.depth for reached in ways) for ways in zip(*(w[1] for w in walks), strict=True)
    ]
    return found, [_Reach(depth) for depth in deepest]
  if name == 'scan':
    found, results = [], [_Reach()] * len(equation.outvars)
    # Recognized by rank, because parameter names change between JAX versions: arrays that a scan
    # iterates over or stacks have one more axis outside. In order: constants, carry, inputs.
    carried = _same_rank(equation.outvars, inner[0].outvars)
    constants = _same_rank(equation.invars, inner[0].invars) - carried
    for _ in range(equation.params['length']):
      within, results = _walk(inner[0], sources, scope)
      found += within
      sources[constants : constants + carried] = results[:carried]
    return found, results
  for jaxpr in inner:
    if _walk(jaxpr, [_Reach()] * len(jaxpr.invars), scope)[0]:
      raise NotImplementedError(
        f'multiply-adds inside {name!r} at {scope or "the top"}: their number is not known'
      )
  depth = max((source.depth for source in sources), default=0)
  return [], [_Reach(depth)] * len(equation.outvars)


def _same_rank(outside: Sequence[Any], inside: Sequence[Any]) -> int:
  return sum(len(a.aval.shape) == len(b.aval.shape) for a, b in zip(outside, inside, strict=True))


def inner_jaxprs(equation: Any) -> list[Any]:
  """The computations inside an equation."""
  values: list[Any] = []
  for value in equation.params.values():
    values += value if isinstance(value, tuple | list) else [value]
  opened = [value.jaxpr if isinstance(value, core.ClosedJaxpr) else value for value in values]
  return [value for value in opened if isinstance(value, core.Jaxpr)]


def _macs(equation: Any) -> int | None:
  """Multiply-adds of a contraction: its outputs times the products summed in each."""
  outputs = math.prod(equation.outvars[0].aval.shape) if equation.outvars else 0
  if equation.primitive.name == 'conv_general_dilated':
    kernel = equation.invars[1].aval.shape
    # With groups of features or of the batch, the kernel has the channels of one group only.
    out_features = kernel[equation.params['dimension_numbers'].rhs_spec[0]]
    return outputs * math.prod(kernel) // out_features
  if equation.primitive.name == 'dot_general':
    (contracted, _), _ = equation.params['dimension_numbers']
    left = equation.invars[0].aval.shape
    return outputs * math.prod(left[axis] for axis in contracted)
  return None


def join_scope(scope: str, stack: Any) -> str:
  """The path of an equation; inside a call, names are relative to the call's.

  Transformations wrap names (`vmap(conv1)`); methods other than `__call__` follow a dot.
  """
  names = re.sub(r'\w+\(|\)', '', str(stack)).split('/')
  return '/'.join(filter(None, [scope, *(name.partition('.')[0] for name in names)]))
