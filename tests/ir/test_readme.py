"""Every example in the grammar's README is read back, verified and printed; the error shown is the error given."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import graphad.ir
import graphad.primitives  # fills the registry
from graphad.errors import VerifyError
from graphad.ir.text import format_graph, parse_graph
from graphad.ir.types import DTYPES
from graphad.ir.verify import verify

assert graphad.primitives
README = (Path(graphad.ir.__file__).parent / "README.md").read_text()
EXAMPLES = re.findall(r"^```\n(graph.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_no_example_is_overlooked():
    assert README.count("graph @") - README.count("    graph @") == len(EXAMPLES) > 0


@pytest.mark.parametrize("text", EXAMPLES)
def test_example(text):
    graph = verify(parse_graph(text), 2)
    assert parse_graph(format_graph(graph)) == graph


def test_the_error_shown():
    (shown,) = re.findall(r"^```text\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    body = "\n".join(line[4:] for line in shown.splitlines()[1:])
    with pytest.raises(VerifyError) as raised:
        verify(parse_graph(body))
    assert str(raised.value) == shown.rstrip()


def test_the_grammar_names_every_dtype():
    (line,) = re.findall(r"^dtype +=(.*);$", README, re.MULTILINE)
    assert re.findall(r'"(\w+)"', line) == list(DTYPES)
