"""Nothing that a terminal obeys or hides is left in a text; letters of all scripts are."""

import sys
import unicodedata

import pytest

from sparring.core.visible import visible

SEEN = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD, *range(0x13430, 0x13440)}
"""Format characters that are drawn: signs of numbers in Arabic, Syriac and Kaithi, and joiners of hieroglyphs."""


def test_every_character_of_unicode():
    for code in range(sys.maxunicode + 1):
        one = chr(code)
        hidden = unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp") and code not in SEEN
        if hidden:
            assert visible(one).isascii(), hex(code)
            assert visible(one).startswith("\\"), hex(code)
        elif unicodedata.category(one) != "Cn":
            assert visible(one) == one, hex(code)


@pytest.mark.parametrize("text", ["näher", "猫 и кот", "a\u00a0b", "🐈", "[red]", "5 < 6 & 'x'", "linf 8/255 · digits"])
def test_honest_text_stays(text):
    assert visible(text) == text


def test_lines_stay_where_they_are_wanted():
    assert visible("a\nb\r\n", lines=True) == "a\nb\\r\n"
    assert visible(ValueError("a\nb")) == "a\\nb"
