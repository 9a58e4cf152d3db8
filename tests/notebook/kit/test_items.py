"""What a cell prints and displays."""


def test_endless_printing_keeps_head_and_tail(shell):
    result = shell.there("for i in range(400_000):\n    print('line', i)")
    (item,) = result.items
    assert len(item["text"]) < 2_200_000
    assert item["text"].startswith("line 0\n")
    assert item["text"].endswith("line 399999\n")
    assert "left out" in item["text"]
