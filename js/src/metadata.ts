/**
 * This module is the record: the only owner of the notebook's metadata key `compute_nb`.
 *
 * Its twin in the kernel is `compute_nb/notebook/runs/record.py`; both are tested with the same file. What can't be
 * read counts as none and stays where it is; what a newer version wrote is shown and never rewritten.
 */

import { JSONExt, type ReadonlyPartialJSONValue } from '@lumino/coreutils';
import { sha256 } from './sha256';
import type { IEntry } from './tokens';

export const KEY = 'compute_nb';
export const VERSION = 1;
export const MAX_GROUPS = 50;
export const MAX_BYTES = 32 * 1024;

/** What the record needs of a notebook's shared model. */
export interface IMetadataHolder {
  getMetadata(key: string): unknown;
  setMetadata(key: string, value: any): void;
}

type Raw = Record<string, unknown>;

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const CELL_ID = /^[a-zA-Z0-9_-]{1,64}$/;
const TIME = /^[12]\d{3}-(0[1-9]|1[0-2])-[0-3]\dT[0-2]\d:[0-5]\d:[0-5]\dZ$/;
const TEXTS = ['service', 'endpoint', 'name', 'label', 'source_hash', 'key'];
const LISTS = ['outputs', 'map'];
const IDS = ['service_id', 'endpoint_id'];

/** Returns an entry, null if it is none; what is missing counts as empty. */
export function readEntry(value: unknown): IEntry | null {
  if (!isObject(value) || !matches(value.id, UUID) || !matches(value.submitted_at, TIME)) {
    return null;
  }
  const given = (name: string) => value[name] !== undefined && value[name] !== null;
  const wrong =
    TEXTS.some(name => given(name) && typeof value[name] !== 'string') ||
    LISTS.some(name => given(name) && !isTexts(value[name])) ||
    IDS.some(name => given(name) && !matches(value[name], UUID)) ||
    !Number.isSafeInteger(value.tasks) ||
    (value.tasks as number) < 0;
  if (wrong) {
    return null;
  }
  return {
    id: value.id as string,
    endpoint: text(value.endpoint),
    cell_id: matches(value.cell_id, CELL_ID) ? (value.cell_id as string) : null,
    name: text(value.name),
    label: text(value.label),
    tasks: value.tasks as number,
    source_hash: text(value.source_hash),
    submitted_at: value.submitted_at as string
  };
}

/** Returns the hash of a cell's source that does not change when it is saved or reformatted at its end. */
export function sourceHash(source: string): string {
  return `sha256:${sha256(source.replace(/\r\n?/g, '\n').replace(/[ \t\n\f\v]+$/, ''))}`;
}

/** Returns the entries of a notebook, oldest first; none if there is no record or it can't be read. */
export function entries(holder: IMetadataHolder): IEntry[] {
  return slots(holder.getMetadata(KEY))
    .map(readEntry)
    .filter(entry => entry !== null);
}

/** Returns the record as it stands, for the kernel. */
export function raw(holder: IMetadataHolder): unknown {
  return holder.getMetadata(KEY) ?? null;
}

/**
 * Puts an entry into the record, in the place of one with the same id.
 *
 * @param finished Says whether a group is known to have ended; those go first when there are too many.
 * @returns Whether the record has changed.
 */
export function add(holder: IMetadataHolder, entry: unknown, finished: (id: string) => boolean): boolean {
  const read = readEntry(entry);
  if (read === null) {
    return false;
  }
  return rewrite(holder, before => {
    const others = before.filter(one => readEntry(one)?.id !== read.id);
    return capped(sorted([...others, entry]), finished, read.id);
  });
}

/** Takes a group out of the record; returns whether it was there. */
export function forget(holder: IMetadataHolder, id: string): boolean {
  return rewrite(holder, before => before.filter(one => readEntry(one)?.id !== id));
}

function rewrite(holder: IMetadataHolder, change: (before: unknown[]) => unknown[]): boolean {
  const value = holder.getMetadata(KEY) ?? null;
  if (value !== null && !(isObject(value) && value.version === VERSION && Array.isArray(value.task_groups))) {
    return false;
  }
  const after = { ...(value ?? {}), version: VERSION, task_groups: change(slots(value)) };
  if (value === null ? !after.task_groups.length : same(value, after)) {
    return false;
  }
  holder.setMetadata(KEY, after);
  return true;
}

/** Returns whether two values say the same; a file that was saved has its keys in another order. */
function same(a: unknown, b: unknown): boolean {
  return JSONExt.deepEqual(a as ReadonlyPartialJSONValue, b as ReadonlyPartialJSONValue);
}

/** Orders entries by their submit; what is no entry keeps its place. */
function sorted(values: unknown[]): unknown[] {
  const readable = values.filter(value => readEntry(value) !== null) as Raw[];
  readable.sort((a, b) => compare(a.submitted_at as string, b.submitted_at as string));
  return values.map(value => (readEntry(value) === null ? value : readable.shift()));
}

function capped(values: unknown[], finished: (id: string) => boolean, keep: string): unknown[] {
  let kept = values;
  for (;;) {
    const read = kept.map(readEntry);
    const ids = read.flatMap(entry => (entry === null || entry.id === keep ? [] : [entry.id]));
    const readable = kept.filter((_, index) => read[index] !== null);
    if (!ids.length || (readable.length <= MAX_GROUPS && bytes(readable) <= MAX_BYTES)) {
      return kept;
    }
    const gone = ids.find(finished) ?? ids[0];
    kept = kept.filter((_, index) => read[index]?.id !== gone);
  }
}

function bytes(value: unknown): number {
  return new TextEncoder().encode(JSON.stringify(value)).length;
}

function slots(value: unknown): unknown[] {
  return isObject(value) && Number.isSafeInteger(value.version) && Array.isArray(value.task_groups)
    ? value.task_groups
    : [];
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

export function isObject(value: unknown): value is Raw {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function matches(value: unknown, pattern: RegExp): boolean {
  return typeof value === 'string' && pattern.test(value);
}

function isTexts(value: unknown): boolean {
  return Array.isArray(value) && value.every(one => typeof one === 'string');
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
