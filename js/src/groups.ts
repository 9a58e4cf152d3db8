/** This module is the groups of one notebook: its record, its panels and what the kernel has said, as one list. */

import type { NotebookPanel } from '@jupyterlab/notebook';
import type { Board } from './board';
import * as metadata from './metadata';
import * as outputs from './outputs';
import { failed, isOver, stateOf } from './snapshot';
import type { Counts, IGroup, ISnapshot } from './tokens';

/** Returns all groups of a notebook, the newest first. */
export function groupsOf(notebook: NotebookPanel, board: Board<NotebookPanel>): IGroup[] {
  const holder = notebook.content.model?.sharedModel as metadata.IMetadataHolder | undefined;
  const found = new Map<string, IGroup>();
  const put = (entry: IGroup['entry'], saved: ISnapshot | null) => {
    const told = board.snapshot(notebook, entry.id) ?? saved ?? found.get(entry.id)?.snapshot ?? null;
    const snapshot = newest(entry, told, board.counts(notebook, entry.id));
    found.set(entry.id, { entry, snapshot, live: board.model(notebook, entry.id) !== null, note: board.note(notebook, entry.id) });
  };
  for (const entry of holder === undefined ? [] : metadata.entries(holder)) {
    put(entry, null);
  }
  for (const { snapshot } of outputs.panels(notebook)) {
    put(found.get(snapshot.entry.id)?.entry ?? snapshot.entry, snapshot);
  }
  return [...found.values()].sort((a, b) => (a.entry.submitted_at < b.entry.submitted_at ? 1 : -1));
}

/** Returns a snapshot with counts that came after it, if any did. */
export function newest(entry: IGroup['entry'], snapshot: ISnapshot | null, counts: Counts | null): ISnapshot | null {
  return counts === null ? snapshot : { ...(snapshot ?? { entry, startedAt: null, endedAt: null }), counts };
}

/** Returns "2 running, 1 failed", "" if neither; groups of which nothing is known count as neither. */
export function summary(groups: readonly IGroup[]): string {
  const open = groups.filter(group => group.snapshot !== null && !isOver(group.snapshot)).length;
  const bad = groups.filter(group => group.snapshot !== null && failed(group.snapshot)).length;
  return [open ? `${open} running` : '', bad ? `${bad} failed` : ''].filter(Boolean).join(', ');
}

/** Returns the group's state, for signs and words. */
export function groupState(group: IGroup): ReturnType<typeof stateOf> {
  return stateOf(group.snapshot);
}
