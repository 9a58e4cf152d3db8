"""This module is the look of panels: their style, with the theme's colours where there are any.

Colours fall back to JupyterLab's theme, VS Code's, and then to tones that can be read on white and on black.
What says something by colour says it by a mark or a pattern too.
"""

from __future__ import annotations

import html
import re

from compute_nb.tasks import TaskState

GOOD = "var(--jp-success-color1, var(--vscode-testing-iconPassed, #388e3c))"
BAD = "var(--jp-error-color1, var(--vscode-testing-iconFailed, #d32f2f))"
WARN = "var(--jp-warn-color0, var(--vscode-charts-orange, #c77700))"
BUSY = "var(--jp-brand-color1, var(--vscode-charts-blue, #1976d2))"
FAINT = "var(--jp-border-color1, rgba(128,128,128,.55))"
_TRACK = "var(--jp-layout-color3, rgba(128,128,128,.3))"
_SHADE = "var(--jp-layout-color2, rgba(128,128,128,.12))"
_STRIPES = "repeating-linear-gradient(45deg,transparent 0 3px,rgba(255,255,255,.45) 3px 6px)"
_BARS = "repeating-linear-gradient(90deg,transparent 0 5px,rgba(255,255,255,.45) 5px 8px)"

BOX = (
    "font-family:var(--jp-ui-font-family, system-ui, sans-serif);font-size:13px;line-height:1.5;"
    "color:var(--jp-ui-font-color1, inherit);overflow-wrap:anywhere"
)
PRE = (
    "margin:4px 0;padding:4px 8px;max-height:20em;overflow:auto;white-space:pre-wrap;"
    "font-family:var(--jp-code-font-family, monospace);font-size:12px;line-height:1.4;"
    f"background:{_SHADE};color:inherit"
)
_BEFORE_EMPTY = re.compile(r"\n(?=[ \t\r]*\n)")
SUMMARY = "cursor:pointer;width:fit-content"
ASIDE = "opacity:.75;font-size:12px"
TRACK = f"display:flex;height:8px;margin:4px 0;overflow:hidden;border-radius:4px;background:{_TRACK}"
ID = (
    "user-select:all;-webkit-user-select:all;font-family:var(--jp-code-font-family, monospace);font-size:11px"
)

SEGMENTS = (
    (TaskState.SUCCEEDED, GOOD),
    (TaskState.FAILED, f"{_STRIPES},{BAD}"),
    (TaskState.LOST, f"{_STRIPES},{BAD}"),
    (TaskState.CANCELLED, WARN),
    (TaskState.RUNNING, f"{_BARS},{BUSY}"),
)
GLYPHS = {
    TaskState.SUCCEEDED: ("✓", GOOD),
    TaskState.RUNNING: ("▸", BUSY),
    TaskState.DELIVERED: ("◌", "inherit"),
    TaskState.WAITING: ("○", "inherit"),
    TaskState.FAILED: ("✗", BAD),
    TaskState.LOST: ("?", BAD),
    TaskState.CANCELLED: ("–", WARN),
}

EXIT = ("!", WARN)
UNSEEN = "position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)"

# Of the widget alone: what stays in the file reads well without, also where it would be text (Markdown).
# The last: nothing is said twice, by the widget and by the panel that outlives it and its kernel.
STYLE = f"""<style>
.cnb-box, .cnb-box > .widget-html, .cnb-box .cnb-part {{ overflow: hidden; margin: 0 }}
.cnb-box .widget-html-content {{ line-height: 1.5 }}
.cnb-box button.jupyter-button.widget-button:focus-visible,
.cnb-box summary:focus-visible, .cnb-panel summary:focus-visible {{
  outline: 2px solid {BUSY}; outline-offset: 1px }}
.cnb-panel summary, .cnb-box summary {{ cursor: pointer; width: fit-content }}
.cnb-aside {{ {ASIDE} }}
.cnb-unseen {{ {UNSEEN} }}
.cnb-squares {{ display: flex; flex-wrap: wrap; gap: 2px; margin: 5px 0 3px; max-width: 1060px }}
.cnb-squares i {{ box-sizing: border-box; width: 11px; height: 11px; border: 1px solid {FAINT};
  border-radius: 2px; font: bold 9px/9px sans-serif; text-align: center; color: {BUSY};
  background: linear-gradient(to top, {GOOD} var(--p, 0%), transparent 0) }}
.cnb-squares.cnb-big i {{ width: 16px; height: 16px; border-radius: 3px; font-size: 12px; line-height: 14px }}
.cnb-squares i.s {{ border-color: {GOOD}; background: {GOOD} }}
.cnb-squares i.z {{ --p: 100% }}
.cnb-squares i.d {{ border-style: dashed }}
.cnb-squares i.r {{ border-color: {BUSY}; border-width: 2px; line-height: 7px }}
.cnb-squares.cnb-big i.r {{ line-height: 12px }}
.cnb-squares i.c {{ border: 2px dotted {WARN}; color: {WARN}; line-height: 6px }}
.cnb-squares.cnb-big i.c {{ line-height: 11px }}
.cnb-squares i.f {{ border-color: {BAD}; border-radius: 0; color: #fff; background: {BAD} }}
.cnb-squares i.l {{ border-color: {BAD}; border-radius: 6px; color: #fff; background: {_STRIPES}, {BAD} }}
.cnb-fold:not(:has(details[open])) + .cnb-folded {{ display: none }}
.jp-OutputArea:has(.cnb-final) .cnb-live,
.jp-OutputArea:has(.cnb-box:not(.jupyter-widgets-disconnected)) .cnb-begun,
.jp-OutputArea:has(.cnb-panel) .cnb-box.jupyter-widgets-disconnected {{ display: none }}
</style>"""

# A widget that died with its kernel would only say that it is not found.
DEAD = """<style>.jp-OutputArea:has(.cnb-panel) > .jp-OutputArea-child:has(> .jupyter-widgets)\
:not(:has(> .jupyter-widgets > *)) { display: none }</style>"""


def unbroken(markup: str) -> str:
    """Returns HTML without empty lines, at which Markdown would take what follows for its own text."""
    return _BEFORE_EMPTY.sub("&#10;", markup)


def unseen(text: str) -> str:
    """Returns text that a screen reader says when it comes, and eyes do not see."""
    return f'<div role="status" aria-live="polite" class="cnb-unseen">{html.escape(text)}</div>'


def fold(summary: str, *, is_open: bool = False) -> str:
    """Returns a line that shows and hides the widget after its own; no kernel is needed to open it."""
    return f'<details style="{BOX}"{" open" * is_open}><summary>{html.escape(summary)}</summary></details>'


def tail(markup: str) -> str:
    """Returns printed text of which one sees the end first, also after it was replaced."""
    return f'<pre style="{PRE};display:flex;flex-direction:column-reverse"><span>{markup}</span></pre>'
