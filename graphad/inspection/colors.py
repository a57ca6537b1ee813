"""Colours for a terminal, where rich is installed; without it the text stays plain."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any, Final, TextIO

from graphad.ir.html import PATTERNS

_LEXERS: Final = {"source": "python", "llvm": "llvm", "asm": "gas", "ptx": "ptx", "diff": "diff"}

_STYLES: Final = {
    "keyword": "bold", "primitive": "cyan", "type": "green", "value": "yellow", "name": "magenta", "comment": "dim",
}  # fmt: skip


def wants_color(stream: TextIO, choice: str = "auto") -> bool:
    """Whether to colour what is written to ``stream``: on a terminal, unless ``NO_COLOR`` is set or rich is missing."""
    if choice == "never" or find_spec("rich") is None:
        return False
    return choice == "always" or (stream.isatty() and not os.environ.get("NO_COLOR"))


def colored(text: str, stage: str) -> str:
    """``text``, of one of `graphad.inspection.all_stages` or a ``"diff"``, with the escape sequences of a terminal."""
    from rich.console import Console
    from rich.highlighter import RegexHighlighter
    from rich.syntax import Syntax
    from rich.theme import Theme

    lexer = _LEXERS.get(stage)
    rendered: Any
    if lexer is not None:
        rendered = Syntax(text, lexer, theme="ansi_dark", background_color="default").highlight(text)
        rendered.rstrip()
    else:
        # rich lets later patterns win where they overlap
        rules = {"highlights": [f"(?m){p}" for p in reversed(PATTERNS)], "base_style": "graphad."}
        rendered = type("Highlighter", (RegexHighlighter,), rules)()(text)
    console = Console(
        theme=Theme({f"graphad.{name}": style for name, style in _STYLES.items()}),
        color_system="standard", force_terminal=True, highlight=False, soft_wrap=True,
    )  # fmt: skip
    with console.capture() as captured:
        console.print(rendered, soft_wrap=True)
    return captured.get().rstrip("\n")
