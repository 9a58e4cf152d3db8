"""This module is the backlog: messages to pages that wait to be sent.

What says the same of several groups goes in one message: many short cells in a row are a few messages.
"""

from __future__ import annotations

from collections.abc import Sequence

from compute_nb.notebook.memory.messages import Message


def queued(waiting: Sequence[Message], message: Message) -> list[Message]:
    """Returns what waits to be sent with one message more: what says the same of other groups goes with it.

    That all was said stays the last of them.
    """
    if message["kind"] == "forget":
        gone = message["id"]
        return _last([*(_without(one, gone) for one in waiting), message])
    alike = [one for one in waiting if _joins(one, message)]
    joined: Message = message
    for one in reversed(alike):
        joined = _joined(one, joined)
    return _last([*(one for one in waiting if not _joins(one, message)), joined])


def _last(messages: Sequence[Message]) -> list[Message]:
    return sorted(messages, key=lambda one: one["kind"] == "heard")


def _joins(one: Message, other: Message) -> bool:
    if one["kind"] == "heard" and other["kind"] == "heard":
        return one["client"] == other["client"]
    return one["kind"] == other["kind"] and one["kind"] not in ("forget", "changes")


def _joined(before: Message, after: Message) -> Message:
    if before["kind"] == "record" and after["kind"] == "record":
        entries = {one["id"]: one for one in (*before["entries"], *after["entries"])}
        return {**after, "entries": list(entries.values())}
    if before["kind"] == "snapshots" and after["kind"] == "snapshots":
        ended = [one for one in before["ended"] if one not in after["bundles"]]
        return {
            **after,
            "bundles": {**before["bundles"], **after["bundles"]},
            "ended": [*ended, *after["ended"]],
        }
    if before["kind"] == "counts" and after["kind"] == "counts":
        return {**after, "counts": {**before["counts"], **after["counts"]}}
    if before["kind"] == "results" and after["kind"] == "results":
        return {**after, "results": {**before["results"], **after["results"]}}
    return after  # it tells all of its kind


def _without(message: Message, group_id: str) -> Message:
    if message["kind"] != "record":
        return message
    return {**message, "entries": [one for one in message["entries"] if one["id"] != group_id]}
