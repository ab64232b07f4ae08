"""HTML that cannot be broken by what is put in it: text is escaped unless `element` made it."""

from __future__ import annotations

import base64
import html
import unicodedata
from collections.abc import Iterable

# A paragraph or a cell may be empty; these are closed by themselves.
_VOID = frozenset({"br", "hr", "img", "meta"})
_NOT_TEXT = ("Cc", "Cs")  # control characters, halves of pairs


class Html(str):
    """Markup, which `element` takes as it is; any other string is text."""

    __slots__ = ()


def element(tag: str, *content: object, **attributes: object) -> Html:
    """``<tag attributes>content</tag>``.

    Args:
      tag: name of the element.
      *content: elements, text (escaped), or numbers; None is left out.
      **attributes: their values, escaped; None and False are left out, True stands alone. A
        trailing underscore is dropped (``class_``), others become hyphens.
    """
    named = "".join(_attribute(key, value) for key, value in attributes.items())
    if tag in _VOID:
        return Html(f"<{tag}{named}>")
    return Html(f"<{tag}{named}>{join(content)}</{tag}>")


def join(content: Iterable[object]) -> Html:
    """Elements and text one after the other."""
    return Html("".join(text(part) for part in content if part is not None))


def text(content: object) -> Html:
    """Anything as markup: text is escaped, and loses what no page may hold."""
    if isinstance(content, Html):
        return content
    letters = (c for c in str(content) if c in "\n\t" or unicodedata.category(c) not in _NOT_TEXT)
    return Html(html.escape("".join(letters)))


def image_source(png: bytes) -> str:
    """The ``src`` of an image that is part of the page."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _attribute(key: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = key.removesuffix("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{text(value)}"'
