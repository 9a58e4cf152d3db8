/**
 * This module is the board: what is known now of the groups of each open notebook, beside what its file says.
 *
 * It is filled by messages of the notebook's own kernel only, and forgets a notebook when it is closed.
 */

import type { JSONObject } from '@lumino/coreutils';
import { ISignal, Signal } from '@lumino/signaling';
import { readSnapshot } from './snapshot';
import { Counts, ISnapshot, PANEL_MIME } from './tokens';

export interface INews<T> {
  readonly notebook: T;
  /** The group it is about; null if all of them. */
  readonly id: string | null;
}

interface IState {
  live: ReadonlyMap<string, string>;
  notes: Readonly<Record<string, string>>;
  readonly bundles: Map<string, JSONObject>;
  readonly changes: Map<string, readonly string[] | null>;
  /** Newer than the bundle of the same group. */
  readonly counts: Map<string, Counts>;
}

/** Keeps bindings and snapshots by notebook and group. `T` is whatever stands for an open notebook. */
export class Board<T extends object> {
  private readonly _states = new WeakMap<T, IState>();
  private readonly _changed = new Signal<this, INews<T>>(this);

  /** Emitted after every change. */
  get changed(): ISignal<this, INews<T>> {
    return this._changed;
  }

  /** Returns the widget that draws a group now, null if none does. */
  model(notebook: T, id: string): string | null {
    return this._states.get(notebook)?.live.get(id) ?? null;
  }

  /** Returns why the kernel does not follow a group, "" if it has not said so. */
  note(notebook: T, id: string): string {
    return this._states.get(notebook)?.notes[id] ?? '';
  }

  /** Takes all reasons of the kernel for not following groups. */
  setNotes(notebook: T, notes: Readonly<Record<string, string>>): void {
    this._state(notebook).notes = notes;
    this.touch(notebook);
  }

  /** Returns how the source of a group's cell differs from what ran, null if the kernel does not know. */
  changes(notebook: T, id: string): readonly string[] | null {
    return this._states.get(notebook)?.changes.get(id) ?? null;
  }

  /** Whether the kernel has been asked that and has answered. */
  hasChanges(notebook: T, id: string): boolean {
    return this._states.get(notebook)?.changes.has(id) ?? false;
  }

  /** Takes the kernel's answer. */
  setChanges(notebook: T, id: string, lines: readonly string[] | null): void {
    this._state(notebook).changes.set(id, lines);
    this._changed.emit({ notebook, id });
  }

  /** Returns the newest display data of a group, null if the kernel has sent none. */
  bundle(notebook: T, id: string): JSONObject | null {
    return this._states.get(notebook)?.bundles.get(id) ?? null;
  }

  /** Returns what the newest display data of a group says. */
  snapshot(notebook: T, id: string): ISnapshot | null {
    return readSnapshot(this.bundle(notebook, id)?.[PANEL_MIME]);
  }

  /** Returns the groups of which the kernel has sent display data. */
  heardOf(notebook: T): string[] {
    return [...(this._states.get(notebook)?.bundles.keys() ?? [])];
  }

  /** Takes the whole map from groups to widgets. */
  setLive(notebook: T, live: Readonly<Record<string, string>>): void {
    const state = this._state(notebook);
    const before = state.live;
    state.live = new Map(Object.entries(live));
    const named = new Set([...before.keys(), ...state.live.keys()]);
    for (const id of named) {
      if (before.get(id) !== state.live.get(id)) {
        this._changed.emit({ notebook, id });
      }
    }
  }

  /** Returns how many tasks of a group are in which state, null if its display data is as new. */
  counts(notebook: T, id: string): Counts | null {
    return this._states.get(notebook)?.counts.get(id) ?? null;
  }

  /** Takes how many tasks of a group are in which state. */
  setCounts(notebook: T, id: string, counts: Counts): void {
    this._state(notebook).counts.set(id, counts);
    this._changed.emit({ notebook, id });
  }

  /** Takes display data of a group. */
  setBundle(notebook: T, id: string, bundle: JSONObject): void {
    this._state(notebook).bundles.set(id, bundle);
    this._state(notebook).counts.delete(id);
    this._changed.emit({ notebook, id });
  }

  /** Forgets which widgets draw: their kernel is gone. Display data of the groups stays, and lists say what it says. */
  unbind(notebook: T): void {
    this._state(notebook).counts.clear();
    this.setLive(notebook, {});
    this.touch(notebook);
  }

  /** Says that something else of a notebook has changed: its record, its outputs; of one group, if that is named. */
  touch(notebook: T, id: string | null = null): void {
    this._changed.emit({ notebook, id });
  }

  private _state(notebook: T): IState {
    let state = this._states.get(notebook);
    if (state === undefined) {
      state = { live: new Map(), notes: {}, bundles: new Map(), changes: new Map(), counts: new Map() };
      this._states.set(notebook, state);
    }
    return state;
  }
}
