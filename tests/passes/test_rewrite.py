"""The rewriting engine, and what `simplify` makes of small programs."""

from __future__ import annotations

import pytest

from graphad.ir.text import format_graph, parse_graph
from graphad.ir.verify import verify
from graphad.passes.pattern import const, param, var
from graphad.passes.pipeline import run
from graphad.passes.rewrite import RuleSet, rewrite, rule
from graphad.passes.simplify import EXACT_RULES, RULES, Simplify
from graphad.primitives.elementwise import add, integer_pow, mul, neg, sin, sub, tanh
from graphad.primitives.layout import reshape

x, y, c = var("x"), var("y"), const("c")
NEG_NEG = rule("neg-neg", neg(neg(x)), x)


def parsed(*lines, inputs="%x: f32[3], %y: f32[3]", result="%z", out="f32[3]"):
    return verify(parse_graph("\n".join([f"graph @f({inputs}) -> ({out}) {{", *lines, f"  return {result}", "}"])))


def lines_of(graph):
    return [line.split("   ;")[0].strip() for line in format_graph(graph).split("\n")[1:-1]]


def simplified(*lines, **kwargs):
    return lines_of(run(parsed(*lines, **kwargs), "simplify", level=3))


# -- the engine


def test_patterns_print_as_they_are_written():
    assert repr(add(x, mul(y, 2.0))) == "add(x, mul(y, 2.0))"
    assert repr(reshape(x, shape=param("s"))) == "reshape(x, shape=s)"


def test_rule_sets():
    rules = RuleSet([NEG_NEG]) + RuleSet([rule("add-self", add(x, x), mul(x, 2.0))])
    assert [r.name for r in rules] == ["neg-neg", "add-self"]
    assert rules["add-self"].exact
    with pytest.raises(KeyError, match="Did you mean 'neg-neg'"):
        rules["negneg"]
    with pytest.raises(ValueError, match="neg-neg stands for several"):
        rules + RuleSet([NEG_NEG])
    assert len(RULES.exact()) == len(EXACT_RULES) < len(RULES)


def test_a_rule_asks_only_for_variables_of_its_pattern():
    with pytest.raises(ValueError, match="rule wrong: its function asks for z"):
        rule("wrong", add(x, y), lambda z: z)
    with pytest.raises(AssertionError, match="must be a primitive called on variables"):
        rule("wrong", x, y)


def test_a_term_of_another_type_is_refused():
    graph = parsed("  %z: f32[3] = add %x, %y   ; model.py:4")
    with pytest.raises(AssertionError, match=r"model.py:4: rule flat gives f32\[1,3\] for f32\[3\]"):
        rewrite(graph, RuleSet([rule("flat", add(x, y), lambda x: reshape(x, shape=(1, 3)))]))


def test_rules_that_do_not_end_are_found_out():
    swap = rule("there", sub(x, y), neg(sub(y, x)))
    with pytest.raises(RecursionError, match="rewrite rules do not end; the last one tried is there"):
        rewrite(parsed("  %z: f32[3] = sub %x, %y"), RuleSet([swap]))


def test_a_repeated_variable_stands_for_one_value():
    double = RuleSet([rule("double", add(x, x), mul(x, 2.0))])
    assert lines_of(rewrite(parsed("  %z: f32[3] = add %x, %x"), double))[0].endswith("mul %0, 2.0:f32")
    assert lines_of(rewrite(parsed("  %z: f32[3] = add %x, %y"), double))[0].endswith("add %0, %1")


def test_operands_that_commute_match_in_either_order():
    rules = RuleSet([rule("r", add(neg(x), mul(x, y)), tanh(x))])
    for first, second in (("%n", "%m"), ("%m", "%n")):
        for a, b in (("%x", "%y"), ("%y", "%x")):
            graph = parsed(
                "  %n: f32[3] = neg %x", f"  %m: f32[3] = mul {a}, {b}", f"  %z: f32[3] = add {first}, {second}"
            )
            assert lines_of(rewrite(graph, rules)) == ["%2: f32[3] = tanh %0", "return %2"]


def test_a_shared_operand_stays_for_its_other_reader():
    graph = parsed("  %n: f32[3] = neg %x", "  %m: f32[3] = neg %n", "  %z: f32[3] = mul %m, %n")
    assert lines_of(rewrite(graph, RuleSet([NEG_NEG]))) == [
        "%2: f32[3] = neg %0", "%3: f32[3] = mul %0, %2", "return %3",
    ]  # fmt: skip


def test_terms_are_simplified_in_their_turn_at_the_place_of_the_equation():
    graph = parsed(
        "  %a: f32[3] = neg %x          ; a.py:1",
        "  %b: f32[3] = mul %a, %y      ; b.py:2",
        "  %z: f32[3] = sub %y, %b      ; c.py:3",
    )
    hoist = rule("hoist", mul(neg(x), y), neg(mul(x, y)))
    used = []
    after = rewrite(graph, RULES + RuleSet([hoist]), on_rewrite=lambda name, loc: used.append((name, loc)))
    assert used == [("hoist", "b.py:2"), ("sub-negative", "c.py:3")]
    assert [e.primitive.name for e in after.eqns] == ["mul", "add"]
    assert after.locs == ("b.py:2", "c.py:3")


def test_params_match_by_value_and_as_variables():
    cube = RuleSet([rule("cube", integer_pow(x, n=3), mul(x, mul(x, x)))])
    assert len(rewrite(parsed("  %z: f32[3] = integer_pow[n=3] %x"), cube).eqns) == 2
    assert len(rewrite(parsed("  %z: f32[3] = integer_pow[n=4] %x"), cube).eqns) == 1
    odd = RuleSet(
        [rule("odd", integer_pow(neg(x), n=param("n")), lambda x, n: neg(integer_pow(x, n=n)) if n % 2 else None)]
    )
    for n, names in ((3, ["integer_pow", "neg"]), (4, ["neg", "integer_pow"])):
        graph = parsed("  %n: f32[3] = neg %x", f"  %z: f32[3] = integer_pow[n={n}] %n")
        assert [e.primitive.name for e in rewrite(graph, odd).eqns] == names


def test_functions_of_rules_get_literals_as_literals_and_out_as_a_type():
    seen = []

    def look(x, c, out):
        seen.append((x.shape, c.item(), str(out)))

    rewrite(parsed("  %z: f32[3] = mul %x, 2.5:f32"), RuleSet([rule("look", mul(x, c), look)]))
    assert seen == [((3,), 2.5, "f32[3]")]


def test_regions_are_rewritten_once_and_keep_their_object_if_nothing_fits():
    text = """
graph @f(%x: f32[3]) -> (f32[3]) {{
  %1: f32[3] = remat %x {{
    graph @g(%x: f32[3]) -> (f32[3]) {{
      {}
      return %2
    }}
  }}
  return %1
}}"""
    graph = parse_graph(text.format("%1: f32[3] = mul %x, 1.0:f32\n      %2: f32[3] = sin %1"))
    after = Simplify().run(graph)
    assert [e.primitive.name for e in after.eqns[0].regions[0].eqns] == ["sin"]
    assert Simplify().run(graph).eqns[0].regions[0] is after.eqns[0].regions[0]
    plain = parse_graph(text.format("%2: f32[3] = sin %x"))
    assert Simplify().run(plain).eqns[0].regions[0] is plain.eqns[0].regions[0]


def test_what_a_call_only_passes_on_goes_past_it():
    graph = parse_graph("""
graph @f(%x: f32[3], %y: f32[3]) -> (f32[3], f32[3]) {
  %2: f32[3], %c: f32[], %4: f32[3] = jit[name='g'] %x, %y {
    graph @g(%x: f32[3], %y: f32[3]) -> (f32[3], f32[], f32[3]) {
      %2: f32[3] = mul %x, 1.0:f32
      %3: f32[3] = sin %y
      return %2, 1.0:f32, %3
    }
  }
  %3: f32[3] = broadcast[shape=(3,), dims=()] %c
  %5: f32[3] = mul %2, %3
  return %5, %4
}""")
    after = run(verify(graph), "simplify", level=3)
    assert after.outputs[0] == 0
    assert [e.primitive.name for e in after.eqns] == ["jit"]
    assert after.eqns[0].inputs == (1,)


# -- simplify


def test_constants_fold_through_arithmetic_and_shapes():
    assert simplified(
        "  %a: f32[] = add 1.0:f32, 2.0:f32",
        "  %b: f32[2] = broadcast[shape=(2,), dims=()] %a",
        "  %c: f32[2] = sin %b",
        "  %d: f32[2,1] = reshape[shape=(2,1)] %c",
        "  %e: f32[1] = reduce_max[axes=(0,)] %d",
        "  %f: f32[] = reshape[shape=()] %e",
        "  %g: f32[3] = broadcast[shape=(3,), dims=()] %f",
        "  %z: f32[3] = mul %x, %g",
    ) == ["%2: f32[3] = mul %0, 0.14112:f32", "return %2"]


def test_a_repeated_literal_becomes_an_operand_where_it_can():
    assert simplified("  %a: f32[3] = broadcast[shape=(3,), dims=()] 1.0:f32", "  %z: f32[3] = sub %a, %x") == [
        "%2: f32[3] = sub 1.0:f32, %0",
        "return %2",
    ]


def test_work_on_repeated_operands_is_done_before_repeating():
    assert simplified(
        "  %a: f32[4,3] = broadcast[shape=(4,3), dims=(1,)] %x",
        "  %b: f32[4,3] = broadcast[shape=(4,3), dims=(1,)] %y",
        "  %c: f32[4,3] = broadcast[shape=(4,3), dims=()] 3.0:f32",
        "  %d: f32[4,3] = mul %a, %b",
        "  %z: f32[4,3] = add %d, %c",
        out="f32[4,3]",
    ) == [
        "%2: f32[3]   = mul %0, %1",
        "%3: f32[3]   = add %2, 3.0:f32",
        "%4: f32[4,3] = broadcast[shape=(4,3), dims=(1,)] %3",
        "return %4",
    ]


def test_a_choice_between_equal_scalars_is_repeated():
    inputs = "%c: bool[3], %x: f32[3]"
    assert simplified("  %z: f32[3] = select %c, 2.0:f32, 2.0:f32", inputs=inputs) == [
        "%2: f32[3] = broadcast[shape=(3,), dims=()] 2.0:f32", "return %2",
    ]  # fmt: skip


def test_contractions_absorb_transpositions():
    assert simplified(
        "  %a: f32[3,2] = transpose[perm=(1,0)] %x",
        "  %b: f32[3,4] = dot_general[contract=((1,),(0,)), batch=((),())] %a, %y",
        "  %z: f32[4,3] = transpose[perm=(1,0)] %b",
        inputs="%x: f32[2,3], %y: f32[2,4]",
        out="f32[4,3]",
    ) == ["%2: f32[4,3] = dot_general[contract=((0,),(0,)), batch=((),())] %1, %0", "return %2"]


def test_batched_contractions_absorb_transpositions_of_batch_axes():
    assert simplified(
        "  %a: f32[5,3,2] = transpose[perm=(2,1,0)] %x",
        "  %z: f32[5,3,4] = dot_general[contract=((2,),(1,)), batch=((0,),(0,))] %a, %y",
        inputs="%x: f32[2,3,5], %y: f32[5,2,4]",
        out="f32[5,3,4]",
    ) == ["%2: f32[5,3,4] = dot_general[contract=((0,),(1,)), batch=((2,),(0,))] %0, %1", "return %2"]


def test_a_transposition_that_reorders_free_axes_stays():
    lines = simplified(
        "  %a: f32[3,2,5] = transpose[perm=(1,0,2)] %x",
        "  %z: f32[3,2,4] = dot_general[contract=((2,),(0,)), batch=((),())] %a, %y",
        inputs="%x: f32[2,3,5], %y: f32[5,4]",
        out="f32[3,2,4]",
    )
    assert any("transpose" in line for line in lines)


def test_products_with_scalars_are_no_contractions():
    assert simplified(
        "  %a: f32[] = sub 3.0:f32, 1.0:f32",
        "  %z: f32[3] = dot_general[contract=((),()), batch=((),())] %a, %x",
    ) == ["%2: f32[3] = mul %0, 2.0:f32", "return %2"]


def test_concatenations_flatten_and_lose_empty_parts():
    assert simplified(
        "  %e: f32[0] = slice[start=(1,), stop=(1,), step=(1,)] %x",
        "  %a: f32[6] = concatenate[axis=0] %x, %y",
        "  %b: f32[9] = concatenate[axis=0] %a, %e, %x",
        "  %z: f32[9] = concatenate[axis=0] %b",
        out="f32[9]",
    ) == ["%2: f32[9] = concatenate[axis=0] %0, %1, %0", "return %2"]


def test_a_slice_of_a_concatenation_is_a_slice_of_the_part():
    head = "  %a: f32[2,6] = concatenate[axis=1] %x, %y"
    for start, stop, step, expected in (
        ("0,3", "2,6", "1,1", ["return %1"]),
        ("0,4", "1,6", "1,5", ["%2: f32[1,1] = slice[start=(0,1), stop=(1,2), step=(1,5)] %1", "return %2"]),
        ("0,0", "1,3", "1,2", ["%2: f32[1,2] = slice[start=(0,0), stop=(1,3), step=(1,2)] %0", "return %2"]),
    ):
        out = expected[0].split(" ")[1] if expected[0].startswith("%") else "f32[2,3]"
        text = f"  %z: {out} = slice[start=({start}), stop=({stop}), step=({step})] %a"
        assert simplified(head, text, inputs="%x: f32[2,3], %y: f32[2,3]", out=out) == expected
    across = "  %z: f32[2,2] = slice[start=(0,2), stop=(2,4), step=(1,1)] %a"
    assert len(simplified(head, across, inputs="%x: f32[2,3], %y: f32[2,3]", out="f32[2,2]")) == 3


def test_inexact_rules_wait_for_fast_math():
    graph = parsed("  %a: f32[3] = mul %x, 0.0:f32", "  %z: f32[3] = div %a, 3.0:f32")
    assert len(Simplify(fast_math=False).run(graph).eqns) == 2
    assert [e.primitive.name for e in Simplify(fast_math=True).run(graph).eqns] == ["broadcast"]


def test_effects_and_unused_inputs_stay():
    graph = parsed(
        "  %a: f32[3] = mul %x, 1.0:f32",
        "  debug_print[fmt='{}', batch_axes=0] %a",
        "  debug_print[fmt='{}', batch_axes=0] %a",
        result="%x",
    )
    after = run(graph, "simplify")
    assert after.n_inputs == 2
    assert [e.primitive.name for e in after.eqns] == ["debug_print", "debug_print"]
    assert after.eqns[0].inputs == (0,)


def test_empty_arrays_are_zeros():
    assert simplified(
        "  %a: f32[0] = slice[start=(3,), stop=(3,), step=(1,)] %x",
        "  %b: f32[0] = sin %a",
        "  %c: f32[] = reduce_sum[axes=(0,)] %b",
        "  %d: f32[3] = broadcast[shape=(3,), dims=()] %c",
        "  %z: f32[3] = sub %x, %d",
    ) == ["return %0"]


def test_gradient_like_programs(golden):
    graph = parsed(
        "  %h: f32[8,4] = dot_general[contract=((1,),(0,)), batch=((),())] %x, %w   ; model.py:3",
        "  %a: f32[8,4] = tanh %h                                                 ; model.py:4",
        "  %one: f32[8,4] = broadcast[shape=(8,4), dims=()] 1.0:f32               ; model.py:5",
        "  %sq: f32[8,4] = integer_pow[n=2] %a                                    ; jvp(model.py:4)",
        "  %d: f32[8,4] = sub %one, %sq                                           ; jvp(model.py:4)",
        "  %n: f32[8,4] = neg %one                                                ; transpose(model.py:5)",
        "  %g: f32[8,4] = mul %n, %d                                              ; transpose(model.py:4)",
        "  %t: f32[3,8] = transpose[perm=(1,0)] %x                                ; transpose(model.py:3)",
        "  %z: f32[3,4] = dot_general[contract=((1,),(0,)), batch=((),())] %t, %g ; transpose(model.py:3)",
        inputs="%x: f32[8,3], %w: f32[3,4]",
        out="f32[3,4]",
    )
    golden("simplify_gradient.txt", f"{graph}\n\n{run(graph, 'simplify', level=3)}")


@pytest.mark.parametrize("depth", [10, 1000])
def test_long_chains_do_not_recurse(depth):
    lines = ["  %v0: f32[3] = neg %x"]
    lines += [f"  %v{k}: f32[3] = neg %v{k - 1}" for k in range(1, depth)]
    graph = parsed(*lines, result=f"%v{depth - 1}")
    assert Simplify().run(graph).outputs == (0,)


def test_rewriting_only_appends_what_is_new():
    graph = parsed("  %a: f32[3] = sin %x", "  %b: f32[3] = sin %y", "  %z: f32[3] = sub %a, %b")
    assert rewrite(graph, RULES.exact()) == graph
    assert sin is graph.eqns[0].primitive
