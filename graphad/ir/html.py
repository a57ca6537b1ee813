"""The text form of graphs in colours, for notebooks. The same patterns colour it on a terminal."""

from __future__ import annotations

import re
from html import escape
from typing import Final

#: The words of the text form, of graphs and of loop programs; where two match at one place, the first wins.
PATTERNS: Final = (
    r"(?P<comment>;.*$)",
    r"(?P<primitive>(?<== )[a-z]\w*(?=\(| [%\d-]|\[\w+=)|^\s+(?:guard|debug_print)\b)",
    r"(?P<type>\b(?:bool|[iu](?:8|16|32|64)|b?f16|f32|f64)\b(?:\[[\d,]*\])?)",
    r"(?P<keyword>\b(?:graph|return|weak|for|vector|program|nest)\b)",
    r"(?P<value>%\w+)",
    r"(?P<name>@[\w.<>-]+)",
)
_ANY: Final = re.compile("|".join(PATTERNS), re.MULTILINE)
_STYLES: Final = {
    "keyword": "font-weight:bold",
    "primitive": "color:#0077aa",
    "type": "color:#2e8b2e",
    "value": "color:#b35900",
    "name": "color:#a626a4",
    "comment": "color:#8a8a8a",
}


def html_text(text: str) -> str:
    """``text`` as a block of HTML.

    Examples
    --------
    >>> html_text("return %1")
    '<pre><span style="font-weight:bold">return</span> <span style="color:#b35900">%1</span></pre>'
    """
    parts: list[str] = []
    end = 0
    for found in _ANY.finditer(text):
        style = _STYLES[str(found.lastgroup)]
        parts += [escape(text[end : found.start()]), f'<span style="{style}">{escape(found[0])}</span>']
        end = found.end()
    return f"<pre>{''.join(parts)}{escape(text[end:])}</pre>"
