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
