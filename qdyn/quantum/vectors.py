"""Short vectors of real numbers inside compiled kernels; imported only when one runs.

A block of BLOCK_BYTES is one value of the type Lanes: LLVM keeps it in as many registers as the processor
needs, and flipping a bit of a position inside a block is a fixed permutation of lanes.
"""

from __future__ import annotations

from typing import no_type_check

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

BLOCK_BYTES = 512
STRIP_BYTES = 128
LINE_BYTES = 64


class Lanes(types.Type):
    """A short vector of real numbers."""

    @no_type_check
    def __init__(self, element, count):
        self.element, self.count = element, count
        super().__init__(name=f"Lanes({element}, {count})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    @no_type_check
    def __init__(self, manager, lanes):
        element = ir.DoubleType() if lanes.element == types.float64 else ir.FloatType()
        super().__init__(manager, lanes, ir.VectorType(element, lanes.count))


@no_type_check
def _permutation(lanes, source):
    return ir.Constant(ir.VectorType(ir.IntType(32), len(source)), source), ir.Constant(lanes, ir.Undefined)


@no_type_check
def _place(context, builder, signature, arguments, vector):
    data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
    return builder.bitcast(builder.gep(data, [arguments[1]], inbounds=True), vector.as_pointer())


@no_type_check
def _make_load(n_bytes, *, twice=False):
    @intrinsic
    def load(typing_context, array, index):
        n_element = array.dtype.bitwidth // 8
        lanes = Lanes(array.dtype, n_bytes // n_element)

        def generate(context, builder, signature, arguments):
            vector = context.get_value_type(signature.return_type)
            if not twice:
                place = _place(context, builder, signature, arguments, vector)
                return builder.load(place, align=n_element)
            half = ir.VectorType(vector.element, vector.count // 2)
            values = builder.load(_place(context, builder, signature, arguments, half), align=n_element)
            mask, other = _permutation(half, [lane // 2 for lane in range(vector.count)])
            return builder.shuffle_vector(values, other, mask)

        return lanes(array, types.int64), generate

    return load


@no_type_check
def _make_splat(n_bytes, *, alternating=False):
    @intrinsic
    def splat(typing_context, number):
        lanes = Lanes(number, n_bytes * 8 // number.bitwidth)

        def generate(context, builder, signature, arguments):
            vector = context.get_value_type(signature.return_type)
            mask, other = _permutation(vector, [0] * vector.count)
            first = builder.insert_element(other, arguments[0], ir.Constant(ir.IntType(32), 0))
            if not alternating:
                return builder.shuffle_vector(first, other, mask)
            second = builder.insert_element(first, builder.fneg(arguments[0]), ir.Constant(ir.IntType(32), 1))
            mask, other = _permutation(vector, [lane % 2 for lane in range(vector.count)])
            return builder.shuffle_vector(second, other, mask)

        return lanes(number), generate

    return splat


@no_type_check
def _make_width(n_bytes):
    @intrinsic
    def width(typing_context, array):
        count = n_bytes * 8 // array.dtype.bitwidth

        def generate(context, builder, signature, arguments):
            return ir.Constant(ir.IntType(64), count)

        return types.int64(array), generate

    return width


@no_type_check
def _make_arithmetic(instruction):
    @intrinsic
    def compute(typing_context, left, right):
        def generate(context, builder, signature, arguments):
            return getattr(builder, instruction)(*arguments)

        return left(left, right), generate

    return compute


# Values of a block, strip or line from row[index:]; `load_twice` repeats each of half as many values.
load_block, load_strip, load_line = (_make_load(n) for n in (BLOCK_BYTES, STRIP_BYTES, LINE_BYTES))
load_twice = _make_load(BLOCK_BYTES, twice=True)
# One number in every lane; `_alternate`: x, -x, x, -x, ...
splat_block, splat_strip, splat_line = (_make_splat(n) for n in (BLOCK_BYTES, STRIP_BYTES, LINE_BYTES))
alternate_strip = _make_splat(STRIP_BYTES, alternating=True)
# Lanes of a block, strip or line for the element type of an array.
block_width, strip_width, line_width = (_make_width(n) for n in (BLOCK_BYTES, STRIP_BYTES, LINE_BYTES))
add, multiply = _make_arithmetic("fadd"), _make_arithmetic("fmul")


@intrinsic
@no_type_check
def store(typing_context, array, index, value):
    """Write lanes to row[index:]."""

    def generate(context, builder, signature, arguments):
        vector = context.get_value_type(signature.args[2])
        place = _place(context, builder, signature, arguments, vector)
        builder.store(arguments[2], place, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(array, types.int64, value), generate


@no_type_check
def _make_multiply_add(*, negative):
    @intrinsic
    def multiply_add(typing_context, a, b, c):
        def generate(context, builder, signature, arguments):
            vector = context.get_value_type(signature.return_type)
            name = f"llvm.fmuladd.v{vector.count}{vector.element.intrinsic_name}"
            function_type = ir.FunctionType(vector, [vector] * 3)
            function = cgutils.get_or_insert_function(builder.module, function_type, name)
            a, b, c = arguments
            return builder.call(function, [a, b, builder.fneg(c) if negative else c])

        return a(a, b, c), generate

    return multiply_add


# a * b + c and a * b - c, fused where the processor can.
multiply_add, multiply_subtract = _make_multiply_add(negative=False), _make_multiply_add(negative=True)


@intrinsic
@no_type_check
def parity(typing_context, bits):
    """Whether an odd number of bits is set, 0 or 1."""

    def generate(context, builder, signature, arguments):
        return builder.and_(builder.ctpop(arguments[0]), ir.Constant(ir.IntType(64), 1))

    return types.int64(types.int64), generate


@no_type_check
def _make_rearrangement(source):
    """A permutation of the lanes of a vector: ``source(lane, bit)`` says where each comes from."""

    @intrinsic(prefer_literal=True)
    def rearrange(typing_context, value, bit):
        distance = bit.literal_value

        def generate(context, builder, signature, arguments):
            vector = context.get_value_type(signature.return_type)
            lanes = [source(lane, distance) % vector.count for lane in range(vector.count)]
            mask, other = _permutation(vector, lanes)
            return builder.shuffle_vector(arguments[0], other, mask)

        return value(value, bit), generate

    return rearrange


@no_type_check
def _exchanged(lane, bit):
    low, high = lane & bit, lane & 2 * bit
    return lane ^ 3 * bit if bool(low) != bool(high) else lane


# Lanes change places whose numbers differ by ``bit``; whose numbers have ``bit`` and 2 ``bit`` exchanged.
flip = _make_rearrangement(lambda lane, bit: lane ^ bit)
exchange = _make_rearrangement(_exchanged)
