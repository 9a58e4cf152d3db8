/**
 * This module is the messages on the comm `compute_nb.meta`; their twin is `compute_nb/notebook/memory/messages.py`.
 *
 * Every message has a `kind`; unknown kinds and unreadable messages are passed over, so that a kernel and a page
 * of different versions get along. `writer` is the client id of the one page that may change the notebook.
 */

import type { JSONObject, JSONValue } from '@lumino/coreutils';
import { isObject } from './metadata';
import { readCounts } from './snapshot';
import { COMM_TARGET, Counts } from './tokens';

/** Which widget draws which group now; groups that are not named have none. */
export interface ILive {
  readonly kind: 'live';
  readonly live: Readonly<Record<string, string>>;
}

/** Groups were submitted: their entries belong into the record, and the notebook is to be saved. */
export interface IRecord {
  readonly kind: 'record';
  readonly entries: readonly JSONObject[];
  readonly writer: string | null;
}

/** A group is to be dropped from the record. */
export interface IForget {
  readonly kind: 'forget';
  readonly id: string;
  readonly writer: string | null;
}

/** How groups stand, as display data for their outputs; `ended` names those that change no more. */
export interface ISnapshots {
  readonly kind: 'snapshots';
  readonly bundles: Readonly<Record<string, JSONObject>>;
  readonly ended: readonly string[];
  readonly writer: string | null;
}

/** How many tasks of open groups are in which state; told as often as their panels move. */
export interface ICounts {
  readonly kind: 'counts';
  readonly counts: Readonly<Record<string, Counts>>;
}

/** What tasks gave that a cell of before has submitted, as display data for the output kept for it. */
export interface IResults {
  readonly kind: 'results';
  readonly results: Readonly<Record<string, JSONObject>>;
  readonly writer: string | null;
}

/** Why the kernel does not follow some groups; groups that are not named have no such reason. */
export interface INotes {
  readonly kind: 'notes';
  readonly notes: Readonly<Record<string, string>>;
}

/** How the source of a group's cell differs from what ran; null if the kernel does not know. */
export interface IChanges {
  readonly kind: 'changes';
  readonly id: string;
  readonly lines: readonly string[] | null;
}

/** What a page has told of its notebook has come, and all that it may have missed is said. */
export interface IHeardOf {
  readonly kind: 'heard';
  readonly client: string;
}

export type KernelMessage = ILive | IRecord | IForget | ISnapshots | ICounts | IResults | INotes | IChanges | IHeardOf;

/** What a page tells of its notebook, when the kernel opens the comm and after the page was loaded. */
export interface INotebookMessage {
  readonly kind: 'notebook';
  readonly path: string;
  readonly record: JSONValue;
  readonly cells: readonly string[];
  readonly client: string;
  /** The client id that this browser tab had before it was loaded again. */
  readonly previous: string | null;
}

/** Asks how the source of a group's cell differs from what ran. */
export interface IChangesMessage {
  readonly kind: 'changes';
  readonly id: string;
  readonly source: string;
}

/** What the kernel has said, and the comm on which it is answered. */
export interface IHeard {
  readonly comm: string;
  readonly message: KernelMessage | null;
}

/** Returns what a message on IOPub says to this plugin, null if it is meant for others. */
export function heard(type: string, content: unknown): IHeard | null {
  const data = type === 'comm_msg' && isObject(content) ? content.data : null;
  return isObject(content) && isObject(data) && data.target === COMM_TARGET
    ? { comm: String(content.comm_id), message: readMessage(data) }
    : null;
}

/** Returns a message from the kernel, null if it is none that is known. */
export function readMessage(value: unknown): KernelMessage | null {
  if (!isObject(value)) {
    return null;
  }
  const writer = typeof value.writer === 'string' ? value.writer : null;
  switch (value.kind) {
    case 'live':
      return { kind: 'live', live: texts(value.live) };
    case 'record':
      return Array.isArray(value.entries)
        ? { kind: 'record', entries: value.entries.filter(isObject) as JSONObject[], writer }
        : null;
    case 'forget':
      return typeof value.id === 'string' ? { kind: 'forget', id: value.id, writer } : null;
    case 'snapshots': {
      const ended = Array.isArray(value.ended) ? value.ended.filter(one => typeof one === 'string') : [];
      return { kind: 'snapshots', bundles: objects(value.bundles), ended, writer };
    }
    case 'counts': {
      const pairs = Object.entries(objects(value.counts)).map(([id, counts]) => [id, readCounts(counts)]);
      return { kind: 'counts', counts: Object.fromEntries(pairs) };
    }
    case 'results':
      return { kind: 'results', results: objects(value.results), writer };
    case 'notes':
      return { kind: 'notes', notes: texts(value.notes) };
    case 'changes': {
      const lines = Array.isArray(value.lines) ? value.lines.filter(one => typeof one === 'string') : null;
      return typeof value.id === 'string' ? { kind: 'changes', id: value.id, lines } : null;
    }
    case 'heard':
      return typeof value.client === 'string' ? { kind: 'heard', client: value.client } : null;
    default:
      return null;
  }
}

function objects(value: unknown): Record<string, JSONObject> {
  const pairs = Object.entries(isObject(value) ? value : {}).filter(([, one]) => isObject(one));
  return Object.fromEntries(pairs) as Record<string, JSONObject>;
}

function texts(value: unknown): Record<string, string> {
  const pairs = Object.entries(isObject(value) ? value : {}).filter(([, one]) => typeof one === 'string');
  return Object.fromEntries(pairs) as Record<string, string>;
}
