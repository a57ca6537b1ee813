"""Python loops as source: name -> (a module with a function ``f``, its arguments)."""

from __future__ import annotations

LOOPS = {
    "newton": (
        """
import graphad

def f(x):
    error = abs(x)
    while error > 1e-6:
        x, previous = x - 0.5 * (x * x - 2) / x, x
        error = abs(x - previous)
    return x
""",
        (3.0,),
    ),
    "a count, and a name of one turn": (
        """
import graphad

def f(x):
    k = 0
    total = x * 0
    while k < 5:
        square = x * x
        total = total + square / (k + 1)
        k += 1
    return total, k
""",
        (1.5,),
    ),
    "a condition of several lines": (
        """
from graphad import lax
import graphad.numpy as gnp

def f(x, n):
    k = 0
    while (
        gnp.sin(x) > -0.5  # not yet
        and not k > n
        and -10 < x < 10
    ):
        x = x + 0.25
        k = k + 1
    return x * k
""",
        (0.5, 100),
    ),
    "either of two conditions": (
        """
import graphad as ga

def f(x, y):
    while x > 1.0 or y > 1.0:
        x, y = x / 2, y / 3
    return x + y
""",
        (5.0, 70.0),
    ),
    "an assignment in the condition": (
        """
import graphad.numpy as gnp
from graphad.lax import while_loop

def f(x):
    while (y := gnp.exp(-x)) > 0.01:
        x = x + y
    return x, y
""",
        (0.1,),
    ),
    "an assignment that goes on from itself": (
        """
import graphad

def f(x):
    turns = 0
    while (x := x * 0.5) > 0.1:
        turns = turns + 1
    return x, turns
""",
        (3.0,),
    ),
    "a truth that is a number": (
        """
import graphad

def f(n):
    total = 0
    while n:
        total = total + n
        n = n - 1
    return total
""",
        (7,),
    ),
    "tabs": (
        """
import graphad

def f(x):
\twhile x > 0.5:
\t\ty = x * 0.5
\t\tfor _ in range(2):
\t\t\ty = y * 0.9
\t\tx = y
\treturn x
""",
        (4.0,),
    ),
    "comments and a text in the body": (
        """
import graphad

def f(x):
    while x < 10:  # so far
        # doubled
        text = '''
  several
lines'''
        x = x * len(text)

      # less far to the left
        x = x / 8  # a little
    return x
""",
        (0.5,),
    ),
    "a body on the same line": (
        """
import graphad

def f(x):
    k = 0
    while x > 1: x = x / 3; k = k + 1  # both
    return x, k
""",
        (50.0,),
    ),
    "a name bound on one way": (
        """
import graphad

def f(x, flag=True):
    y = x
    while x < 20:
        if flag is None:
            y = x * 3
        x = x + y
    return x, y
""",
        (1.5,),
    ),
    "within a function": (
        """
import graphad

def f(x):
    scale = 0.5

    def shrunk(v):
        while v > limit:
            v = v * scale
        return v

    limit = 0.25
    return shrunk(x) + shrunk(x * 3)
""",
        (4.0,),
    ),
    "a method": (
        """
import graphad

class Decay:
    rate = 0.75

    def run(self, x):
        steps = 0
        while x > self.rate:
            x, steps = x * self.rate, steps + 1
        return x + steps

def f(x):
    return Decay().run(x)
""",
        (4.0,),
    ),
    "decorated": (
        """
import functools
import graphad

def twice(function):
    @functools.wraps(function)
    def run(x):
        return function(function(x) + 3)
    return run

@twice
def halved(x):
    while x > 1:
        x = x / 2
    return x

def f(x):
    return halved(x)
""",
        (9.0,),
    ),
    "a lambda in the body": (
        """
import graphad

def f(x):
    while x > 1:
        step = lambda v: v / 2 + x / 8
        x = step(x)
    return x
""",
        (9.0,),
    ),
    "names that are taken": (
        """
import graphad

def f(state, turn):
    goes_on = 1.0
    while state > goes_on:
        state, turn = state - turn, turn * 1.25
    return state * turn
""",
        (9.0, 0.5),
    ),
    "a loop in a loop": (
        """
import graphad

def f(x):
    total = 0.0
    for k in range(3):
        rest = x + k
        while rest > 1:
            rest = rest / 2
            total = total + rest
    return total
""",
        (4.0,),
    ),
    "counted": (
        """
from graphad import lax as control

def f(x, n):
    for i in range(n):
        x = x + i / (i + 1)
    return x
""",
        (0.5, 6),
    ),
    "counted between bounds": (
        """
import graphad

def f(x, a, b):
    previous = x
    for i in range(a + 1, b * 2):
        x, previous = x * 0.5 + previous / i, x
    return x - previous
""",
        (0.5, 1, 4),
    ),
}

#: name -> (the loop, what is said to be in its way).
NOT_AS_IT_STANDS = {
    "break": (
        "while True:\n    x = x + 1\n    if x > 3:\n        break",
        r"but for its `break` \(line 6\): carry a boolean that says whether the loop has ended",
    ),
    "continue": (
        "while x < 3:\n    x = x + 1\n    if x < 2:\n        continue\n    y = x",
        "its `continue`.*line 6.*cond",
    ),
    "return": ("while x < 3:\n    x = x + 1\n    return x", r"its `return` \(line 5\): carry what it returns"),
    "yield": ("while x < 3:\n    x = x + 1\n    yield x", r"its `yield`.*lax\.scan"),
    "else": ("while x < 3:\n    x = x + 1\nelse:\n    x = x * 2", "its `else`, which always runs"),
    "del": ("while x < 3:\n    z = x\n    x = z + 1\n    del z", "its `del`"),
    "global": ("while x < 3:\n    global g\n    x = g = x + 1", "its `global`.*store it behind the loop"),
    "an element": ("while x < 3:\n    x = x + 1\n    a[0] = x", r"`a\[0\] = \.\.\.` \(line 5\).*a = a\.at\[0\]\.set"),
    "an attribute": ("while x < 3:\n    x = x + 1\n    a.b = x", r"`a\.b = \.\.\.`.*b = a\.b before"),
    "a list": ("while x < 3:\n    x = x + 1\n    a.append(x)", r"`a\.append\(\.\.\.\)`.*lax\.scan stacks"),
    "a first value": ("while x < 3:\n    z = x + 1\n    x = z\nx = x + z", "z, which has no value before it"),
    "a condition that stays": ("while x < 3:\n    y = y + 1", r"no turn changes what that reads \(x\)"),
    "always": ("while True:\n    x = x + 1", r"no turn changes what that reads \(nothing\)"),
    "a closure": (
        "g = lambda: x\nwhile g() < 3:\n    x = x + 1",
        r"the lambda \(line 3\), which reads x while it changes",
    ),
    "an assignment passed by": ("while x < 3 and (z := x) < 2:\n    x = x + 1", "the assignment in its condition"),
    "rows": ("for row in a:\n    x = x + row", r"what it runs over, a: .*rows of an array are for graphad\.lax\.scan"),
    "a step": ("for i in range(0, 9, 2):\n    x = x + i", "the step of its range.*compute i from the number"),
    "the last number": ("for i in range(9):\n    x = x + i\nx = x + i", "i, which is read behind it"),
    "no results": ("for i in range(9):\n    z = x + i", "its results: nothing that it computes"),
}
