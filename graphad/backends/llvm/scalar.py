"""The scalar operators in LLVM text, on scalars and vectors, with the semantics of `ir.lowering`.

There are no fast-math flags: a multiply-add is fused where the loops say ``fma``.
"""

from __future__ import annotations

from typing import Final

from graphad.backends.llvm import mathlib
from graphad.backends.llvm.text import (
    Code,
    Val,
    constant,
    element_type,
    lanes_of,
    literal_constant,
    register_type,
    storage_type,
    suffix,
)
from graphad.backends.loops.ir import Let, is_half
from graphad.errors import LoweringError, at
from graphad.ir.loc import format_loc
from graphad.ir.lowering import COMPARISONS, ELEMENTARY
from graphad.ir.types import DType, Literal, b1, bf16, f16, f32, f64, i8, i16, i32

_FLOAT: Final = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv", "rem": "frem"}
_INTEGER: Final = {"add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor"}
_FLOAT_CALLS: Final = {"fma": "fma", "abs": "fabs", "sqrt": "sqrt", "floor": "floor", "ceil": "ceil",
                       "round": "roundeven", "trunc": "trunc", "copysign": "copysign"}  # fmt: skip
_FLOAT_TESTS: Final = {"eq": "oeq", "ne": "une", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge"}
_SHIFTS: Final = {"shl": "shl", "lshr": "lshr", "ashr": "ashr"}


class Scalars:
    """Emits operators into ``code``; ``native`` is the byte width of the machine's vectors.

    Attributes
    ----------
    in_vectors
        Whether vectors are computed by SIMD instructions, not lane by lane.
    """

    in_vectors = True

    def __init__(self, code: Code, native: int) -> None:
        self.code = code
        self.native = native

    def operator(self, s: Let, args: list[Val], literals: list[Literal | None], lanes: int) -> Val:
        """The value of ``s``; ``args`` all have ``lanes`` lanes, ``literals`` says which of them are constants."""
        texts = [a.text for a in args]
        operand = args[0].dtype
        if s.op in COMPARISONS:
            text = self.compare(s.op, operand, lanes, texts[0], texts[1], s.name)
        elif s.op in ("cast", "bitcast"):
            convert = self.cast if s.op == "cast" else self.bitcast
            return Val(convert(texts[0], operand, s.dtype, lanes, s.name), s.dtype, lanes)
        elif s.op == "select":
            kind = register_type(s.dtype, lanes)
            test = f"select {lanes_of('i1', lanes)} {texts[0]}"
            text = self.code.let(f"{test}, {kind} {texts[1]}, {kind} {texts[2]}", s.name)
        elif s.op in ELEMENTARY:
            text = self.elementary(s, texts, lanes)
        elif s.op in ("pair0", "pair1"):
            text = self.code.let(f"extractvalue {_pair(lanes)} {texts[0]}, {s.op[-1]}", s.name)
        else:
            text = self.arithmetic(s, texts, literals, lanes)
        computed = is_half(s.dtype) and s.op not in ("select", "maximum", "minimum", "abs", "neg", "copysign")
        return Val(self.rounded(text, s.dtype, lanes) if computed else text, s.dtype, lanes)

    # ---- arithmetic

    def arithmetic(self, s: Let, args: list[str], literals: list[Literal | None], lanes: int) -> str:
        """Operators whose operands and result have one dtype."""
        dtype, op = s.dtype, s.op
        kind = register_type(dtype, lanes)
        if op in ("maximum", "minimum"):
            return self.extreme(op, dtype, lanes, args[0], args[1], s.name)
        if dtype.is_float:
            if op == "rem" and lanes > 1 and self.in_vectors:
                return self._by_lanes("frem", kind, args, s.name)
            if op in _FLOAT:
                return self.code.let(f"{_FLOAT[op]} {kind} {args[0]}, {args[1]}", s.name)
            if op in _FLOAT_CALLS:
                return self._intrinsic(_FLOAT_CALLS[op], dtype, lanes, args, s.name)
            if op == "neg":
                return self.code.let(f"fneg {kind} {args[0]}", s.name)
        elif op in _INTEGER and (dtype is not b1 or op in ("and", "or", "xor")):
            return self.code.let(f"{_INTEGER[op]} {kind} {args[0]}, {args[1]}", s.name)
        elif op == "not":
            return self.code.let(f"xor {kind} {args[0]}, {constant(True if dtype is b1 else -1, dtype, lanes)}", s.name)
        elif dtype is not b1:
            if op == "neg":
                return self.code.let(f"sub {kind} {constant(0, dtype, lanes)}, {args[0]}", s.name)
            if op == "abs":
                if dtype.kind == "u":
                    return args[0]
                return self._intrinsic("abs", dtype, lanes, args, s.name, "false")  # false: INT_MIN wraps around
            if op in _SHIFTS:
                return self._shift(op, dtype, lanes, args, literals[1], s.name)
            if op in ("quo", "rem"):
                return self._quotient(op, dtype, lanes, args, literals[1], s.name)
            if op == "popcount":
                return self._intrinsic("ctpop", dtype, lanes, args, s.name)
            if op == "clz":
                return self._intrinsic("ctlz", dtype, lanes, args, s.name, "false")  # false: of 0 it is the width
        raise LoweringError(
            at(format_loc(s.loc), f"{op} is not defined on {dtype}; cast its operands to a type that has it first.")
        )

    def _by_lanes(self, instruction: str, kind: str, args: list[str], hint: str) -> str:
        """An instruction that exists for scalars only: vectors are scalarized in one function, not at every use."""
        name = f"{instruction}.{kind.strip('<>').replace(' ', '')}"
        self.code.functions[
            f"define internal {kind} @{name}({kind} %a, {kind} %b) noinline nounwind willreturn memory(none) {{\n"
            f"  %r = {instruction} {kind} %a, %b\n  ret {kind} %r\n}}"
        ] = None
        return self.code.let(f"call {kind} @{name}({kind} {args[0]}, {kind} {args[1]})", hint)

    def _intrinsic(self, name: str, dtype: DType, lanes: int, args: list[str], hint: str, flag: str = "") -> str:
        """Call an intrinsic overloaded on the type of ``args``; ``flag`` is a last, boolean argument."""
        kind = register_type(dtype, lanes)
        full = f"llvm.{name}.{suffix(element_type(dtype), lanes)}"
        return self.code.call(full, kind, [*((kind, a) for a in args), *([("i1", flag)] if flag else [])], hint)

    def _shift(self, op: str, dtype: DType, lanes: int, args: list[str], by: Literal | None, hint: str) -> str:
        kind, width = register_type(dtype, lanes), dtype.bits
        value, amount = args
        if by is not None and 0 <= by.item() < width:
            return self.code.let(f"{op} {kind} {value}, {amount}", hint)
        small = self.code.let(f"icmp ult {kind} {amount}, {constant(width, dtype, lanes)}", "small")
        test = f"select {lanes_of('i1', lanes)} {small}, {kind}"
        most = constant(width - 1 if op == "ashr" else 0, dtype, lanes)
        safe = self.code.let(f"{test} {amount}, {kind} {most}", "amount")
        shifted = self.code.let(f"{op} {kind} {value}, {safe}", hint)
        if op == "ashr":
            return shifted
        return self.code.let(f"{test} {shifted}, {kind} {constant(0, dtype, lanes)}", hint)

    def _quotient(self, op: str, dtype: DType, lanes: int, args: list[str], by: Literal | None, hint: str) -> str:
        kind, bools = register_type(dtype, lanes), lanes_of("i1", lanes)
        value, divisor = args
        instruction = ("u" if dtype.kind == "u" else "s") + ("div" if op == "quo" else "rem")
        if by is not None and by.item() not in (0, -1):
            return self.code.let(f"{instruction} {kind} {value}, {divisor}", hint)
        zero, one = constant(0, dtype, lanes), constant(1, dtype, lanes)
        none = self.code.let(f"icmp eq {kind} {divisor}, {zero}", "none")
        unsafe = none
        if dtype.kind == "i":  # INT_MIN / -1 overflows: divide by 1 there, which gives the wrapped result
            lowest = constant(-(1 << (dtype.bits - 1)), dtype, lanes)
            least = self.code.let(f"icmp eq {kind} {value}, {lowest}", "least")
            minus = self.code.let(f"icmp eq {kind} {divisor}, {constant(-1, dtype, lanes)}", "minus")
            over = self.code.let(f"and {bools} {least}, {minus}", "over")
            unsafe = self.code.let(f"or {bools} {none}, {over}", "unsafe")
        safe = self.code.let(f"select {bools} {unsafe}, {kind} {one}, {kind} {divisor}", "safe")
        if lanes > 1 and self.in_vectors:
            result = self._by_lanes(instruction, kind, [value, safe], hint)
        else:
            result = self.code.let(f"{instruction} {kind} {value}, {safe}", hint)
        return self.code.let(f"select {bools} {none}, {kind} {zero if op == 'quo' else value}, {kind} {result}", hint)

    def extreme(self, op: str, dtype: DType, lanes: int, a: str, b: str, hint: str) -> str:
        """``maximum`` or ``minimum``. Of floats: nan if either is nan; ``a > b ? a : b`` is one instruction on x86."""
        kind, bools = register_type(dtype, lanes), lanes_of("i1", lanes)
        if dtype is b1:
            return self.code.let(f"{'or' if op == 'maximum' else 'and'} {kind} {a}, {b}", hint)
        if not dtype.is_float:
            name = ("u" if dtype.kind == "u" else "s") + op[:3]
            return self._intrinsic(name, dtype, lanes, [a, b], hint)
        wins = self.code.let(f"fcmp {'ogt' if op == 'maximum' else 'olt'} {kind} {a}, {b}", "wins")
        best = self.code.let(f"select {bools} {wins}, {kind} {a}, {kind} {b}", "best")
        lost = self.code.let(f"fcmp uno {kind} {a}, {a}", "lost")  # if b is nan, ``best`` is b already
        return self.code.let(f"select {bools} {lost}, {kind} {a}, {kind} {best}", hint)

    def combine(self, combine: str, dtype: DType, lanes: int, a: str, b: str) -> str:
        """One step of a reduction; ``b`` is the running value."""
        kind = register_type(dtype, lanes)
        if combine in ("max", "min"):
            return self.extreme(combine + "imum", dtype, lanes, a, b, combine)
        op = {"sum": "add", "prod": "mul"}.get(combine, combine)
        text = self.code.let(f"{_FLOAT[op] if dtype.is_float else _INTEGER[op]} {kind} {b}, {a}", combine)
        return self.rounded(text, dtype, lanes)

    def fused(self, dtype: DType, lanes: int, a: str, b: str, c: str, hint: str) -> str:
        """``a * b + c`` of f32 or f64, rounded once."""
        return self._intrinsic("fma", dtype, lanes, [a, b, c], hint)

    def compare(self, op: str, dtype: DType, lanes: int, a: str, b: str, hint: str) -> str:
        """A comparison; of nan, all but ``ne`` are false."""
        kind = register_type(dtype, lanes)
        if dtype.is_float:
            return self.code.let(f"fcmp {_FLOAT_TESTS[op]} {kind} {a}, {b}", hint)
        test = op if op in ("eq", "ne") else ("s" if dtype.kind == "i" else "u") + op
        return self.code.let(f"icmp {test} {kind} {a}, {b}", hint)

    # ---- elementary functions

    def elementary(self, s: Let, args: list[str], lanes: int) -> str:
        """A call of a precompiled function; see `math_lanes` for the lane counts that are asked for."""
        dtype = f32 if is_half(s.dtype) else s.dtype
        have = math_lanes(dtype, self.native)
        return self._call(s, dtype, args, lanes) if lanes in have else self._padded(s, dtype, args, lanes, have)

    def _call(self, s: Let, dtype: DType, args: list[str], lanes: int) -> str:
        symbol, kind = mathlib.symbol(s.op, dtype, lanes), register_type(dtype, lanes)
        self.code.declarations[mathlib.declaration(s.op, dtype, lanes)] = None
        result = _pair(lanes) if s.op == "threefry2x32" else kind
        return self.code.let(f"call {result} @{symbol}({', '.join(f'{kind} {a}' for a in args)})", s.name)

    def _padded(self, s: Let, dtype: DType, args: list[str], lanes: int, have: tuple[int, ...]) -> str:
        element, width = element_type(dtype), min(n for n in have if n > lanes)
        # Pad with lane 0, an argument that occurs anyway, so that the spare lanes take no slow path of their own.
        picks, back = [*range(lanes), *[0] * (width - lanes)], list(range(lanes))
        wide = self._call(s, dtype, [self.code.shuffle(a, element, lanes, picks) for a in args], width)
        if s.op != "threefry2x32":
            return self.code.shuffle(wide, element, width, back)
        pair = "poison"
        for n in (0, 1):
            word = self.code.let(f"extractvalue {_pair(width)} {wide}, {n}", "word")
            word = self.code.shuffle(word, element, width, back)
            pair = self.code.let(f"insertvalue {_pair(lanes)} {pair}, {lanes_of(element, lanes)} {word}, {n}", "pair")
        return pair

    # ---- conversions

    def cast(self, a: str, of: DType, to: DType, lanes: int, hint: str = "v") -> str:
        """Conversion by value: floats to integers saturate (nan to 0), integers wrap around, to bool is ``!= 0``."""
        if of is to:
            return a
        source, target = register_type(of, lanes), register_type(to, lanes)
        if to is b1:
            test = "fcmp une" if of.is_float else "icmp ne"
            return self.code.let(f"{test} {source} {a}, {constant(0, of, lanes)}", hint)
        if of.is_float and to.is_float:
            if is_half(to) and of is f64:
                return self.rounded(self._to_odd(a, lanes), to, lanes)
            if source == target:
                return self.rounded(a, to, lanes)
            return self.code.let(f"{'fpext' if to is f64 else 'fptrunc'} {source} {a} to {target}", hint)
        if of.is_float and lanes > 1 and self.in_vectors:
            return self._saturated(a, of, to, lanes, hint)
        if of.is_float:
            name = f"llvm.fpto{'ui' if to.kind == 'u' else 'si'}.sat"
            full = f"{name}.{suffix(element_type(to), lanes)}.{suffix(element_type(of), lanes)}"
            return self.code.call(full, target, [(source, a)], hint)
        if to.is_float:
            wide = f64 if is_half(to) and of.bits > 16 else to  # to f16 through f64: one rounding, not two
            kind = register_type(wide, lanes)
            if to is bf16 and of.bits == 64:
                a = self._without_low_digits(a, of, lanes)
            text = self.code.let(f"{'sitofp' if of.kind == 'i' else 'uitofp'} {source} {a} to {kind}", hint)
            return self.cast(text, wide, to, lanes, hint) if wide is not to else self.rounded(text, to, lanes)
        if source == target:
            return a
        width_of, width_to = 1 if of is b1 else of.bits, to.bits
        instruction = "trunc" if width_to < width_of else "sext" if of.kind == "i" else "zext"
        return self.code.let(f"{instruction} {source} {a} to {target}", hint)

    def _saturated(self, a: str, of: DType, to: DType, lanes: int, hint: str) -> str:
        """Floats to integers in lanes: LLVM's saturating conversion would scalarize the vector."""
        let, bools = self.code.let, lanes_of("i1", lanes)
        source, target = register_type(of, lanes), register_type(to, lanes)
        of = f32 if is_half(of) else of  # the register type
        signed = to.kind == "i"
        least, beyond = (-(1 << (to.bits - 1)), 1 << (to.bits - 1)) if signed else (0, 1 << to.bits)
        enough = let(f"fcmp oge {source} {a}, {constant(least, of, lanes)}", "enough")
        below = let(f"fcmp olt {source} {a}, {constant(beyond, of, lanes)}", "below")
        fits = let(f"and {bools} {enough}, {below}", "fits")
        safe = let(f"select {bools} {fits}, {source} {a}, {source} {constant(0, of, lanes)}", "safe")
        wide = to if to.bits >= 32 else i32  # there are instructions for these alone
        instruction = "fptosi" if signed or wide is not to else "fptoui"
        whole = let(f"{instruction} {source} {safe} to {register_type(wide, lanes)}", hint)
        if wide is not to:
            whole = let(f"trunc {register_type(wide, lanes)} {whole} to {target}", hint)
        above = let(f"fcmp oge {source} {a}, {constant(beyond, of, lanes)}", "above")
        whole = let(f"select {bools} {above}, {target} {constant(beyond - 1, to, lanes)}, {target} {whole}", hint)
        if not signed:
            return whole
        under = let(f"fcmp olt {source} {a}, {constant(least, of, lanes)}", "under")
        return let(f"select {bools} {under}, {target} {constant(least, to, lanes)}, {target} {whole}", hint)

    def bitcast(self, a: str, of: DType, to: DType, lanes: int, hint: str = "v") -> str:
        """The same bits as another type of equal width."""
        bits = self.stored(a, of, lanes) if is_half(of) else a
        source = lanes_of(storage_type(of), lanes)
        target = lanes_of(storage_type(to), lanes)
        text = bits if source == target else self.code.let(f"bitcast {source} {bits} to {target}", hint)
        return self.loaded(text, to, lanes)

    def rounded(self, a: str, dtype: DType, lanes: int) -> str:
        """``a`` rounded to ``dtype`` where that is narrower than its register."""
        return self.loaded(self.stored(a, dtype, lanes), dtype, lanes) if is_half(dtype) else a

    def stored(self, a: str, dtype: DType, lanes: int) -> str:
        """A register value as storage type."""
        if dtype is b1:
            return self.code.let(f"zext {lanes_of('i1', lanes)} {a} to {lanes_of('i8', lanes)}", "byte")
        if dtype is f16:
            return self.code.let(f"fptrunc {lanes_of('float', lanes)} {a} to {lanes_of('half', lanes)}", "half")
        return self._stored_bf16(a, lanes) if dtype is bf16 else a

    def loaded(self, a: str, dtype: DType, lanes: int, hint: str = "v") -> str:
        """A value of storage type as register type."""
        if dtype is b1:
            return self.code.let(f"icmp ne {lanes_of('i8', lanes)} {a}, {constant(0, i8, lanes)}", hint)
        if dtype is f16:
            return self.code.let(f"fpext {lanes_of('half', lanes)} {a} to {lanes_of('float', lanes)}", hint)
        if dtype is bf16:
            words = lanes_of("i32", lanes)
            wide = self.code.let(f"zext {lanes_of('i16', lanes)} {a} to {words}", "wide")
            high = self.code.let(f"shl {words} {wide}, {constant(16, i32, lanes)}", "high")
            return self.code.let(f"bitcast {words} {high} to {lanes_of('float', lanes)}", hint)
        return a

    def _stored_bf16(self, a: str, lanes: int) -> str:
        """The upper half of the bits of a float, rounded to nearest even (the instruction would flush denormals)."""
        let, words = self.code.let, lanes_of("i32", lanes)
        bits = let(f"bitcast {lanes_of('float', lanes)} {a} to {words}", "bits")
        high = let(f"lshr {words} {bits}, {constant(16, i32, lanes)}", "high")
        odd = let(f"and {words} {high}, {constant(1, i32, lanes)}", "odd")
        half = let(f"add {words} {odd}, {constant(0x7FFF, i32, lanes)}", "half")
        sum_ = let(f"add {words} {bits}, {half}", "carried")
        even = let(f"lshr {words} {sum_}, {constant(16, i32, lanes)}", "even")
        quiet = let(f"or {words} {high}, {constant(0x40, i32, lanes)}", "quiet")
        nan = let(f"fcmp uno {lanes_of('float', lanes)} {a}, {a}", "nan")
        kept = let(f"select {lanes_of('i1', lanes)} {nan}, {words} {quiet}, {words} {even}", "kept")
        return let(f"trunc {words} {kept} to {register_type(i16, lanes)}", "short")

    def _without_low_digits(self, a: str, dtype: DType, lanes: int) -> str:
        """A 64-bit integer rounded to odd, so that f64 holds it: beyond 2**53 a sticky bit replaces the low bits."""
        let, kind, bools = self.code.let, register_type(dtype, lanes), lanes_of("i1", lanes)
        low = let(f"and {kind} {a}, {constant(0xFFF, dtype, lanes)}", "low")
        some = let(f"icmp ne {kind} {low}, {constant(0, dtype, lanes)}", "some")
        one, none = constant(0x800, dtype, lanes), constant(0, dtype, lanes)
        digit = let(f"select {bools} {some}, {kind} {one}, {kind} {none}", "digit")
        high = let(f"sub {kind} {a}, {low}", "high")
        short = let(f"or {kind} {high}, {digit}", "short")
        size = a if dtype.kind == "u" else self._intrinsic("abs", dtype, lanes, [a], "size", "false")
        large = let(f"icmp ugt {kind} {size}, {constant(1 << 53, dtype, lanes)}", "large")
        return let(f"select {bools} {large}, {kind} {short}, {kind} {a}", "digits")

    def _to_odd(self, a: str, lanes: int) -> str:
        """f64 to f32 rounded to odd, after which rounding to 16 bits is as if done in one step.

        Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd",
        IEEE Transactions on Computers 57 (2008).
        """
        let, words, bools = self.code.let, lanes_of("i32", lanes), lanes_of("i1", lanes)
        doubles, floats = lanes_of("double", lanes), lanes_of("float", lanes)
        near = let(f"fptrunc {doubles} {a} to {floats}", "near")
        back = let(f"fpext {floats} {near} to {doubles}", "back")
        bits = let(f"bitcast {floats} {near} to {words}", "bits")
        size = self._intrinsic("fabs", f64, lanes, [a], "size")
        rounded_size = self._intrinsic("fabs", f64, lanes, [back], "size")
        above = let(f"fcmp ogt {doubles} {rounded_size}, {size}", "above")
        inexact = let(f"fcmp one {doubles} {rounded_size}, {size}", "inexact")
        down = let(f"sext {bools} {above} to {words}", "down")
        toward_zero = let(f"add {words} {bits}, {down}", "truncated")
        sticky = let(f"zext {bools} {inexact} to {words}", "sticky")
        odd = let(f"or {words} {toward_zero}, {sticky}", "odd")
        return let(f"bitcast {words} {odd} to {floats}", "to_odd")


def math_lanes(dtype: DType, native: int) -> tuple[int, ...]:
    """Lane counts of calls to elementary functions: scalars, and 1, 2 and 4 native vectors.

    Every one of them is compiled for this machine once, so there should be few.
    """
    lanes = native * 8 // dtype.bits
    return (1, lanes, 2 * lanes, 4 * lanes)


def _pair(lanes: int) -> str:
    kind = lanes_of("i32", lanes)
    return f"{{ {kind}, {kind} }}"


def operand_text(lit: Literal, lanes: int) -> Val:
    """A literal as an operand of ``lanes`` lanes."""
    return Val(literal_constant(lit, lanes), lit.dtype, lanes)
