"""Text on pictures: lines end where Chinese rules allow, and fit."""

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pages.lettering import CLOSING, OPENING, Type, plain, width, wrap

KIND = Type(30)
TEXTS = st.text(alphabet=f"手写渐进式aB1 \n{CLOSING}{OPENING}", max_size=60)


@given(text=TEXTS, room=st.integers(100, 700))
@example(text="{（￥ %", room=100)
@settings(max_examples=300, deadline=None)
def test_no_line_starts_with_closing_punctuation_or_leaves_its_room(text: str, room: int) -> None:
    lines = wrap(text, KIND, room, lines=100)

    for before, line in pairwise(lines):
        # A run of punctuation that is longer than a line has to go on somewhere.
        assert line[0] not in CLOSING or before[-1] in CLOSING
    assert all(width(line, KIND) <= room + 1 for line in lines)
    assert "".join(lines).replace(" ", "") == plain(text).replace(" ", "")


@given(text=TEXTS, room=st.integers(100, 700), lines=st.integers(1, 3))
@settings(max_examples=300, deadline=None)
def test_what_does_not_fit_ends_with_an_ellipsis(text: str, room: int, lines: int) -> None:
    whole, cut = wrap(text, KIND, room, lines=100), wrap(text, KIND, room, lines=lines)

    assert len(cut) <= lines
    if len(whole) > lines:
        assert cut[-1].endswith("…")
        assert all(width(line, KIND) <= room + 1 for line in cut)


@pytest.mark.parametrize(
    ("text", "room", "lines"),
    [
        ("《手写MyBatis：渐进式源码实践》", 470, ["《手写MyBatis：", "渐进式源码实践》"]),
        ("大容量，适合办公室、户外。", 130, ["大容量，", "适合办公", "室、户", "外。"]),
        ("（10 册）套装", 100, ["（10", "册）", "套装"]),
        ("Pay ¥1.99, or not", 110, ["Pay", "¥1.99,", "or not"]),
        ("Teapot", 60, ["Tea", "pot"]),
        ("瑜伽垫", 400, ["瑜伽垫"]),
        ("", 400, []),
        (" \t\n", 400, []),
    ],
)
def test_lines_are_broken_between_words_and_of_about_the_same_width(
    text: str, room: int, lines: list[str]
) -> None:
    assert wrap(text, KIND, room, lines=9) == lines


def test_text_is_one_line_without_control_characters() -> None:
    assert plain(" a\tb\r\nc\x00\x1b\u202e\u200bd ") == "a b cd"
