"""What nobody sees in a text, or what ends a line for some only: such a text reads as another (T11)."""

import re
from typing import Final

# What nobody sees makes a line read as another: Default_Ignorable_Code_Point of Unicode 15.1's
# DerivedCoreProperties.txt, where the bidirectional controls (UAX 9), joiners, fillers, variation selectors and tags
# are; and the line ends that editors do not agree on (NEL, U+2028, U+2029, and the rest of U+2028-202E).
_IGNORABLE: Final = (
    (0x00AD, 0x00AD), (0x034F, 0x034F), (0x061C, 0x061C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
    (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
_LINE_ENDS: Final = ((0x0085, 0x0085), (0x2028, 0x2029))
HIDDEN = re.compile("[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in (*_IGNORABLE, *_LINE_ENDS)) + "]")


def find_hidden(text: str) -> int | None:
    """Where the first character stands that nobody sees, or that ends a line for some; None without one (T11)."""
    found = None if text.isascii() else HIDDEN.search(text)
    return found.start() if found else None
