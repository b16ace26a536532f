"""Text of strangers, made harmless for a terminal and for a spreadsheet (T53).

What a peer, a host or an inventory's author wrote may hold escape sequences, bidi controls or the beginning of
a formula. It is shown, never obeyed.
"""

# What spreadsheet programs take for the beginning of a formula, its full-width forms included.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_BLANKS = " \u00a0\u2007\u202f\u3000"


def safe_text(text: str) -> str:
    r"""One line that does nothing to whoever reads it: what is not printable comes out as \xNN or \uNNNN.

    That covers C0 and C1 controls, line separators, bidi controls and lone surrogates.
    """
    return text if text.isprintable() else "".join(char if char.isprintable() else _escape(char) for char in text)


def safe_lines(text: str) -> str:
    """As `safe_text`, for a message: its lines stay lines."""
    return text if text.isprintable() else "\n".join(map(safe_text, text.split("\n")))


def safe_line(text: str) -> str:
    """As `safe_text`, for a line of a diff: its tabs stay."""
    return "\t".join(safe_text(part) for part in text.split("\t"))


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def guard_cell(value: object) -> str:
    """A cell of a CSV file: text that a spreadsheet would take for a formula gets a `'` before it.

    Numbers that are numbers, negative ones too, pass; nothing at all is an empty cell.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        return str(value)
    text = safe_text(value)
    starts = value.lstrip(_BLANKS)
    return f"'{text}" if starts.startswith((*_FORMULA, "\t", "\r")) else text
