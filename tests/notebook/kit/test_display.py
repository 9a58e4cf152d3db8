"""Display data as a notebook would make it."""


def test_a_bundle_is_asked_for_as_ipython_does(shell):
    result = shell.there(
        "class A:\n    def _repr_mimebundle_(self, include, exclude):\n"
        "        return {'text/html': '<b>x</b>'}\nA()"
    )
    assert result.display[0]["text/html"] == "<b>x</b>"
    assert result.items == []
