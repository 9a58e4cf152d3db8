/** This module is the snapshot: what a panel's JSON says, and the words for it. */

import { isObject, readEntry } from './metadata';
import type { Counts, GroupState, ISnapshot } from './tokens';

const WORDS: Readonly<Record<string, string>> = {
  SUCCEEDED: 'done',
  RUNNING: 'running',
  DELIVERED: 'taken',
  WAITING: 'waiting',
  FAILED: 'failed',
  CANCELLED: 'cancelled',
  LOST: 'lost'
};
const ENDS = ['SUCCEEDED', 'FAILED', 'CANCELLED', 'LOST'];

/** Returns what a panel's JSON says, null if it says nothing that can be read. */
export function readSnapshot(value: unknown): ISnapshot | null {
  if (!isObject(value)) {
    return null;
  }
  const entry = readEntry(value.entry);
  if (entry === null) {
    return null;
  }
  return {
    entry,
    counts: readCounts(value.counts),
    startedAt: time(value.started_at),
    endedAt: time(value.ended_at)
  };
}

/** Returns how many tasks are in which state, as far as it can be read. */
export function readCounts(value: unknown): Counts {
  const counts: Record<string, number> = {};
  for (const [state, count] of Object.entries(isObject(value) ? value : {})) {
    const known = state.toUpperCase();
    if (known in WORDS && Number.isSafeInteger(count) && (count as number) > 0) {
      counts[known] = count as number;
    }
  }
  return counts;
}

/** Returns how many tasks have ended in whatever way. */
export function ended(snapshot: ISnapshot): number {
  return ENDS.reduce((sum, state) => sum + (snapshot.counts[state] ?? 0), 0);
}

/** Returns how many tasks ended without a value and were not cancelled. */
export function failed(snapshot: ISnapshot): number {
  return (snapshot.counts.FAILED ?? 0) + (snapshot.counts.LOST ?? 0);
}

/** Returns one word for all tasks together. */
export function stateOf(snapshot: ISnapshot | null): GroupState {
  if (snapshot === null) {
    return 'unknown';
  }
  const done = ended(snapshot);
  if (done < snapshot.entry.tasks) {
    return done || snapshot.counts.RUNNING ? 'running' : 'waiting';
  }
  if (failed(snapshot)) {
    return 'failed';
  }
  return snapshot.counts.CANCELLED ? 'cancelled' : 'done';
}

/** Returns whether no task is open. */
export function isOver(snapshot: ISnapshot | null): boolean {
  return snapshot !== null && ended(snapshot) >= snapshot.entry.tasks;
}

/** Returns "31 of 40 done, 1 failed". */
export function sentence(snapshot: ISnapshot): string {
  const done = `${snapshot.counts.SUCCEEDED ?? 0} of ${snapshot.entry.tasks} done`;
  const others = Object.keys(WORDS).filter(state => state !== 'SUCCEEDED' && snapshot.counts[state]);
  return [done, ...others.map(state => `${snapshot.counts[state]} ${WORDS[state]}`)].join(', ');
}

/** Returns what people call the group. */
export function title(snapshot: Pick<ISnapshot, 'entry'>): string {
  return snapshot.entry.label || snapshot.entry.name || `group ${snapshot.entry.id.slice(0, 8)}`;
}

function time(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}
