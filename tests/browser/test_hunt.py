import json, re, os, signal, time
import pytest
from browser.notebook import PANEL, Notebook, assert_moves, assert_whole
from playwright.sync_api import expect
HOOK = """() => {
 const start = performance.now();
 window.seen = [];
 const say = (...a) => window.seen.push([Math.round(performance.now()-start), ...a]);
 const it = [...window.jupyterapp.shell.widgets('main')].find(w => w.sessionContext);
 it.sessionContext.statusChanged.connect((_, s) => say('STATUS', s));
 it.sessionContext.connectionStatusChanged.connect((_, s) => say('CONNECTION', s));
 const hook = k => k && k.anyMessage.connect((_, a) => { const m = a.msg; const t = m.header.msg_type; if (t=='comm_msg' && m.content.data && m.content.data.method) return; if (t=='comm_open') return; say(a.direction, m.channel, t, m.header.session.slice(0,6), (m.content.comm_id||m.content.execution_state||'').slice(0,8), (m.content.data && m.content.data.kind) || m.content.code || '', Object.keys(m.content.comms||{}).join()) });
 it.sessionContext.kernelChanged.connect((_, c) => {say('KERNEL CHANGED'); hook(c.newValue)});
 hook(it.sessionContext.session?.kernel);
}"""
@pytest.mark.parametrize("again", range(int(os.environ.get("TURNS", "1"))))
def test_hunt(lab, page, again):
    if not lab.options: lab.stop(); lab.options = ["--LabApp.expose_app_in_browser=True"]; lab.start()
    one = Notebook(lab, page, f"hunt{again}.ipynb").write()
    one.begin()
    expect(page.locator(".jp-mod-dirty")).to_have_count(0)
    told = page.get_by_role("button", name="Ok", exact=True)
    bad = 0
    try:
      for turn in range(4):
        page.evaluate(HOOK)
        one.run_text("import os; print(os.getpid())")
        expect(one.output(3)).to_contain_text(re.compile(r"\d"))
        t = time.monotonic()
        os.kill(int(one.output(3).inner_text()), signal.SIGKILL)
        try:
            told.first.wait_for()
            told.first.click()
            expect(one.output(1).get_by_role("button", name="cancel")).to_be_visible(timeout=30000)
        except Exception as e:
            bad += 1
            print("BAD after kill", turn, str(e)[:200])
            for line in page.evaluate("window.seen"): print(line)
        print(turn, "ok after kill", round(time.monotonic()-t, 2), flush=True)
        one.open(reset=False)
        try:
            page.evaluate(HOOK)
            expect(one.output(1).get_by_role("button", name="cancel")).to_be_visible(timeout=30000)
        except Exception as e:
            bad += 1
            print("BAD after reload", turn, str(e)[:200])
            for line in page.evaluate("window.seen"): print(line)
        if turn % 3 == 2:
            one.restart(); one.open(reset=False)
            try:
                expect(one.output(1).get_by_role("button", name="cancel")).to_be_visible(timeout=30000)
            except Exception as e:
                bad += 1
                print("BAD after restart+reload", turn, str(e)[:200])
        print(turn, "ok", round(time.monotonic()-t, 2), flush=True)
    finally:
        one.release()
    print("bad", bad, one.errors)
    assert not bad
