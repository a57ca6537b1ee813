"""The command line: ``graphad inspect file.py:function --args 'f32[3]' --stage adjoint``, and ``graphad explain``."""

from __future__ import annotations

import argparse
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, NoReturn

from graphad.errors import GraphadError, ParseError, VerifyError
from graphad.inspection import (
    GRAPH_STAGES,
    GraphFunction,
    Static,
    all_stages,
    check_rules,
    diff_text,
    explain,
    load_function,
    parse_arguments,
    stage_text,
)
from graphad.inspection.colors import colored, wants_color
from graphad.inspection.target import describe_error
from graphad.trace.pytree import tree_map
from graphad.trace.source import entry_point

WRONG_INPUT: Final = 2
FOUND_FAULTS: Final = 1

_HELP: Final = """\
Shows what becomes of a function on its way to machine code:

  traced      the function as a graph, traced once
  simplified  calls inlined, expressions rewritten
  adjoint     the graph of its value and gradient, simplified
  batched     the graph over a batch of arguments (--in-axes, --batch-size)
  loops       the loops and kernel calls that the program consists of
  source      the program as Numba source that runs alone
  llvm, asm   the program as LLVM IR, and as assembly of this machine
  device      the kernels and other launches that a program for a GPU consists of
  ptx, sass   their PTX, and the machine code of a GPU, for which NVIDIA's assembler and disassembler are needed

Programs (from loops on) are those of the gradient where the function returns one float, else of the function; --of
chooses another graph. They are for the CPU, but for the last three; --device cuda shows loops, source and llvm of a
program for a GPU. --diff shows what changes from one stage to another, --pipeline and --after which passes run over
a graph."""

_EXPLAIN_HELP: Final = """\
Explains the program of a function (of its gradient where it returns one float; --of chooses another graph) step by
step: what each step reads, writes and computes, and of which lines of the function it is made. On a GPU also how many
threads it has, its shared memory, and, where NVIDIA's assembler is installed, registers, spills and occupancy. No GPU
is needed."""

_CHECK_HELP: Final = """\
Runs a function once, at the arguments given or at random numbers of their types, and checks the rules of every equation
at the values that it meets: derivatives against finite differences, transposes against derivatives, batching rules
against a loop over the batch. A wrong rule is reported with its line, its primitive or custom rule, the operand, and
the expected and found numbers; the exit status is then 1. Where finite differences decide nothing, as at a kink,
nothing is reported."""

_EPILOG: Final = """\
arguments (--args), separated by commas:
  f32[8,64]  i32[]             an array of that type; also bool, i8-i64, u8-u64, f16, bf16, f64
  f32[3]=0.5                   an array of that value, where the function branches on it
  1.5                          a Python float, traced
  3  True  'relu'  None        Python values, compiled in
  (a, b)  [a, b]  {w: a, b: c} containers of these

examples:
  graphad inspect examples/mlp.py:loss --args 'f32[64], f32[8,64]' --stage adjoint
  graphad inspect examples/mlp.py:loss --args 'f32[64], f32[64]' --stage batched --in-axes 'None, 0'
  graphad inspect graphad.nn:softmax --args 'f32[8,128]' --stage source
  graphad inspect examples/mlp.py:loss --args 'f32[64], f32[8,64]' --diff traced adjoint
  graphad inspect examples/mlp.py:loss --args 'f32[64], f32[8,64]' --stage adjoint --after inline > step.graph
  graphad inspect step.graph --pipeline 'simplify{fast_math=True}'
  graphad inspect graphad.nn:softmax --args 'f32[8,128]' --stage ptx --arch sm_80
  graphad explain examples/mlp.py:loss --args 'f32[64], f32[8,64]' --device cuda
  graphad check examples/mlp.py:loss --args 'f32[64], f32[8,64]'

Settings are read from the environment: GRAPHAD_DEFAULT_DTYPE_BITS=64, GRAPHAD_FAST_MATH=1, GRAPHAD_ENGINE=numba."""


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors take one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_INPUT, f"{self.prog}: error: {' '.join(message.split())} (see {self.prog} --help)\n")


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 1 where a check found faults, 2 for wrong input."""
    options = _parser().parse_args(argv)
    try:
        text = options.run(options)
    except Exception as error:
        if options.traceback:
            raise
        print(f"graphad {options.command}: error: {_one_line(error)}", file=sys.stderr)
        return WRONG_INPUT
    return _write(text) or options.status


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = _Parser(prog="graphad", description="A compiler of derivatives that you can read.")
    parser.add_argument("--version", action="version", version=f"graphad {_version()}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser, dest="command")
    inspecting = commands.add_parser(
        "inspect", help="show a stage of the compilation of a function",
        description=_HELP, epilog=_EPILOG, formatter_class=raw,
    )  # fmt: skip
    explaining = commands.add_parser(
        "explain", help="show what the compiled program of a function does, step by step",
        description=_EXPLAIN_HELP, epilog=_EPILOG, formatter_class=raw,
    )  # fmt: skip
    checking = commands.add_parser(
        "check", help="check the rules that a function goes through: derivatives, transposes, batching",
        description=_CHECK_HELP, epilog=_EPILOG, formatter_class=raw,
    )  # fmt: skip
    inspecting.set_defaults(run=_inspect, status=0)
    explaining.set_defaults(run=_explain, status=0)
    checking.set_defaults(run=_check, status=0)
    _add_target(checking)
    checking.add_argument("--order", type=int, default=1, metavar="N", help="up to which derivatives; default: 1")
    checking.add_argument("--seed", type=int, default=0, metavar="N", help="of the random arguments; default: 0")
    _add_function(inspecting)
    _add_function(explaining)
    add = inspecting.add_argument
    one = inspecting.add_mutually_exclusive_group().add_argument
    known = all_stages()
    one("--stage", choices=known, default="simplified", metavar="STAGE", help="one of the above; default: simplified")
    one("--diff", nargs=2, choices=known, metavar=("A", "B"), help="show what stage B has changed of stage A")
    add("--pipeline", metavar="PASSES", help="run these passes over the graph, like 'inline,simplify{fast_math=True}'")
    add("--after", metavar="PASS", help="show the graph after this pass of the pipeline")
    add("--color", choices=("auto", "always", "never"), default="auto", help="default: auto, colours on a terminal")
    return parser


def _add_target(parser: argparse.ArgumentParser) -> None:
    """The options that say of which function, at which arguments."""
    add = parser.add_argument
    add(
        "target",
        metavar="TARGET",
        help="file.py:function, package.module:function, or a file.graph with a printed graph",
    )
    add("--args", default="", metavar="TYPES", help="types of the arguments, see below; a graph knows its own")
    add(
        "--traceback",
        action="store_true",
        help="show the lines of Python that an error came through; with GRAPHAD_HIDE_FRAMES=0 graphad's as well",
    )


def _add_function(parser: argparse.ArgumentParser) -> None:
    """The options that say of which function, which graph of it, and for what device."""
    _add_target(parser)
    add = parser.add_argument
    add("--of", choices=GRAPH_STAGES[1:], metavar="STAGE", help="of which graph the program is shown")
    add("--argnums", default="0", metavar="NUMBERS", help="the arguments to differentiate, like 0 or 0,2; default: 0")
    add("--in-axes", default="0", metavar="AXES", help="where batched adds an axis, like vmap's in_axes; default: 0")
    add("--batch-size", type=int, default=8, metavar="N", help="the length of that axis; default: 8")
    add("--device", metavar="DEVICE", help="what a program is for: cpu, cuda, cuda:emulated; it need not be there")
    add(
        "--arch",
        metavar="ARCH",
        help="architecture of that GPU, like sm_80; default: of the one there is, or sm_90",
    )


def _inspect(options: argparse.Namespace) -> str:
    fun, args, settings = _function(options)
    settings |= {"pipeline": options.pipeline, "after": options.after}
    if options.diff:
        text = diff_text(fun, args, tuple(options.diff), **settings)
    else:
        text = stage_text(fun, args, options.stage, **settings)
    if wants_color(sys.stdout, options.color):
        return colored(text, "diff" if options.diff else options.stage)
    return text


def _explain(options: argparse.Namespace) -> str:
    fun, args, settings = _function(options)
    return repr(explain(fun, args, **settings))


def _check(options: argparse.Namespace) -> str:
    if options.order < 1:
        raise ParseError(f"--order {options.order} is no order of derivatives; 1 is the first")
    fun = load_function(options.target)
    args = parse_arguments(options.args, "--args")
    if isinstance(fun, GraphFunction) and not args:
        args = fun.arguments
    found = check_rules(fun, args, options.order, options.seed)
    options.status = FOUND_FAULTS if found.faults else 0
    return found.text


def _function(options: argparse.Namespace) -> tuple[Callable[..., Any], Sequence[Any], dict[str, Any]]:
    """The function, its arguments, and the settings that all commands know."""
    fun = load_function(options.target)
    args = parse_arguments(options.args, "--args")
    if isinstance(fun, GraphFunction) and not args:
        args = fun.arguments
    _check_call(fun, args, options.target)
    settings: dict[str, Any] = {
        "of": options.of, "argnums": _argnums(options.argnums), "in_axes": _in_axes(options.in_axes),
        "batch_size": options.batch_size, "device": options.device, "architecture": options.arch,
    }  # fmt: skip
    return fun, args, settings


def _check_call(fun: Callable[..., Any], args: Sequence[Any], target: str) -> None:
    """Say what is to be given, where ``fun`` does not take as many arguments as were."""
    try:
        signature = inspect.signature(fun)
    except (TypeError, ValueError):  # a builtin without a signature
        return
    try:
        signature.bind(*args)
    except TypeError as error:
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        needed = [p for p in signature.parameters.values() if p.kind in positional and p.default is p.empty]
        example = ", ".join(["f32[8]"] * len(needed))
        given = f"--args gives {len(args)} of them: {error}" if args else "--args is missing"
        names = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
        raise TypeError(
            f"{target} takes {inspect.Signature(names)}, and {given}. "
            f"Give the type of each argument, such as --args '{example}'"
        ) from None


def _argnums(text: str) -> int | tuple[int, ...]:
    try:
        numbers = tuple([int(part) for part in text.strip("(), ").split(",")])
    except ValueError:
        raise ParseError(f"--argnums {text!r} must be an int, or ints with commas between them") from None
    return numbers[0] if len(numbers) == 1 else numbers


def _in_axes(text: str) -> Any:
    """One int or None is for all arguments; else there is one entry per argument."""
    entries = tree_map(_axis, parse_arguments(text, "--in-axes"), is_leaf=lambda x: type(x) is Static)
    return entries[0] if len(entries) == 1 and not isinstance(entries[0], tuple | list | dict) else entries


def _axis(x: Any) -> int:
    if type(x) is Static and type(x.value) is int:
        return x.value
    raise ParseError("--in-axes holds ints and None, in containers like those of the arguments: '0, None, {w: 0}'")


def _one_line(error: Exception) -> str:
    """Our own errors speak for themselves; of others the type is told as well, and the line they come from."""
    if isinstance(error, ParseError | VerifyError):
        return str(error).partition("\n")[0]  # what follows shows the place in the text
    if isinstance(error, GraphadError):
        return " ".join(str(error).split())
    return describe_error(error)


def _write(text: str) -> int:
    """Print to stdout; a reader such as ``head`` may leave before the end."""
    try:
        print(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more at exit
    return 0


def _version() -> str:
    try:
        return version("graphad")
    except PackageNotFoundError:
        return "(not installed)"
