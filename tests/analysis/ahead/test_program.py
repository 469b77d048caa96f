"""Figures of compiled programs, added up from text whose costs are known by hand."""

import types

import pytest

from googlenet_jax.analysis.ahead import hlo
from googlenet_jax.analysis.ahead.chips import CHIPS, GIB
from googlenet_jax.analysis.ahead.program import memory_of, module_of, predict, too_big

# A loop with three iterations of a fusion of 1,500 cycles, and outside of it a fusion of 3,000
# cycles whose result stays on the chip, a select-and-scatter without an estimate, an all-reduce.
TEXT = """\
HloModule jit_step, is_scheduled=true

%inside (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  ROOT %t = f32[4]{0} tanh(%p), metadata={op_name="jit(f)/Net/a/tanh"}
}

%body (s: (s32[], bf16[8,128])) -> (s32[], bf16[8,128]) {
  %s = (s32[]{:T(128)}, bf16[8,128]{1,0:T(8,128)(2,1)}) parameter(0)
  %x = bf16[8,128]{1,0:T(8,128)(2,1)} get-tuple-element(%s), index=1
  %i = s32[]{:T(128)} get-tuple-element(%s), index=0
  %turn = bf16[8,128]{1,0:T(8,128)(2,1)} fusion(%x), kind=kLoop, calls=%inside, metadata={op_name="jit(f)/while/body/Net/conv2/mul"}, backend_config={"window_config":{"estimated_cycles":"1500"}}
  ROOT %next = (s32[]{:T(128)}, bf16[8,128]{1,0:T(8,128)(2,1)}) tuple(%i, %turn)
}

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

ENTRY %main.1_spmd (in: bf16[8,128], /*index=1*/w: f32[4]) -> bf16[8,128] {
  %in = bf16[8,128]{1,0:T(8,128)(2,1)} parameter(0), metadata={op_name="x"}
  %w = f32[4]{0:T(128)} parameter(1)
  %first = (f32[4]{0:T(128)S(1)}, bf16[8,128]{1,0:T(8,128)(2,1)}) fusion(%in, %w), kind=kOutput, calls=%inside, metadata={op_name="jit(f)/transpose(jvp(Net))/conv1/cond/branch_2_fun/dot"}, backend_config={"window_config":{"estimated_cycles":"3000"}}
  %pooled = bf16[8,256]{1,0} select-and-scatter(%in, %w), to_apply=%add, metadata={op_name="jit(f)/transpose(jvp(Net))/pool1/select_and_scatter_add"}
  %ahead = ((bf16[8,128]{1,0}), bf16[8,64]{1,0:S(1)}, s32[]{:S(2)}) slice-start(%in), slice={[0:8], [0:64]}
  %here = bf16[8,64]{1,0:S(1)} slice-done(%ahead)
  %start = (s32[], bf16[8,128]) tuple(%w, %in)
  %loop = (s32[]{:T(128)}, bf16[8,128]{1,0:T(8,128)(2,1)}) while(%start), condition=%add, body=%body, backend_config={"known_trip_count":{"n":"3"}}
  %sums = f32[4]{0:T(128)S(1)} all-reduce(%w), replica_groups={}, to_apply=%add, metadata={op_name="jit(f)/update/psum"}
  ROOT %out = bf16[8,128]{1,0} get-tuple-element(%loop), index=1
}
"""  # noqa: E501


def compiled(text, **memory):
  """A compiled program with what `predict` needs."""
  sizes = dict.fromkeys(('argument', 'output', 'alias', 'temp', 'generated_code'), 0) | memory
  analysis = types.SimpleNamespace(**{f'{name}_size_in_bytes': n for name, n in sizes.items()})
  return types.SimpleNamespace(as_text=lambda: text, memory_analysis=lambda: analysis)


def test_cycles_traffic_and_collectives_are_added_up():
  chip = CHIPS['v5e']
  program = compiled(TEXT, argument=100, output=40, alias=30, temp=7)
  found = predict(program, chip, 1e6, 'Net')
  scattered = 8 * 256 * 2 + 8 * 128 * 2 + 16  # its result and both operands
  at_bandwidth = scattered / 819e9
  assert found.seconds == pytest.approx((3000 + 3 * 1500) / 1.5e9 + at_bandwidth)
  assert found.unestimated == pytest.approx(at_bandwidth)
  assert found.cycles == round(7500 + at_bandwidth * 1.5e9)
  # Arrays that stay on the chip, in space 1, are not traffic; prefetched arrays take no time.
  first = 2048 + 2048 + 16
  assert found.traffic == scattered + first + 3 * (2048 + 2048)
  assert [(c.kind, c.count, c.bytes) for c in found.collectives] == [('all-reduce', 1, 16)]
  assert memory_of(program).total == 100 + 40 - 30 + 7
  modules = [(cost.module, cost.backward, cost.estimated) for cost in found.costs]
  assert modules == [('conv2', False, True), ('conv1', True, True), ('pool1', True, False)]


# In a loop of five turns an exchange, one of a fusion, one that runs in the background; outside of
# it one in the second branch of a conditional.
EXCHANGES = """\
HloModule jit_step, is_scheduled=true

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%reduced_and_cut (p: f32[8]) -> f32[2] {
  %p = f32[8]{0} parameter(0)
  %whole = f32[8]{0} all-reduce(%p), replica_groups={}, to_apply=%add
  ROOT %own = f32[2]{0} slice(%whole), slice={[0:2]}
}

%behind (q: f32[2]) -> f32[8] {
  %q = f32[2]{0} parameter(0)
  ROOT %gathered = f32[8]{0} all-gather(%q), dimensions={0}
}

%body (s: (f32[8])) -> (f32[8]) {
  %s = (f32[8]{0}) parameter(0)
  %x = f32[8]{0} get-tuple-element(%s), index=0
  %mean = f32[8]{0} all-reduce(%x), replica_groups={}, to_apply=%add
  %part = f32[2]{0} fusion(%mean), kind=kCustom, calls=%reduced_and_cut
  %begun = ((f32[2]{0}), f32[8]{0}, s32[]) async-start(%part), calls=%behind
  %ended = f32[8]{0} async-done(%begun)
  ROOT %next = (f32[8]{0}) tuple(%ended)
}

%as_it_is (t: f32[8]) -> f32[8] {
  ROOT %t = f32[8]{0} parameter(0)
}

%shifted (u: f32[8]) -> f32[8] {
  %u = f32[8]{0} parameter(0)
  ROOT %from = f32[8]{0} collective-permute(%u), source_target_pairs={{0,1}}
}

ENTRY %main (in: f32[8], which: s32[]) -> f32[8] {
  %in = f32[8]{0} parameter(0)
  %which = s32[] parameter(1)
  %start = (f32[8]{0}) tuple(%in)
  %loop = (f32[8]{0}) while(%start), condition=%add, body=%body, backend_config={"known_trip_count":{"n":"5"}}
  %out = f32[8]{0} get-tuple-element(%loop), index=0
  ROOT %one = f32[8]{0} conditional(%which, %out, %out), branch_computations={%as_it_is, %shifted}
}
"""  # noqa: E501


def test_exchanges_are_counted_wherever_they_are():
  found = predict(compiled(EXCHANGES), CHIPS['v5e'], 1e6, 'Net').collectives
  assert [(c.kind, c.count, c.bytes) for c in found] == [
    ('all-gather', 5, 5 * 32),
    ('all-reduce', 10, 10 * 32),
    ('collective-permute', 1, 32),
  ]


def test_a_gpu_has_a_bound_and_no_cycles():
  chip = CHIPS['h100']
  found = predict(compiled(TEXT), chip, 1e6, 'Net')
  assert found.cycles is None
  assert found.seconds == pytest.approx(found.traffic / chip.bandwidth)
  assert predict(compiled(TEXT), chip, 1e15, 'Net').seconds == pytest.approx(1e15 / chip.peak)


@pytest.mark.parametrize(
  ('kind', 'bytes_'),
  [
    ('bf16[2,3]{1,0:T(8,128)(2,1)}', 12),
    ('f32[]', 4),
    ('pred[5]{0}', 5),
    ('s4[3]', 3),
    ('(f8e4m3fn[10]{0}, u32[]{:S(2)}, c64[2])', 26),
    ('f32[8]{0:T(128)S(1)}', 0),
  ],
)
def test_bytes_of_types(kind, bytes_):
  assert hlo.size(kind) == bytes_


def test_what_is_on_the_chip_counts_where_it_is_asked_for():
  assert hlo.size('(f32[8]{0:T(128)S(1)}, f32[2])', on_chip=True) == 40


@pytest.mark.parametrize(
  ('scope', 'module', 'backward'),
  [
    ('jit(train_step)/jvp(Net)/inception_3a/conv1x1/conv', 'inception_3a/conv1x1', False),
    ('jit(train_step)/transpose(jvp(Net))/norm1/cond/branch_2_fun/dot', 'norm1', True),
    ('jit(train_step)/transpose(jvp(Net))/add_any', '(network)', True),
    ('jit(train_step)/mul', '(mul)', False),
    ('', '(other)', False),
  ],
)
def test_modules_of_scopes(scope, module, backward):
  assert module_of(scope, 'Net') == (module, backward)


# The form of libtpu 0.0.42; numbers and names are made up.
EXCESS = """RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in space hbm.
Used 20.50G of 15.75G hbm. Exceeded hbm capacity by 4.75G.

Largest program allocations in hbm:

  1. Size: 1.53G
     Operator: op_name="jit(train_step)/jvp(Net)/conv2/conv_general_dilated"
     Shape: bf16[256,56,56,192]

  2. Size: 784.00M
     Operator: op_name="jit(train_step)/jvp(Net)/norm1/mul"
"""


def test_what_does_not_fit():
  found = too_big(EXCESS, 'Net')
  assert found.used == round(20.5 * GIB)
  assert found.available == round(15.75 * GIB)
  assert found.largest == ((round(1.53 * GIB), 'conv2'), (784 * 2**20, 'norm1'))
  assert too_big('INTERNAL: something else', 'Net') is None
