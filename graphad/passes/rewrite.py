"""The rewriting engine: rules as data, applied in one forward walk.

A rule is an algebraic identity, and says where it does not hold::

    rule("add-zero", add(x, 0.0), x, exact=False)  # -0.0 + 0.0 is +0.0

The engine is a `Builder` that tries the rules on every equation before it appends it, and folds scalar constants (so
that a term may say ``mul(x, neg(c))``). Terms are built by the same method, so they are simplified in their turn; value
numbering merges what becomes equal, and `close` eliminates dead equations. An equation's operands are final when it is
appended, and no rule increases the work, so time is linear.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np

from graphad.errors import did_you_mean
from graphad.ir.collector import without_collector
from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.loc import Loc, format_loc
from graphad.ir.primitive import Primitive
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, Literal, literal
from graphad.passes.pattern import Bindings, Heads, Matcher, Op, Pattern, Var
from graphad.primitives.control import jit
from graphad.primitives.layout import broadcast

__all__ = ["GeneralRule", "Rewriter", "Rule", "RuleSet", "general_rule", "rewrite", "rule"]

OnRewrite = Callable[[str, Loc], None]
_MAX_HEADS = 4  # no pattern has more operands
_MAX_DEPTH = 40  # terms within terms: far more than any chain of rules that ends


@dataclass(frozen=True, slots=True)
class Rule:
    """``pattern -> term``. Make one with `rule`."""

    name: str
    pattern: Op
    term: Any
    exact: bool
    reorders_sums: bool
    when: Callable[..., bool] | None
    examples: tuple[Mapping[str, Any], ...]
    variants: tuple[Op, ...] = field(repr=False)
    term_arguments: tuple[Argument, ...] = field(repr=False)
    when_arguments: tuple[Argument, ...] = field(repr=False)

    def apply(self, builder: Rewriter, eqn: Candidate) -> Any:
        """The term for ``eqn``, or None where the rule does not fit."""
        for variant in self.variants:
            found: Bindings = {}
            if variant.match_eqn(eqn.inputs, eqn.params, builder, found):
                if self.when is not None and not self.when(*_values(self.when_arguments, found, builder, eqn)):
                    continue
                if isinstance(self.term, Pattern):
                    return self.term.build(builder, found)
                if callable(self.term):
                    made = self.term(*_values(self.term_arguments, found, builder, eqn))
                    if made is None:
                        continue
                    return made
                return self.term
        return None

    def narrowed(self, primitive: Primitive, heads: Heads, _empty: bool) -> Rule | None:
        """The rule with only those variants that may match such an equation; None if there are none."""
        if self.pattern.primitive is not primitive:
            return None
        variants = tuple(v for v in self.variants if v.may_match(heads))
        return replace(self, variants=variants) if variants else None


@dataclass(frozen=True, slots=True)
class GeneralRule:
    """A rule on equations of many primitives. Make one with `general_rule`."""

    name: str
    function: Callable[[Rewriter, Candidate], Any]
    primitives: tuple[Primitive, ...]  # empty: all
    fits: Callable[[Primitive, Heads, bool], bool] | None
    exact: ClassVar[bool] = True

    def apply(self, builder: Rewriter, eqn: Candidate) -> Any:
        """The term for ``eqn``, or None where the rule does not fit."""
        return self.function(builder, eqn)

    def narrowed(self, primitive: Primitive, heads: Heads, empty: bool) -> GeneralRule | None:
        """The rule, if it is on such equations."""
        if self.primitives and primitive not in self.primitives:
            return None
        return self if self.fits is None or self.fits(primitive, heads, empty) else None


class Argument(NamedTuple):
    """A parameter of a rule's function."""

    name: str
    is_operand: bool  # it is passed as a Ref; literals, params and `out` are passed as they are


class Candidate(NamedTuple):
    """An equation about to be appended, with the types of its outputs."""

    primitive: Primitive
    inputs: tuple[Atom, ...]
    params: tuple[Any, ...]
    avals: Sequence[Aval]


AnyRule = Rule | GeneralRule


def rule(
    name: str,
    pattern: Any,
    term: Any,
    *,
    exact: bool = True,
    reorders_sums: bool = False,
    when: Callable[..., bool] | None = None,
    examples: Sequence[Mapping[str, Any]] = (),
) -> Rule:
    """A rewrite rule.

    Parameters
    ----------
    name
        Unique in its rule set.
    pattern
        What is replaced: primitives called on variables (`var`, `const`, `param`) and Python scalars.
    term
        What replaces it: a pattern, a Python scalar, or a function of the variables that it names, which builds the
        term with primitives or declines with None. To functions a value is a Ref, a literal a Literal, a param what it
        is; ``out`` is the type of the result.
    exact
        The term is bitwise equal for all operands, and has the same derivatives. Other rules need ``fast_math``.
    reorders_sums
        The term sums the same numbers, perhaps in another order, and a zero may change its sign: this still counts as
        exact.
    when
        A condition, as a function of the variables that it names.
    examples
        Shapes of variables and values of params that the rule's test uses. By default all variables are vectors.
    """
    assert isinstance(pattern, Op), f"rule {name}: the pattern must be a primitive called on variables"
    assert len(pattern.operands) <= _MAX_HEADS, f"rule {name}: more operands than rules are looked up by"
    arguments = _arguments(name, pattern, term) if callable(term) and not isinstance(term, Pattern) else ()
    conditions = _arguments(name, pattern, when) if when is not None else ()
    variants = tuple(pattern.variants())
    return Rule(name, pattern, term, exact, reorders_sums, when, tuple(examples), variants, arguments, conditions)


def general_rule(
    name: str,
    *primitives: Primitive,
    fits: Callable[[Primitive, Heads, bool], bool] | None = None,
) -> Callable[[Callable[[Rewriter, Candidate], Any]], GeneralRule]:
    """Make a function ``(rewriter, candidate) -> Ref | [Ref] | None`` an exact rule on ``primitives``, or on all.

    ``fits(primitive, heads, empty)`` says, once for all equations alike, whether the rule is tried on those of
    ``primitive`` whose operands have these heads and whose first result has elements or is ``empty``.
    """

    def decorate(function: Callable[[Rewriter, Candidate], Any]) -> GeneralRule:
        return GeneralRule(name, function, primitives, fits)

    return decorate


def _arguments(name: str, pattern: Op, function: Callable[..., Any]) -> tuple[Argument, ...]:
    """The parameters of a rule's function, as variables of the rule."""
    variables = {v.name: v for v in pattern.variables()}
    arguments: list[Argument] = []
    for parameter in inspect.signature(function).parameters:
        if parameter != "out" and parameter not in variables:
            raise ValueError(f"rule {name}: its function asks for {parameter}, which the pattern has not")
        variable = variables.get(parameter)
        arguments.append(Argument(parameter, isinstance(variable, Var) and not variable.constant))
    return tuple(arguments)


def _values(arguments: tuple[Argument, ...], found: Bindings, builder: Rewriter, eqn: Candidate) -> list[Any]:
    values: list[Any] = []
    for name, is_operand in arguments:
        value: Any = eqn.avals[0] if name == "out" else found[name]
        values.append(Ref(builder, value) if is_operand else value)
    return values


class RuleSet:
    """Rules, tried in order. Sets add with ``+``."""

    def __init__(self, rules: Iterable[AnyRule]) -> None:
        self.rules = tuple(rules)
        names = [r.name for r in self.rules]
        twice = {n for n in names if names.count(n) > 1}
        if twice:
            raise ValueError(f"rules must have different names; {', '.join(sorted(twice))} stands for several")
        self._fitting: dict[tuple[Primitive, Heads, bool], tuple[AnyRule, ...]] = {}

    def __add__(self, other: RuleSet) -> RuleSet:
        return RuleSet(self.rules + other.rules)

    def __iter__(self) -> Iterator[AnyRule]:
        return iter(self.rules)

    def __len__(self) -> int:
        return len(self.rules)

    def __getitem__(self, name: str) -> AnyRule:
        for r in self.rules:
            if r.name == name:
                return r
        raise KeyError(f"there is no rule {name}. {did_you_mean(name, [r.name for r in self.rules])}")

    def exact(self) -> RuleSet:
        """The bitwise exact rules."""
        return RuleSet(r for r in self.rules if r.exact)

    def on(self, primitive: Primitive, heads: Heads, empty: bool) -> tuple[AnyRule, ...]:
        """The rules that may fit an equation of ``primitive`` on operands with these heads; remembered.

        ``empty`` says that its (first) result has no elements.
        """
        key = (primitive, heads, empty)
        found = self._fitting.get(key)
        if found is None:
            narrowed = [r.narrowed(primitive, heads, empty) for r in self.rules]
            found = self._fitting[key] = tuple([r for r in narrowed if r is not None])
        return found


class Rewriter(Matcher):
    """A builder that rewrites every equation by ``rules`` before it appends it."""

    __slots__ = ("depth", "on_rewrite", "rules")

    def __init__(self, rules: RuleSet, on_rewrite: OnRewrite | None = None) -> None:
        super().__init__()
        self.rules = rules
        self.on_rewrite = on_rewrite
        self.depth = 0

    def _append(
        self,
        primitive: Primitive,
        inputs: tuple[Atom, ...],
        params: tuple[Any, ...],
        regions: tuple[Graph, ...],
        out_avals: Sequence[Aval],
        key: tuple[Any, ...],
    ) -> tuple[int, ...]:
        if regions:
            rewritten = tuple([self._region(r) for r in regions])
            if rewritten != regions:
                return self.copy(Eqn(primitive, inputs, params, (), rewritten), inputs, out_avals)
        elif not primitive.effect:
            atoms = self._rewritten(primitive, inputs, params, out_avals)
            if atoms is not None:
                self.table[key] = atoms  # pyright: ignore[reportArgumentType]  (literals among them: atoms all the same)
                return atoms  # pyright: ignore[reportReturnType]
        outputs = super()._append(primitive, inputs, params, regions, out_avals, key)
        eqn = self.eqns[-1]
        for o in outputs:
            self.makers[o] = eqn
        if primitive is jit:
            outputs = self._past(regions[0], inputs, outputs)
            if key in self.table:
                self.table[key] = outputs
        return outputs

    def _past(self, region: Graph, inputs: tuple[Atom, ...], outputs: tuple[int, ...]) -> tuple[int, ...]:
        """Outputs of a region that are inputs or literals are taken from outside of it."""
        given = region.n_inputs
        return tuple(
            [
                o if type(a) is int and a >= given else inputs[a] if type(a) is int else a
                for a, o in zip(region.outputs, outputs, strict=True)
            ]
        )  # pyright: ignore[reportReturnType]

    def _region(self, region: Graph) -> Graph:
        if self.on_rewrite is not None:
            return rewrite(region, self.rules, self.on_rewrite)
        return region.memoize(("rewrite", self.rules), lambda: rewrite(region, self.rules))

    def _rewritten(
        self, primitive: Primitive, inputs: tuple[Atom, ...], params: tuple[Any, ...], avals: Sequence[Aval]
    ) -> tuple[Atom, ...] | None:
        """What stands for the outputs of an equation: constants, or the term of the first rule that fits."""
        rules = self.rules.on(primitive, self.heads(inputs[:_MAX_HEADS]), not avals[0].size)
        if not rules and (not inputs or type(inputs[0]) is int):  # most equations: nothing is built, nothing folds
            return None
        eqn = Candidate(primitive, inputs, params, avals)
        constants = _folded(eqn)
        if constants is not None:
            self._report("fold-constants")
            return constants
        for r in rules:
            self.depth += 1
            if self.depth > _MAX_DEPTH:
                raise RecursionError(f"rewrite rules do not end; the last one tried is {r.name}")
            term = r.apply(self, eqn)
            self.depth -= 1
            if term is not None:
                self._report(r.name)
                terms = term if isinstance(term, (list, tuple)) else (term,)
                return tuple([self._fitted(r, t, a) for t, a in zip(terms, eqn.avals, strict=True)])
        return None

    def _report(self, name: str) -> None:
        if self.on_rewrite is not None:
            self.on_rewrite(name, self.loc)

    def _fitted(self, r: AnyRule, term: Any, wanted: Aval) -> Atom:
        """The atom of ``term``, broadcast if it is a scalar in place of an array."""
        ref = term if isinstance(term, Ref) else Ref(self, literal(term, wanted.dtype))
        if ref.aval is not wanted and ref.shape == () and ref.dtype is wanted.dtype:
            ref = broadcast(ref, shape=wanted.shape, dims=())
        if ref.aval is not wanted:
            raise AssertionError(f"{format_loc(self.loc)}: rule {r.name} gives {ref.aval} for {wanted}")
        return ref.atom


def _folded(eqn: Candidate) -> tuple[Literal, ...] | None:
    """Constant folding of scalars, by the NumPy reference."""
    primitive, inputs, params, avals = eqn
    if not inputs or type(inputs[0]) is int or not all([isinstance(a, Literal) for a in inputs]):
        return None
    if any([a.shape for a in avals]) or primitive.region_rules is not None:
        return None
    with np.errstate(all="ignore"):
        results = primitive.evaluate(tuple([a.value for a in inputs if isinstance(a, Literal)]), params)
    if not primitive.multiple:
        results = (results,)
    return tuple([literal(r, a.dtype) for r, a in zip(results, avals, strict=True)])


@without_collector
def rewrite(graph: Graph, rules: RuleSet, on_rewrite: OnRewrite | None = None) -> Graph:
    """``graph`` with ``rules`` applied wherever they match, in its regions too.

    Parameters
    ----------
    graph
        What to rewrite. Inputs, outputs and effects keep their number, order and types.
    rules
        Tried in order on each equation; the first that matches is applied.
    on_rewrite
        Called with the rule's name and the equation's location at every rewrite.
    """
    builder = Rewriter(rules, on_rewrite)
    inputs = [builder.input(a) for a in graph.in_avals]
    outputs = builder.inline(graph, inputs)
    return builder.close(outputs, graph.weak, name=graph.name)
