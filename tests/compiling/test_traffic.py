"""Bytes between a chip and its memory, read off a compiled module's text."""

from benchmarks.tpu import collectives, hlo, traffic

# In the words of the TPU's compiler, shortened.
MODULE = """HloModule jit_step

%fused_rows (param_0.1: f32[64,128], param_1.1: s32[]) -> f32[8,128] {
  %param_0.1 = f32[64,128]{1,0:T(8,128)} parameter(0)
  %param_1.1 = s32[] parameter(1)
  ROOT %ds = f32[8,128]{1,0:T(8,128)} dynamic-slice(%param_0.1, %param_1.1), \
dynamic_slice_sizes={8,128}
}

%fused_update (param_0.2: f32[64,128], param_1.2: f32[8,128]) -> f32[64,128] {
  %param_0.2 = f32[64,128]{1,0:T(8,128)} parameter(0)
  %param_1.2 = f32[8,128]{1,0:T(8,128)} parameter(1)
  %dus = f32[64,128]{1,0:T(8,128)} dynamic-update-slice(%param_0.2, %param_1.2, %c)
  ROOT %b = f32[64,128]{1,0:T(8,128)} bitcast(%dus)
}

%body (arg: (s32[], f32[64,128])) -> (s32[], f32[64,128]) {
  %all = f32[64,128]{1,0:T(8,128)} get-tuple-element(%arg), index=1
  %row = f32[8,128]{1,0:T(8,128)} fusion(%all, %i), kind=kLoop, calls=%fused_rows, \
metadata={op_name="jit(step)/scan/read"}
  %new = f32[64,128]{1,0:T(8,128)} fusion(%all, %row), kind=kLoop, calls=%fused_update, \
metadata={op_name="jit(step)/scan/write"}
}

%fused_beside (param_0.3: f32[8,128], param_1.3: f32[32,128], param_2.3: f32[16,128]) -> f32[16] {
  %param_0.3 = f32[8,128]{1,0:T(8,128)} parameter(0)
  %param_1.3 = f32[32,128]{1,0:T(8,128)} parameter(1)
  %param_2.3 = f32[16,128]{1,0:T(8,128)} parameter(2)
  %ag = f32[32,128]{1,0:T(8,128)} all-gather(%param_0.3), dimensions={0}
  %work = f32[16,128]{1,0:T(8,128)} negate(%param_2.3)
  ROOT %r = (f32[16,128]{1,0:T(8,128)}, f32[8,128]{1,0:T(8,128)}, f32[32,128]{1,0:T(8,128)}, \
f32[32,128]{1,0:T(8,128)}) tuple(%work, %param_0.3, %param_1.3, %ag)
}

ENTRY %main (p0: bf16[2,32,3]) -> f32[8] {
  %p0 = bf16[2,32,3]{0,2,1:T(4,128)(2,1)} parameter(0)
  %here = bf16[2,32,3]{0,2,1:T(4,128)(2,1)S(1)} copy(%p0), metadata={op_name="jit(step)/in"}
  %wide = f32[16,128]{1,0:T(8,128)} add(%here, %here), metadata={op_name="jit(step)/out"}
  %cs = (f32[16,128]{1,0:T(8,128)S(1)}, f32[16,128]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(%wide)
  %cd = f32[16,128]{1,0:T(8,128)S(1)} copy-done(%cs)
  %ss = ((f32[16,128]{1,0:T(8,128)}), f32[8,128]{1,0:T(8,128)S(1)}, s32[]{:S(2)}) \
slice-start(%wide), slice={[0:8], [0:128]}
  %mine = f32[8,128]{1,0:T(8,128)} parameter(1)
  %all = f32[32,128]{1,0:T(8,128)} parameter(2)
  %beside = (f32[16,128]{1,0:T(8,128)}, f32[8,128]{1,0:T(8,128)}, f32[32,128]{1,0:T(8,128)}, \
f32[32,128]{1,0:T(8,128)}) fusion(%mine, %all, %wide), kind=kOutput, calls=%fused_beside, \
metadata={op_name="jit(step)/beside"}
  %buffer = f32[64,128]{1,0:T(8,128)} custom-call(), custom_call_target="AllocateBuffer"
  %w.1 = (s32[], f32[64,128]{1,0:T(8,128)}) while(%t), condition=%c, body=%body, \
backend_config={"known_trip_count":{"n":"5"}}
}
"""


def test_what_lies_in_memory_counts_with_what_fills_its_tiles():
    (image,) = hlo.arrays_of("bf16[2,32,3]{0,2,1:T(4,128)(2,1)}")
    assert image.bytes == 2 * 32 * 3 * 2 and image.bytes_in_memory == 32 * 4 * 128 * 2
    assert hlo.arrays_of("(f32[8]{0:T(1024)S(1)}, pred[])")[0].on_chip
    assert hlo.arrays_of("f32[5,7]")[0].bytes_in_memory == 140  # a layout that isn't said


PIECES = """HloModule pieces

%branch (a: f32[8,128]) -> f32[8,128] {
  %a = f32[8,128]{1,0:T(8,128)} parameter(0)
  %n = f32[8,128]{1,0:T(8,128)} negate(%a), metadata={op_name="branch"}
}

%fused_sum (b: f32[8,128]) -> f32[8,128] {
  %b = f32[8,128]{1,0:T(8,128)} parameter(0)
  ROOT %s = f32[8,128]{1,0:T(8,128)} all-reduce(%b), replica_groups={{0,1}}
}

%body (c: f32[8,128]) -> f32[8,128] {
  %f = f32[8,128]{1,0:T(8,128)} fusion(%c), kind=kCustom, calls=%fused_sum
  %k = f32[8,128]{1,0:T(8,128)} conditional(%p, %f, %f), branch_computations={%branch, %branch}
}

ENTRY %main (p0: f32[64,128]) -> f32[8,128] {
  %p0 = f32[64,128]{1,0:T(8,128)} parameter(0)
  %chip = f32[8,128]{1,0:T(8,128)S(1)} parameter(1)
  %ds = ((f32[64,128]{1,0:T(8,128)}, s32[]{:T(128)}, s32[]{:T(128)}), \
f32[8,128]{1,0:T(8,128)S(1)}, u32[]{:S(2)}) \
dynamic-slice-start(%p0, %i, %j), metadata={op_name="slice"}
  %ar = f32[64,128]{1,0:T(8,128)} all-reduce-start(%p0), metadata={op_name="sum"}
  %dus = f32[64,128]{1,0:T(8,128)} dynamic-update-slice(%p0, %chip, %i, %j), \
metadata={op_name="update"}
  %w = f32[8,128]{1,0:T(8,128)} while(%t), condition=%c, body=%body, \
backend_config={"known_trip_count":{"n":"5"}}
}
"""


def test_asynchronous_slices_sums_and_what_branches_and_loops_run():
    module, row = hlo.parse(PIECES), 8 * 128 * 4
    moved = traffic.by_origin(module)
    assert moved["slice"] == row  # from memory to the chip
    assert moved["sum"] == 2 * 8 * row  # read and written
    assert moved["update"] == row  # written; what it is made of lies on the chip
    assert moved["branch"] == 5 * 2 * 2 * row  # two branches, each read and written
    assert collectives.compiled(module) == {"all-reduce": {"operations": 6, "bytes": 13 * row}}


def test_slices_updates_in_place_and_loops():
    moved = traffic.by_origin(hlo.parse(MODULE))
    row = 8 * 128 * 4
    assert moved["jit(step)/in"] == 32 * 4 * 128 * 2  # read; what is made stays on the chip
    assert moved["jit(step)/out"] == 2 * row  # written
    assert moved["jit(step)/scan/read"] == 5 * 2 * row  # a slice of the operand, and the result
    assert moved["jit(step)/scan/write"] == 5 * 2 * row  # the new rows alone, read and written
    assert moved["jit(step)/beside"] == 4 * row  # its own; what a collective has pass through not
    assert moved[""] == 2 * row + row  # to the chip: all of it, and half of it
    assert traffic.memory_bytes(hlo.parse(MODULE)) == sum(moved.values())
