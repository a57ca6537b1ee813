"""Parser of PTX: functions, variables, labels and instructions, with their lines."""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import NoReturn

from graphad.backends.cuda.emulator.faults import EmulatorError
from graphad.backends.cuda.emulator.ptx_types import TYPES, PtxType


@dataclass(slots=True)
class Variable:
    """A variable or parameter in memory: ``.shared .align 4 .f32 tile[256]``."""

    space: str
    name: str
    type: PtxType
    count: int | None
    """Elements; None where the size is the launch's to say (``tile[]``)."""
    align: int
    initial: str = ""

    @property
    def nbytes(self) -> int:
        return self.type.nbytes * (self.count or 0)


@dataclass(slots=True)
class Registers:
    """A declaration of registers, all of one type."""

    type: PtxType
    names: list[str]


@dataclass(slots=True)
class Label:
    """A place to branch to."""

    name: str


@dataclass(slots=True)
class BranchTargets:
    """The table of an indexed branch; the label before it is its name."""

    labels: list[str]


@dataclass(slots=True)
class Scope:
    """An opening or closing brace."""

    opens: bool


@dataclass(slots=True)
class Instruction:
    """``@!%p1 ld.global.v2.f32 {%f1, %f2}, [%rd1+8];``."""

    opcode: str
    modifiers: list[str]
    operands: list[str]
    guard: str
    """The predicate register that decides whether it executes, or the empty string."""
    negated: bool
    line: int
    text: str
    user_line: str
    unread: set[str] = field(default_factory=set)
    """Modifiers nobody has asked about yet: what is left after decoding is not supported."""

    def has(self, modifier: str) -> bool:
        """Whether a modifier is there."""
        self.unread.discard(modifier)
        return modifier in self.modifiers

    def one_of(self, *choices: str, default: str = "") -> str:
        """The first of the `choices` that is among the modifiers."""
        found = next((choice for choice in choices if choice in self.modifiers), default)
        self.unread.discard(found)
        return found

    def type(self, position: int = -1) -> PtxType:
        """The type modifier at this position; it counts as read."""
        names = [name for name in self.modifiers if name in TYPES]
        if not names:
            raise EmulatorError("has no type the emulator knows")
        self.unread.discard(names[position])
        return TYPES[names[position]]

    def integer(self, *, predicates: bool = False) -> PtxType:
        """The type, which must be one of integers or bits; for some instructions, of predicates."""
        type_ = self.type()
        if not (type_.is_integer or (predicates and type_.kind == "pred")):
            raise EmulatorError(f"does not exist for .{type_.name}")
        return type_


Statement = Variable | Registers | Label | BranchTargets | Scope | Instruction


@dataclass(slots=True)
class Function:
    """A kernel (``.entry``) or a function (``.func``) with its body."""

    name: str
    is_kernel: bool
    parameters: list[Variable]
    results: list[Variable]
    body: list[Statement]
    line: int
    most_threads: int | None = None
    required_block: tuple[int, int, int] | None = None


@dataclass(slots=True)
class Source:
    """A parsed module."""

    functions: dict[str, Function] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)


_BLOCK_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_LINE_COMMENT = re.compile(r"//[^\n]*")
_FILE = re.compile(r'^\s*\.file\s+(\d+)\s+"([^"]*)"(?:\s*(?:,[^\n]*)?)$', re.MULTILINE)
_PYTHON_LINE = re.compile(r"//.*?([^\s/;][^\s;]*\.py:\d+)")
_SPACE = re.compile(r"\s*")
_BODY = re.compile(
    r"(?P<brace>[{}])"
    r"|\.loc\s+(?P<loc>\d+\s+\d+)[^\n]*"
    r"|(?P<label>[\w$%.]+)\s*:(?!:)"
    r"|(?P<statement>[^;]*);"
)
_INSTRUCTION = re.compile(r"(?:@(!?)\s*([\w$%]+)\s+)?([a-z]\w*)((?:\.[\w:]+)*)\s*(.*)", re.DOTALL)
_ONE_LINE = re.compile(r"\.(?:version|target|address_size|file|loc)\b[^\n]*")
_SECTION = re.compile(r"\.section\s+[\w.]+\s*\{[^}]*\}")
_LINKAGE = re.compile(r"\.(?:visible|extern|weak|common)\b")
_HEAD = re.compile(
    r"\.(?P<what>entry|func)\s*(?:\((?P<results>[^)]*)\))?\s*(?P<name>[\w$%]+)\s*"
    r"(?:\((?P<parameters>[^)]*)\))?(?P<directives>[^{;]*)(?P<end>[{;])"
)
_VARIABLE = re.compile(
    r"\.(?P<space>global|const|shared|local|param)\s+(?:\.attribute\([^)]*\)\s*)?"
    r"(?:\.align\s+(?P<align>\d+)\s+)?\.(?P<type>\w+)\s+"
    r"(?:\.ptr\b(?:\s+\.(?!align)\w+)?(?:\s+\.align\s+\d+)?\s*)?"
    r"(?P<name>[\w$%.]+)\s*(?P<shape>(?:\[[^\]]*\]\s*)*)(?:=\s*(?P<initial>.*))?",
    re.DOTALL,
)
_COUNTED = re.compile(r"([\w$%]+)<(\d+)>")


def parse(text: str) -> Source:
    """Read a module."""
    return _Reader(text).module()


def split_operands(text: str) -> list[str]:
    """Parts of an operand list; commas inside braces, brackets and parentheses do not count.

    >>> split_operands("{%f1, %f2}, [%rd1+8]")
    ['{%f1, %f2}', '[%rd1+8]']
    """
    if "{" not in text and "(" not in text and "," in text:
        return [part.strip() for part in text.split(",")]
    parts, depth, start = [], 0, 0
    for position, char in enumerate(text):
        if char in "{[(":
            depth += 1
        elif char in "}])":
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(text[start:position].strip())
            start = position + 1
    last = text[start:].strip()
    return [*parts, last] if last else parts


class _Reader:
    """A cursor over the text of a module."""

    def __init__(self, text: str) -> None:
        text = text.rstrip("\0 \n") + "\n"
        self.lines = text.split("\n")
        self.files = dict(_FILE.findall(text))
        text = _BLOCK_COMMENT.sub(lambda match: "\n" * match[0].count("\n"), text)
        self.text = _LINE_COMMENT.sub("", text)
        self.newlines = [match.start() for match in re.finditer("\n", self.text)]
        self.position = 0
        self.loc = ""

    def line(self, position: int) -> int:
        """Line number of a position."""
        return bisect_left(self.newlines, position) + 1

    def fail(self, what: str, position: int) -> NoReturn:
        line = self.line(position)
        text = self.lines[line - 1].strip()
        raise EmulatorError(f"PTX line {line}: `{text}`: {what}")

    def skip_space(self) -> int:
        match = _SPACE.match(self.text, self.position)
        self.position = match.end() if match else self.position
        return self.position

    def module(self) -> Source:
        source = Source()
        while self.skip_space() < len(self.text):
            start = self.position
            for pattern in (_ONE_LINE, _SECTION, _LINKAGE):
                if match := pattern.match(self.text, start):
                    self.position = match.end()
                    break
            else:
                if match := _HEAD.match(self.text, start):
                    self.function(match, source)
                else:
                    self.module_statement(source)
        return source

    def module_statement(self, source: Source) -> None:
        start = self.position
        end = self.text.find(";", start)
        if end < 0:
            self.fail("expected a directive that ends in ';'", start)
        statement = self.text[start:end]
        self.position = end + 1
        if statement.startswith(".pragma"):
            return
        variable = self.variable(statement, start)
        source.variables[variable.name] = variable

    def function(self, match: re.Match[str], source: Source) -> None:
        start, self.position = match.start(), match.end()
        if match["end"] == ";":
            return  # a declaration; calling it is refused where the call is
        parameters = [self.variable(part, start) for part in split_operands(match["parameters"] or "")]
        results = [self.variable(part, start) for part in split_operands(match["results"] or "")]
        function = Function(match["name"], match["what"] == "entry", parameters, results, [], self.line(start))
        for directive, numbers in re.findall(r"\.(maxntid|reqntid)\s+([\d\s,]+)", match["directives"]):
            sizes = [int(number) for number in numbers.split(",")] + [1, 1]
            function.most_threads = sizes[0] * sizes[1] * sizes[2]
            if directive == "reqntid":
                function.required_block = (sizes[0], sizes[1], sizes[2])
        self.loc = ""
        self.body(function.body)
        source.functions[function.name] = function

    def body(self, statements: list[Statement]) -> None:
        """Statements up to the brace that closes the function."""
        depth = 1
        while True:
            start = self.skip_space()
            match = _BODY.match(self.text, start)
            if match is None:
                self.fail("expected a statement that ends in ';'", min(start, len(self.text) - 1))
            self.position = match.end()
            kind = match.lastgroup
            if kind == "statement":
                if not match["statement"].startswith(".pragma"):
                    statements.append(self.statement(match["statement"], start))
            elif kind == "label":
                statements.append(Label(match["label"]))
            elif kind == "loc":
                file, line = match["loc"].split()
                self.loc = f"{self.files.get(file, '?')}:{line}"
            elif match["brace"] == "{":
                depth += 1
                statements.append(Scope(opens=True))
            else:
                depth -= 1
                if depth == 0:
                    return
                statements.append(Scope(opens=False))

    def statement(self, text: str, start: int) -> Statement:
        if not text.startswith("."):
            return self.instruction(text, start)
        if text.startswith(".reg"):
            return self.registers(text, start)
        if text.startswith(".branchtargets"):
            return BranchTargets(split_operands(text.split(None, 1)[1]))
        return self.variable(text, start)

    def instruction(self, text: str, start: int) -> Instruction:
        match = _INSTRUCTION.fullmatch(text)
        if match is None:
            self.fail("this is no instruction", start)
        negated, guard, opcode, modifiers, operands = match.groups()
        names = modifiers[1:].split(".") if modifiers else []
        line = self.line(start)
        return Instruction(
            opcode,
            names,
            split_operands(operands),
            guard or "",
            bool(negated),
            line,
            text,
            self.user_line(line),
            set(names),
        )

    def user_line(self, line: int) -> str:
        """The user's line: named in a comment behind the instruction, or by the last ``.loc``."""
        text = self.lines[line - 1]
        match = _PYTHON_LINE.search(text) if ".py:" in text else None
        return match[1] if match else self.loc

    def registers(self, text: str, start: int) -> Registers:
        parts = text.split(None, 2)
        if len(parts) < 3 or parts[1][1:] not in TYPES:
            self.fail("registers of this type are not supported", start)
        names: list[str] = []
        for name in split_operands(parts[2]):
            match = _COUNTED.fullmatch(name)
            names += [f"{match[1]}{number}" for number in range(int(match[2]))] if match else [name]
        return Registers(TYPES[parts[1][1:]], names)

    def variable(self, text: str, start: int) -> Variable:
        match = _VARIABLE.fullmatch(text.strip())
        if match is None or match["type"] not in TYPES:
            self.fail(f"the declaration `{' '.join(text.split())}` is not supported", start)
        count: int | None = 1
        for extent in re.findall(r"\[([^\]]*)\]", match["shape"]):
            count = None if not extent.strip() or count is None else count * int(extent, 0)
        type_ = TYPES[match["type"]]
        align = int(match["align"] or type_.nbytes)
        initial = (match["initial"] or "").strip()
        if count is None and initial:
            count = len(initial.replace("{", "").replace("}", "").split(","))
        return Variable(match["space"], match["name"], type_, count, align, initial)
