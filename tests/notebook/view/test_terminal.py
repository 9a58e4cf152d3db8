"""Printed text is shown as its terminal would show it, and nothing in it is markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_nb.notebook.view.terminal import WIDTH, last_rows, plain

BAR = "\r 10%|#         | 1/10\r100%|##########| 10/10\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one\ntwo\n", "one\ntwo\n"),
        ("12345\rab", "ab345"),
        ("abc\b\bX", "aXc"),
        ("\b\bx", "x"),
        (BAR + "after", "100%|##########| 10/10\nafter"),
        ("a\r\nb", "a\nb"),
        ("\x1b[31mred\x1b[0m!", "red!"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("12345\r\x1b[Kab", "ab"),
        ("12345\x1b[2D\x1b[Kx", "123x"),
        ("outer\ninner 1\x1b[A\rOUTER\n\rinner 2", "OUTER\ninner 2"),
        ("bar 0\n\rbar 1\n\x1b[A\x1b[A\rBAR", "BAR 0\nbar 1\n"),
        ("gone\n\x1b[2Jnew", "new"),
        ("a\tb", "a       b"),
        ("bell\x07 and null\x00", "bell and null"),
        ("\x1b[", ""),
        ("x\x1b[5Cy", "x     y"),
        ("\x1b7kept\x1b8", "kept"),
        ("\x1b[?25lhidden cursor\x1b[?25h", "hidden cursor"),
    ],
)
def test_what_stands_there_at_the_end(text, shown):
    assert plain(text) == shown


def test_the_cursor_goes_no_further_than_a_line_may_be_long():
    assert len(plain("\x1b[999999999999Cx\x1b[999999B\x1b[999999Gy")) <= 10_001
    assert len(plain("\n\x1b[99999Cx" * 50_000)) < 500_000
    assert plain("\x07" + "x" * 300_000) == "x" * 300_000


def test_colours_are_spans_and_text_is_escaped():
    assert last_rows("\x1b[1;31m<b>\x1b[0m&", 5) == (
        '<span style="color:var(--jp-error-color1, #d1242f);font-weight:bold">&lt;b&gt;</span>&amp;'
    )
    assert "rgb(255,95,0)" in last_rows("\x1b[38;5;202mx", 1)
    assert "rgb(1,2,3)" in last_rows("\x1b[48;2;1;2;3mx", 1)
    assert last_rows("\x1b[38;2;1mx\x1b[38mx\x1b[38;5mx", 1).count("x") == 3


def test_the_last_rows_only():
    assert last_rows("".join(f"{n}\n" for n in range(100)), 3) == "97\n98\n99"
    assert last_rows("\n\n", 3) == ""
    assert last_rows("x" * 1_000_000, 3) == "x" * WIDTH + "…"


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.text, self.depth = [], "", 0

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, tuple(attributes)))
        self.depth += 1

    def handle_endtag(self, tag):
        self.depth -= 1

    def handle_data(self, data):
        self.text += data


CONTROLS = "\r \n \b \t \x1b[ \x1b[A \x1b[3C \x1b[K \x1b[2J \x1b[J \x1b[31m \x1b[0m \x1b] \x07 \x1b"
MORE = "\x9b \x1b[38;5;999m \x1b[38;2;9;9;9m <script> \" & '>"
controls = st.sampled_from([*CONTROLS.split(" "), *MORE.split(" ")])
printed = st.lists(controls | st.text(max_size=12)).map("".join)


@given(printed)
def test_whatever_is_printed_no_markup_comes_of_it(text):
    shown = last_rows(text, 10)
    reader = _Tags()
    reader.feed(shown)
    reader.close()
    assert reader.depth == 0
    for tag, attributes in reader.tags:
        assert tag == "span"
        ((name, value),) = attributes
        assert name == "style"
        assert re.fullmatch(r"[a-z0-9#:;,()\- ]+", value)
    assert shown.count("\n") < 10
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", shown)


@given(printed)
def test_what_stands_there_needs_no_terminal_any_more(text):
    shown = plain(text)
    assert plain(shown) == shown
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", shown)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]))))
def test_text_without_controls_stays_as_it_is(lines):
    text = "\n".join(lines)
    assert plain(text) == text


@given(st.integers(1, 60), st.integers(1, 100))
def test_of_a_bar_its_last_state_remains(steps, total):
    bars = "".join(f"\r{100 * n // total:3d}%|{'#' * n:<60}| {n}/{total}" for n in range(steps + 1))
    assert plain(bars).split("|")[-1] == f" {steps}/{total}"
