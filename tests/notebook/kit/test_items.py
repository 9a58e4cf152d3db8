"""What a cell prints and displays."""


def test_endless_printing_keeps_head_and_tail(shell):
    result = shell.there("for i in range(400_000):\n    print('line', i)")
    (item,) = result.items
    assert len(item["text"]) < 2_200_000
    assert item["text"].startswith("line 0\n")
    assert item["text"].endswith("line 399999\n")
    assert "left out" in item["text"]


def test_endless_printing_to_both_streams_is_cut_as_one(shell):
    result = shell.there(
        "import sys\nfor i in range(25_000):\n    print(i, 'x' * 100)\n"
        "    print(i, 'y' * 100, file=sys.stderr)"
    )
    texts = [item["text"] for item in result.items]
    assert sum(map(len, texts)) < 2_200_000
    assert texts[0] == "0 " + "x" * 100 + "\n"
    assert texts[-1] == "24999 " + "y" * 100 + "\n"
    assert [text for text in texts if "1 characters" in text] == []
    assert sum("left out" in text for text in texts) == 1
