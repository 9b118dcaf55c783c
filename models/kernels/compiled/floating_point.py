"""Floating-point numbers in compiled code: their bits, 2^x and log2(x), and the width of vectors.

`exp2` and `log2` are polynomials without branches, so that loops over them are vectorized.
"""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
from numba import types
from numba.extending import intrinsic, overload

from ..special_functions import LOG2_E
from .compile_kernel import kernel


@intrinsic
def float_to_bits(context, number):
    """The bits of a floating-point number, read as an integer of the same size."""
    integer = {types.float64: types.int64, types.float32: types.int32}[number]
    return integer(number), lambda to, builder, _, arguments: builder.bitcast(arguments[0], to.get_value_type(integer))


@intrinsic
def bits_to_float(context, integer):
    """The floating-point number with these bits: the inverse of `float_to_bits`."""
    number = {types.int64: types.float64, types.int32: types.float32}[integer]
    return number(integer), lambda to, builder, _, arguments: builder.bitcast(arguments[0], to.get_value_type(number))


@intrinsic
def wide_vectors(context):
    """Let the function that calls this first use 512-bit vectors where the processor has them.

    Compilers prefer 256 bits, because early processors lowered their clock for 512-bit code. The matrix products here
    take a quarter longer with 256 bits.
    """

    def generate(context, builder, signature, arguments):
        attributes = builder.function.attributes
        # set.add, because numba's own `add` refuses this attribute. Without it, vectors are only shorter
        if isinstance(attributes, set):
            set.add(attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.none(), generate


def exp2(x):
    """2^x for x <= 0, within 2 units of the last digit.

    The result is 0 where it is so small that products with it could be subnormal: processors are many times slower on
    subnormal numbers.
    """


@overload(exp2, jit_options={"fastmath": {"contract"}, "error_model": "numpy"})
@no_type_check
def _exp2(x):
    single = x == types.float32
    number, integer, digits, bias = (np.float32, np.int32, 23, 127) if single else (np.float64, np.int64, 52, 1023)
    least, zero, half = number(-90 if single else -960), number(0), number(1.5 * 2.0**digits)
    # Taylor's series of 2^f, |f| <= 1/2: the next term is 2e-17
    c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12 = (
        number(math.log(2) ** i / math.factorial(i)) for i in range(13)
    )

    def compute(x):
        shifted = x + half  # the last digits are now those of the nearest integer
        f = x - (shifted - half)
        p = c12
        p = ((((p * f + c11) * f + c10) * f + c9) * f + c8) * f + c7
        p = ((((p * f + c6) * f + c5) * f + c4) * f + c3) * f + c2
        p = (p * f + c1) * f + c0
        power = p * bits_to_float(integer((float_to_bits(shifted) + bias) << digits))  # type: ignore[call-arg]
        return zero if x < least else power

    return compute


@kernel({"contract"})
@no_type_check
def log2(x):
    """log2(x) for normal x > 0, within 3 units of the last digit, by the series of the inverse hyperbolic tangent."""
    b = float_to_bits(x)
    exponent, mantissa = (b >> 52) - 1023, bits_to_float((b & 0xFFFFFFFFFFFFF) | 0x3FF0000000000000)
    above = mantissa > 1.4142135623730951
    mantissa, exponent = (0.5 * mantissa, exponent + 1) if above else (mantissa, exponent)
    s = (mantissa - 1) / (mantissa + 1)
    z = s * s
    p = 1 / 21
    p = ((((p * z + 1 / 19) * z + 1 / 17) * z + 1 / 15) * z + 1 / 13) * z + 1 / 11
    p = ((((p * z + 1 / 9) * z + 1 / 7) * z + 1 / 5) * z + 1 / 3) * z + 1
    return exponent + 2 * LOG2_E * s * p if x == x else x
