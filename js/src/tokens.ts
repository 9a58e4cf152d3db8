/** This module is the words shared by all parts: mime types, ids, and the shapes of what is shown. */

export const PLUGIN_ID = 'compute-nb:plugin';
export const PANEL_MIME = 'application/vnd.compute-nb.panel+json';
export const LIVE_MIME = 'application/vnd.compute-nb.live+json';
export const WIDGET_MIME = 'application/vnd.jupyter.widget-view+json';
export const COMM_TARGET = 'compute_nb.meta';

export const Commands = {
  reload: 'compute-nb:reload',
  show: 'compute-nb:show-groups'
} as const;

/** One task group as the notebook's record has it. */
export interface IEntry {
  readonly id: string;
  readonly endpoint: string;
  readonly cell_id: string | null;
  readonly name: string;
  readonly label: string;
  readonly tasks: number;
  /** Of the cell's source when it was submitted, "" if that is not known. */
  readonly source_hash: string;
  readonly submitted_at: string;
}

/** How many tasks are in which state; states without tasks are left out. */
export type Counts = Readonly<Record<string, number>>;

/** How a group stood when it was last heard of. Times are seconds since the epoch. */
export interface ISnapshot {
  readonly entry: IEntry;
  readonly counts: Counts;
  readonly startedAt: number | null;
  readonly endedAt: number | null;
}

export type GroupState = 'waiting' | 'running' | 'done' | 'failed' | 'cancelled' | 'unknown';

/** A group of a notebook, as lists show it. */
export interface IGroup {
  readonly entry: IEntry;
  readonly snapshot: ISnapshot | null;
  readonly live: boolean;
  /** Why the kernel does not follow it, "" if it has not said so. */
  readonly note: string;
}
