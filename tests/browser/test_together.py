"""Two people at one notebook, by `jupyter-collaboration`: both see all, and one of them writes."""

import re
from typing import Any

from browser.notebook import Notebook, assert_moves, assert_whole
from playwright.sync_api import BrowserContext, Page, expect

OPEN = "[...window.jupyterapp.shell.widgets('main')].find(one => one.sessionContext)"
MODEL = f"{OPEN}.content.model.sharedModel"
WATCH = f"""() => {{
  window.written = [];
  window.saves = 0;
  {OPEN}.context.saveState.connect(() => window.saves++);
  {MODEL}.ydoc.on('afterTransaction', done => {{
    if (done.local && done.changed.size) window.written.push(...done.changed.values());
  }});
}}"""
RECORD = f"{MODEL}.getMetadata('compute_nb')"


class Shared(Notebook):
    """A notebook that others have open too."""

    OWN = re.compile("Comm not found for comm id")  # of a comm of another's widgets that a new kernel refuses

    def open(self, *, reset: bool = True) -> None:
        """Goes on waiting where the document takes its time, of which collaboration asks after a while."""
        asked = self.page.get_by_role("button", name="Continue waiting")
        self.page.add_locator_handler(asked, lambda button: button.first.click())
        super().open(reset=reset)

    @property
    def others(self) -> list[str]:
        return [error for error in self.errors if not self.OWN.search(error)]

    def watch(self) -> None:
        """Notes from now on what this page changes in the notebook, and whether it saves."""
        self.page.evaluate(WATCH)

    @property
    def written(self) -> list[Any]:
        return list(self.page.evaluate("window.written"))

    @property
    def saves(self) -> int:
        return int(self.page.evaluate("window.saves"))

    @property
    def record(self) -> list[str]:
        """The ids of the groups in the record, as this page has it."""
        return [one["id"] for one in self.page.evaluate(RECORD)["task_groups"]]


def test_two_people_see_all_and_the_one_who_runs_the_cell_writes(
    shared_lab: Any, page: Page, other_browser: BrowserContext
) -> None:
    one = Shared(shared_lab, page, "together.ipynb").write()
    two = Shared(shared_lab, other_browser.new_page(), one.name, one.gate)
    try:
        one.open()
        two.open()
        for seen in (one, two):
            seen.watch()
        one.run(0)
        one.run(1)
        for seen in (one, two):
            assert_moves(seen)
            expect(seen.page.get_by_role("button", name="Compute: 1 running")).to_be_visible()
        one.restart()
        for seen in (one, two):
            assert_moves(seen)
        one.end()
        for seen in (one, two):
            assert_whole(seen)
            expect(seen.page.get_by_role("button", name="Compute:")).to_be_hidden()
    finally:
        one.release()
    one.saves_by_itself(SUCCEEDED=4)
    (group,) = one.groups()
    assert one.record == two.record == [group["id"]]
    assert one.written
    assert not two.written
    assert (one.saves, two.saves) == (0, 0)
