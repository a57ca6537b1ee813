"""Integer, logical and bit instructions, and conversions, against Python's integers and fractions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from tests.cuda.emulator.harness import elementwise, predicate, same

EDGES = [0, 1, 2, 3, 7, 0x55, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF,
         0x123456789ABCDEF0, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0xFFFFFFFFFFFFFFFF]  # fmt: skip


def numbers(type_):
    """All pairs of numbers at the edges of a type."""
    bits = int(type_[1:])
    unsigned = np.array(sorted({x & (2**bits - 1) for x in EDGES}), f"u{bits // 8}")
    a, b = np.meshgrid(unsigned, unsigned)
    return [x.ravel().copy().view(f"{'i' if type_[0] == 's' else 'u'}{bits // 8}") for x in (a, b)]


def wrapped(values, dtype):
    """Python's integers as those of a type."""
    dtype = np.dtype(dtype)
    mask = 2 ** (8 * dtype.itemsize) - 1
    return np.array([int(v) & mask for v in values], f"u{dtype.itemsize}").view(dtype)


def divided(a, b):
    return -1 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def left(a, b):
    return -1 if b == 0 else abs(a) % abs(b) * (-1 if a < 0 else 1)


OPERATIONS = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul.lo": lambda a, b: a * b, "min": min, "max": max,
    "div": divided, "rem": left,
}  # fmt: skip


@pytest.mark.parametrize("type_", ["u16", "s16", "u32", "s32", "u64", "s64"])
@pytest.mark.parametrize("op", OPERATIONS)
def test_arithmetic(op, type_):
    a, b = numbers(type_)
    expected = wrapped(map(OPERATIONS[op], a.tolist(), b.tolist()), a.dtype)
    same(elementwise(f"{op}.{type_} %o, %a, %b;", [a, b], a.dtype), expected)


@pytest.mark.parametrize("type_", ["u16", "s16", "u32", "s32", "u64", "s64"])
def test_high_and_wide_products(type_):
    a, b = numbers(type_)
    bits, products = int(type_[1:]), [x * y for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    same(elementwise(f"mul.hi.{type_} %o, %a, %b;", [a, b], a.dtype), wrapped([p >> bits for p in products], a.dtype))
    code = f"mad.hi.{type_} %o, %a, %b, %a;"
    if bits > 16:
        sums = [(p >> bits) + x for p, x in zip(products, a.tolist(), strict=True)]
        same(elementwise(code, [a, b], a.dtype), wrapped(sums, a.dtype))
    if bits < 64:
        wide = np.dtype(f"{a.dtype.kind}{2 * a.itemsize}")
        same(elementwise(f"mul.wide.{type_} %o, %a, %b;", [a, b], wide), wrapped(products, wide))
        c = np.arange(len(a)).astype(wide)
        sums = [p + z for p, z in zip(products, c.tolist(), strict=True)]
        same(elementwise(f"mad.wide.{type_} %o, %a, %b, %c;", [a, b, c], wide), wrapped(sums, wide))
    sums = [p + x for p, x in zip(products, a.tolist(), strict=True)]
    same(elementwise(f"mad.lo.{type_} %o, %a, %b, %a;", [a, b], a.dtype), wrapped(sums, a.dtype))


def test_carries():
    a, b = numbers("u32")
    words = [x.astype("u4") for x in (a, b)]
    code = "add.cc.u32 %r1, %a, %b; addc.u32 %r2, %b, 7; mov.b64 %o, {%r1, %r2};"
    expected = wrapped([x + y + ((y + 7) << 32) for x, y in zip(a.tolist(), b.tolist(), strict=True)], "u8")
    same(elementwise(code, words, "u8"), expected)
    code = "sub.cc.u32 %r1, %a, %b; subc.u32 %r2, %b, 7; mov.b64 %o, {%r1, %r2};"
    expected = wrapped([x - y + ((y - 7) << 32) for x, y in zip(a.tolist(), b.tolist(), strict=True)], "u8")
    same(elementwise(code, words, "u8"), expected)
    code = "mad.lo.cc.u32 %r1, %a, %b, %a; madc.hi.u32 %r2, %a, %b, 0; mov.b64 %o, {%r1, %r2};"
    expected = wrapped([x * y + x for x, y in zip(a.tolist(), b.tolist(), strict=True)], "u8")
    same(elementwise(code, words, "u8"), expected)


@pytest.mark.parametrize("type_", ["s16", "s32", "s64"])
def test_signs(type_):
    a, _ = numbers(type_)
    same(elementwise(f"neg.{type_} %o, %a;", [a], a.dtype), wrapped([-x for x in a.tolist()], a.dtype))
    same(elementwise(f"abs.{type_} %o, %a;", [a], a.dtype), wrapped([abs(x) for x in a.tolist()], a.dtype))


def test_saturating_sum():
    a, b = numbers("s32")
    expected = [max(-(2**31), min(2**31 - 1, x + y)) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    assert elementwise("add.sat.s32 %o, %a, %b;", [a, b], "i4").tolist() == expected


@pytest.mark.parametrize("bits", [16, 32, 64])
@pytest.mark.parametrize("op", ["and", "or", "xor"])
def test_logic(op, bits):
    a, b = numbers(f"u{bits}")
    function = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}[op]
    same(elementwise(f"{op}.b{bits} %o, %a, %b;", [a, b], a.dtype), function(a, b))
    same(elementwise(f"not.b{bits} %o, %a;", [a], a.dtype), ~a)
    same(elementwise(f"cnot.b{bits} %o, %a;", [a], a.dtype), (a == 0).astype(a.dtype))


@pytest.mark.parametrize("type_", ["u16", "s16", "u32", "s32", "u64", "s64"])
def test_shifts_beyond_the_width(type_):
    a, _ = numbers(type_)
    amounts = np.resize(np.array([0, 1, 5, 15, 16, 31, 32, 33, 63, 64, 100, 2**32 - 1], "u4"), len(a))
    bits = int(type_[1:])
    pairs = list(zip(a.tolist(), amounts.tolist(), strict=True))
    expected = wrapped([x << y if y < bits else 0 for x, y in pairs], a.dtype)
    same(elementwise(f"shl.b{bits} %o, %a, %b;", [a.view(f"u{bits // 8}"), amounts], a.dtype), expected)
    expected = wrapped([x >> min(y, bits) for x, y in pairs], a.dtype)
    same(elementwise(f"shr.{type_} %o, %a, %b;", [a, amounts], a.dtype), expected)


@pytest.mark.parametrize(("side", "mode"), list(itertools.product("lr", ["wrap", "clamp"])))
def test_funnel_shift(side, mode):
    a, b = numbers("u32")
    amounts = np.resize(np.array([0, 1, 31, 32, 33, 64], "u4"), len(a))
    expected = []
    for low, high, amount in zip(a.tolist(), b.tolist(), amounts.tolist(), strict=True):
        count = amount % 32 if mode == "wrap" else min(amount, 32)
        joined = high << 32 | low
        expected.append(joined << count >> 32 if side == "l" else joined >> count)
    result = elementwise(f"shf.{side}.{mode}.b32 %o, %a, %b, %c;", [a, b, amounts], "u4")
    same(result, wrapped(expected, "u4"))


@pytest.mark.parametrize("bits", [32, 64])
def test_counts_and_positions(bits):
    a, _ = numbers(f"u{bits}")
    values = a.tolist()
    assert elementwise(f"popc.b{bits} %o, %a;", [a], "u4").tolist() == [x.bit_count() for x in values]
    assert elementwise(f"clz.b{bits} %o, %a;", [a], "u4").tolist() == [bits - x.bit_length() for x in values]
    assert elementwise(f"bfind.u{bits} %o, %a;", [a], "i4").tolist() == [x.bit_length() - 1 for x in values]
    shift = [bits - x.bit_length() if x else -1 for x in values]
    assert elementwise(f"bfind.shiftamt.u{bits} %o, %a;", [a], "i4").tolist() == shift
    signed = a.view(f"i{bits // 8}")
    highest = [(~x if x < 0 else x).bit_length() - 1 for x in signed.tolist()]
    assert elementwise(f"bfind.s{bits} %o, %a;", [signed], "i4").tolist() == highest
    backwards = [int(f"{x:0{bits}b}"[::-1], 2) for x in values]
    assert elementwise(f"brev.b{bits} %o, %a;", [a], a.dtype).tolist() == backwards


def field(a, start, length, bits, signed):
    """The definition of bfe in the PTX manual."""
    sign = 0 if not signed or length == 0 else a >> min(start + length - 1, bits - 1) & 1
    value = 0
    for i in range(bits):
        bit = a >> (start + i) & 1 if i < length and start + i <= bits - 1 else sign
        value |= bit << i
    return value


@pytest.mark.parametrize("type_", ["u32", "s32", "u64", "s64"])
def test_fields(type_):
    bits = int(type_[1:])
    rows = list(itertools.product(EDGES[4:], [0, 1, 8, 31, 32, 40, 63, 64, 255], [0, 1, 5, 32, 64, 255]))
    a = wrapped([row[0] for row in rows], f"u{bits // 8}")
    b, c = (np.array([row[i] for row in rows], "u4") for i in (1, 2))
    expected = [
        field(x, y, z, bits, type_[0] == "s") for x, y, z in zip(a.tolist(), b.tolist(), c.tolist(), strict=True)
    ]
    assert elementwise(f"bfe.{type_} %o, %a, %b, %c;", [a, b, c], a.dtype).tolist() == expected
    base = np.roll(a, 11)
    inserted = []
    for x, y, start, length in zip(a.tolist(), base.tolist(), b.tolist(), c.tolist(), strict=True):
        value = y
        for i in range(min(length, max(bits - start, 0))):
            value = value & ~(1 << (start + i)) | (x >> i & 1) << (start + i)
        inserted.append(value)
    assert elementwise(f"bfi.b{bits} %o, %a, %b, %c, %d;", [a, base, b, c], a.dtype).tolist() == inserted


@pytest.mark.parametrize("table", [0xC0, 0x96, 0xE8, 0x1A, 0x00, 0xFF])
def test_logic_of_three(table):
    a, b = numbers("u32")
    c = np.roll(a, 3)
    expected = np.zeros_like(a)
    for bit in range(32):
        row = (a >> bit & 1) << 2 | (b >> bit & 1) << 1 | (c >> bit & 1)
        expected |= (table >> row & 1).astype("u4") << bit
    same(elementwise(f"lop3.b32 %o, %a, %b, %c, {table};", [a, b, c], "u4"), expected)


@pytest.mark.parametrize("mode", ["", ".f4e", ".b4e", ".rc8", ".ecl", ".ecr", ".rc16"])
def test_permutation(mode):
    a, b = np.full(64, 0x83020100, "u4"), np.full(64, 0x87868504, "u4")
    choice = np.arange(64, dtype="u4") * np.uint32(0x04121)
    octets = [0, 1, 2, 0x83, 4, 0x85, 0x86, 0x87]
    expected = []
    for s in choice.tolist():
        k = s & 3
        picks = {
            "": [s >> 4 * i & 15 for i in range(4)],
            ".f4e": [k + i for i in range(4)],
            ".b4e": [(k - i) % 8 for i in range(4)],
            ".rc8": [k] * 4,
            ".ecl": [max(k, i) for i in range(4)],
            ".ecr": [min(k, i) for i in range(4)],
            ".rc16": [2 * (k & 1), 2 * (k & 1) + 1] * 2,
        }[mode]
        chosen = [octets[p & 7] if p < 8 else 0xFF * (octets[p & 7] >> 7) for p in picks]
        expected.append(int.from_bytes(bytes(chosen), "little"))
    assert elementwise(f"prmt.b32{mode} %o, %a, %b, %c;", [a, b, choice], "u4").tolist() == expected


def test_dot_product_and_distance():
    a, b = numbers("u32")
    octets = [x.view("u1").reshape(-1, 4).astype(int) for x in (a, b)]
    signed = [x.view("i1").reshape(-1, 4).astype(int) for x in (a, b)]
    c = np.arange(len(a), dtype="u4")
    expected = wrapped((octets[0] * octets[1]).sum(1) + c, "u4")
    same(elementwise("dp4a.u32.u32 %o, %a, %b, %c;", [a, b, c], "u4"), expected)
    expected = wrapped((signed[0] * octets[1]).sum(1) + c, "i4")
    same(elementwise("dp4a.s32.u32 %o, %a, %b, %c;", [a, b, c], "i4"), expected)
    expected = wrapped([abs(x - y) + z for x, y, z in zip(a.tolist(), b.tolist(), c.tolist(), strict=True)], "u4")
    same(elementwise("sad.u32 %o, %a, %b, %c;", [a, b, c], "u4"), expected)


COMPARISONS = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons(name):
    for type_ in ("u16", "s32", "u64", "s64"):
        a, b = numbers(type_)
        np.testing.assert_array_equal(predicate(f"setp.{name}.{type_} %p1, %a, %b;", [a, b]), COMPARISONS[name](a, b))
    for type_ in ("f16", "f32", "f64"):
        x = np.array([0, -0.0, 1, 2, np.inf, -np.inf, np.nan], f"f{int(type_[1:]) // 8}")
        a, b = (v.ravel().copy() for v in np.meshgrid(x, x))
        unordered = np.isnan(a) | np.isnan(b)
        holds = COMPARISONS[name](a, b)
        result = predicate(f"setp.{name}.{type_} %p1, %a, %b;", [a, b])
        np.testing.assert_array_equal(result, holds & ~unordered)
        result = predicate(f"setp.{name}u.{type_} %p1, %a, %b;", [a, b])
        np.testing.assert_array_equal(result, holds | unordered)
        np.testing.assert_array_equal(predicate(f"setp.nan.{type_} %p1, %a, %b;", [a, b]), unordered)
        np.testing.assert_array_equal(predicate(f"setp.num.{type_} %p1, %a, %b;", [a, b]), ~unordered)


def test_predicates_combine():
    a, b = numbers("u32")
    code = "setp.ne.u32 %p2, %b, 0; setp.lt.and.u32 %p1|%p3, %a, %b, %p2;"
    np.testing.assert_array_equal(predicate(code, [a, b]), (a < b) & (b != 0))
    np.testing.assert_array_equal(predicate(code + "and.pred %p1, %p3, %p3;", [a, b]), (a >= b) & (b != 0))
    code = "setp.eq.u32 %p2, %b, 0; setp.lt.or.u32 %p1, %a, %b, !%p2; not.pred %p1, %p1;"
    np.testing.assert_array_equal(predicate(code, [a, b]), ~((a < b) | (b != 0)))
    code = "mov.pred %p2, -1; xor.pred %p1, %p2, %p2;"
    assert not predicate(code, [a]).any()
    assert elementwise("set.lt.u32.u32 %o, %a, %b;", [a, b], "u4").tolist() == [
        0xFFFFFFFF * int(x < y) for x, y in zip(a, b, strict=True)
    ]
    assert elementwise("set.lt.f32.u32 %o, %a, %b;", [a, b], "f4").tolist() == [
        float(x < y) for x, y in zip(a, b, strict=True)
    ]


def test_selection_and_moves():
    a, b = numbers("u32")
    same(elementwise("setp.lt.u32 %p1, %a, %b; selp.b32 %o, %a, %b, %p1;", [a, b], "u4"), np.minimum(a, b))
    c = a.view("i4")
    same(elementwise("slct.u32.s32 %o, %a, %b, %c;", [a, b, c], "u4"), np.where(c >= 0, a, b))
    x = a.view("f4")
    with np.errstate(invalid="ignore"):
        same(elementwise("slct.u32.f32 %o, %a, %b, %c;", [a, b, x], "u4"), np.where(x >= 0, a, b))
    code = "mov.b32 {%h1, %h2}, %a; mov.b32 {_, %h3}, %b; mov.b64 %o, {%h3, %h1, %h2, %h3};"
    parts = np.stack([b >> 16, a & 0xFFFF, a >> 16, b >> 16], axis=1).astype("u2")
    same(elementwise(code, [a, b], "u8"), parts.copy().view("u8")[:, 0])
    same(elementwise("mov.f32 %o, 0f3FC00000;", [a], "f4"), np.full(len(a), 1.5, "f4"))
    same(elementwise("mov.f64 %o, 0d3FF8000000000000;", [a], "f8"), np.full(len(a), 1.5))
    same(elementwise("mov.u32 %o, WARP_SZ;", [a], "u4"), np.full(len(a), 32, "u4"))


INTEGERS = ["u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64"]


@pytest.mark.parametrize(("given", "result"), list(itertools.product(INTEGERS, INTEGERS)))
def test_conversions_of_integers(given, result):
    a, _ = numbers(given)
    dtype = np.dtype(f"{'i' if result[0] == 's' else 'u'}{int(result[1:]) // 8}")
    same(elementwise(f"cvt.{result}.{given} %o, %a;", [a], dtype), a.astype(dtype))
    limits = np.iinfo(dtype)
    clamped = [min(max(x, int(limits.min)), int(limits.max)) for x in a.tolist()]
    assert elementwise(f"cvt.sat.{result}.{given} %o, %a;", [a], dtype).tolist() == clamped


@pytest.mark.parametrize("result", INTEGERS)
@pytest.mark.parametrize("given", ["f16", "f32", "f64"])
def test_conversions_of_floats_to_integers_saturate(given, result):
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 3.7, -3.7, 127, 128, -129, 255.5, 65504, 3e9, -3e9, 2.0**31, 2.0**32,
                  2.0**63, -(2.0**63), 2.0**64, 1e30, -1e30, np.inf, -np.inf, np.nan, 0.0, 2.0**53 + 2])  # fmt: skip
    with np.errstate(over="ignore"):
        x = x.astype(f"f{int(given[1:]) // 8}")
    dtype = np.dtype(f"{'i' if result[0] == 's' else 'u'}{int(result[1:]) // 8}")
    limits = np.iinfo(dtype)
    for mode, function in (("rni", round), ("rzi", math.trunc), ("rmi", math.floor), ("rpi", math.ceil)):
        expected = []
        for v in x.tolist():
            whole = 0 if math.isnan(v) else v if math.isinf(v) else function(v)
            expected.append(int(min(max(whole, int(limits.min)), int(limits.max))))
        assert elementwise(f"cvt.{mode}.{result}.{given} %o, %a;", [x], dtype).tolist() == expected, mode


@pytest.mark.parametrize("given", ["u32", "s32", "u64", "s64", "u8", "s16"])
def test_conversions_of_integers_to_floats(given):
    a, _ = numbers(given)
    a = np.concatenate([a, np.array([16777217, 33554435], a.dtype) if a.itemsize > 2 else a[:0]])
    if a.itemsize == 8:
        a = np.concatenate([a, np.array([2**53 + 1, 2**62 + 2**38 + 1, 2**62 - 1], a.dtype)])
    for result, dtype in (("f32", np.float32), ("f64", np.float64)):
        for mode in ("rn", "rz", "rm", "rp"):
            r = elementwise(f"cvt.{mode}.{result}.{given} %o, %a;", [a], dtype)
            for x, y in zip(a.tolist(), r, strict=True):
                below, above = (int(v) for v in (y, y))
                near = [abs(int(float(np.nextafter(y, dtype(s * np.inf)))) - x) for s in (1, -1)]
                if mode == "rn":
                    assert abs(int(y) - x) <= min(near)
                elif mode == "rm" or (mode == "rz" and x > 0):
                    assert below <= x < int(float(np.nextafter(y, dtype(np.inf)))) or x == below
                else:
                    assert above >= x > int(float(np.nextafter(y, dtype(-np.inf)))) or x == above


def test_conversions_between_floats():
    x = np.array([1 / 3, -2.5, 3.5, 1e-8, 65519.9, 1e30, 1e-42, np.inf, np.nan, -0.0, 0.5, 1 + 2.0**-24 + 2.0**-50])
    with np.errstate(over="ignore"):
        same(elementwise("cvt.rn.f32.f64 %o, %a;", [x], "f4"), x.astype("f4"))
        same(elementwise("cvt.rn.f16.f64 %o, %a;", [x], "f2"), x.astype("f2"))
        single, half = x.astype("f4"), x.astype("f2")
    same(elementwise("cvt.f64.f32 %o, %a;", [single], "f8"), single.astype("f8"))
    same(elementwise("cvt.f32.f16 %o, %a;", [half], "f4"), half.astype("f4"))
    for mode, function in (("rni", np.rint), ("rzi", np.trunc), ("rmi", np.floor), ("rpi", np.ceil)):
        same(elementwise(f"cvt.{mode}.f32.f32 %o, %a;", [single], "f4"), function(single))
        same(elementwise(f"cvt.{mode}.f64.f64 %o, %a;", [x], "f8"), function(x))
    down = elementwise("cvt.rm.f32.f64 %o, %a;", [x[:6]], "f4").astype("f8")
    up = elementwise("cvt.rp.f32.f64 %o, %a;", [x[:6]], "f4").astype("f8")
    assert (down <= x[:6]).all()
    assert (up >= x[:6]).all()
    assert (np.nextafter(down.astype("f4"), np.float32(np.inf)).astype("f8") >= up).all()
    same(elementwise("cvt.sat.f32.f32 %o, %a;", [single], "f4")[1:5], np.array([0, 1, 1e-8, 1], "f4"))


def test_conversions_to_bfloat16_and_pairs():
    import ml_dtypes

    x = np.array([1 / 3, -2.5, 1 + 2.0**-8, 1 + 3 * 2.0**-8, 3.4e38, 1e-40, np.inf, np.nan, -0.0], "f4")
    bits = x.astype(ml_dtypes.bfloat16).view("u2")
    number = ~np.isnan(x)
    same(elementwise("cvt.rn.bf16.f32 %o, %a;", [x], "u2")[number], bits[number])
    same(elementwise("cvt.f32.bf16 %o, %a;", [bits], "f4"), x.astype(ml_dtypes.bfloat16).astype("f4"))
    y = np.roll(x, 2)
    packed = elementwise("cvt.rn.bf16x2.f32 %o, %a, %b;", [x, y], "u4")
    same((packed >> 16).astype("u2")[number], bits[number])
    with np.errstate(over="ignore"):
        packed = elementwise("cvt.rn.f16x2.f32 %o, %a, %b;", [x, y], "u4").view("f2").reshape(-1, 2)
        same(packed[:, 0].copy(), y.astype("f2"))
        same(packed[:, 1].copy(), x.astype("f2"))
    middle = np.array(
        [1 + 2.0**-8 + 2.0**-40, 1 + 2.0**-8 - 2.0**-40]
    )  # a single in between would be the middle itself
    same(elementwise("cvt.rn.bf16.f64 %o, %a;", [middle], "u2"), np.array([0x3F81, 0x3F80], "u2"))
