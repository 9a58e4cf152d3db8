"""Tables as text and as HTML."""

from compute_nb.notebook.tables import Table


def test_text_is_aligned_and_lines_stand_below():
    table = Table(
        ["name", "count"], [["a", "5"], ["longer", "100"]], lines=["▲ more"], numbers=frozenset({1})
    )
    assert table.text() == "name    count\na           5\nlonger    100\n▲ more"
    assert Table(["", ""], [["key", "value"]], title="About").text() == "About\nkey  value"
    assert Table([], [], lines=["nothing"]).text() == "nothing"


def test_html_escapes_everything_and_keeps_glyph_and_word():
    shown = Table(["<h>"], [["✗ <b>"], ["`x<y`"]], title="<t>", lines=["<l>"]).html()
    for bad in ("<h>", "<b>", "<t>", "<l>", "x<y"):
        assert bad not in shown.replace("<b>&lt;t&gt;</b>", "")
    assert "</span> &lt;b&gt;" in shown
    assert ">x&lt;y</code>" in shown
    assert 'scope="col"' in shown
    assert "prefers-color-scheme" not in shown
    assert "var(--jp-error-color1, #c62828)" in shown


ID = "11111111-2222-3333-4444-555555555555"
WIDE = Table(
    ["endpoint", "state", "workers", "free memory", "service", "id"],
    [
        ["local (default)", "● online", "2", "21.6 GiB", "the service of the whole group", ID],
        ["cluster", "○ not reached", "-", "-", "lab", ID],
    ],
    numbers=frozenset({2, 3}),
    folds=4,
)


def test_columns_without_room_stand_below_their_rows_and_nothing_is_lost():
    lines = WIDE.text().splitlines()
    assert lines[0].split() == ["endpoint", "state", "workers", "free", "memory"]
    assert lines[2] == "    service the service of the whole group,"
    assert lines[3] == f"    id {ID}"
    assert lines[5] == f"    service lab, id {ID}"
    assert max(map(len, lines)) <= 80
    shown = WIDE.html()
    assert 'colspan="5"' in shown
    assert f">id {ID}</td>" in shown
    assert shown.count("<th ") == 5


def test_columns_that_fit_stay_in_their_rows():
    narrow = Table(["a", "id"], [["1", ID]], folds=1)
    assert narrow.text() == f"a  id\n1  {ID}"
    assert "colspan" not in narrow.html()
    assert ID in Table(["a" * 100, "id"], [["1", ID]]).text().splitlines()[1]
