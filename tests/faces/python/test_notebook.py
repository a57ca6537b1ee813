"""What a notebook shows: graphs and compiled functions in colours."""

from __future__ import annotations

import re
from html import unescape

import graphad
import graphad.numpy as gnp
from graphad.ir.html import html_text
from graphad.ir.text import parse_graph


def plain(html):
    """The text that a browser would show."""
    return unescape(re.sub(r"<[^>]*>", "", html))


def test_graphs_in_html_say_what_their_text_says():
    def f(x, y):
        graphad.debug.print("<{}> & {}", x.sum(), y)
        return graphad.jit(lambda a: gnp.tanh(a) @ a)(x) * 2

    graph = graphad.make_graph(f)(gnp.ones(3), 1.5)
    html = graph._repr_html_()
    assert plain(html) == repr(graph)
    assert parse_graph(plain(html)) == graph
    assert '<span style="color:#0077aa">tanh</span>' in html
    assert '<span style="font-weight:bold">return</span>' in html


def test_what_is_in_a_comment_has_no_other_colour():
    html = html_text("  %1: f32[] = sin %0   ; graph.py:3 %2 f32[]")
    assert html.endswith('<span style="color:#8a8a8a">; graph.py:3 %2 f32[]</span></pre>')


def test_compiled_functions_show_their_paths():
    @graphad.jit
    def f(x):
        return gnp.sin(x) if x > 0 else x

    assert plain(f._repr_html_()) == "<compiled f: 0 signature(s), 0 path(s)>"
    for x in (1.0, -1.0):
        f(x)
    shown = plain(f._repr_html_())
    assert shown.count("graph @f") == shown.count("guard[") == 2
    assert shown.count(" sin ") == 1


def test_compiled_gradients_show_the_adjoint():
    f = graphad.compile_grad(lambda x: gnp.sin(x))
    f(1.0)
    assert " cos " in plain(f._repr_html_())
