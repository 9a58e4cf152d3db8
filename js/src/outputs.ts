/** This module is the outputs of a notebook that hold panels: where they are, what they say, and writing them. */

import type { ICodeCellModel } from '@jupyterlab/cells';
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { IOutputModel } from '@jupyterlab/rendermime';
import { JSONExt, type JSONObject } from '@lumino/coreutils';
import { isObject, KEY, sourceHash } from './metadata';
import { readSnapshot } from './snapshot';
import { IEntry, ISnapshot, PANEL_MIME } from './tokens';

/** A panel in an output of a cell. */
export interface IPlaced {
  readonly cell: number;
  readonly output: IOutputModel;
  readonly snapshot: ISnapshot;
}

/** Returns the panels of a notebook from top to bottom. */
export function panels(notebook: NotebookPanel): IPlaced[] {
  const cells = notebook.content.model?.cells;
  const found: IPlaced[] = [];
  for (let index = 0; cells !== undefined && index < cells.length; index++) {
    const model = cells.get(index);
    if (model.type === 'code') {
      found.push(...ofCell(model as ICodeCellModel, index));
    }
  }
  return found;
}

function ofCell(model: ICodeCellModel, cell: number): IPlaced[] {
  const found: IPlaced[] = [];
  for (let place = 0; place < model.outputs.length; place++) {
    const output = model.outputs.get(place);
    const snapshot = readSnapshot(output.data[PANEL_MIME]);
    if (snapshot !== null) {
      found.push({ cell, output, snapshot });
    }
  }
  return found;
}

/** Puts what tasks gave into the outputs that their cells keep for it; returns whether anything has changed. */
export function writeResults(notebook: NotebookPanel, results: Readonly<Record<string, JSONObject>>): boolean {
  let changed = false;
  const cells = notebook.content.model?.cells;
  for (let index = 0; cells !== undefined && index < cells.length; index++) {
    const model = cells.get(index);
    const outputs = model.type === 'code' ? (model as ICodeCellModel).outputs : null;
    for (let place = 0; outputs !== null && place < outputs.length; place++) {
      const output = outputs.get(place);
      const data = results[keptFor(output.metadata)];
      if (data !== undefined && !JSONExt.deepEqual(output.data as JSONObject, data)) {
        output.setData({ data });
        changed = true;
      }
    }
  }
  return changed;
}

/** Returns the group for whose results an output is kept, "" if it is another output. */
function keptFor(metadata: unknown): string {
  const own = isObject(metadata) ? metadata[KEY] : null;
  return isObject(own) && typeof own.results === 'string' ? own.results : '';
}

/**
 * Returns the index of the cell that shows a group, failing that of the one that submitted it; -1 if neither is there.
 *
 * A cell with the source that ran comes before one that has but its id: nbstripout numbers all cells anew.
 */
export function cellOf(notebook: NotebookPanel, entry: Pick<IEntry, 'id' | 'cell_id' | 'source_hash'>): number {
  const shown = panels(notebook).find(one => one.snapshot.entry.id === entry.id);
  if (shown !== undefined) {
    return shown.cell;
  }
  const cells = notebook.content.model?.cells;
  const all = cells === undefined ? [] : Array.from({ length: cells.length }, (_, index) => cells.get(index));
  const hasId = (index: number) => entry.cell_id !== null && all[index].id === entry.cell_id;
  const same = [...all.keys()].filter(
    index => entry.source_hash !== '' && sourceHash(all[index].sharedModel.getSource()) === entry.source_hash
  );
  return same.find(hasId) ?? same[0] ?? all.findIndex((_, index) => hasId(index));
}

/** Returns the ids of all cells. */
export function cellIds(notebook: NotebookPanel): string[] {
  const cells = notebook.content.model?.cells;
  return cells === undefined ? [] : Array.from({ length: cells.length }, (_, index) => cells.get(index).id);
}

/** Returns whether every code cell is trusted. */
export function isTrusted(notebook: NotebookPanel): boolean {
  const cells = notebook.content.model?.cells;
  return (
    cells !== undefined &&
    Array.from({ length: cells.length }, (_, index) => cells.get(index)).every(
      cell => cell.type !== 'code' || cell.trusted
    )
  );
}

/**
 * Puts display data into the outputs that show these groups; returns whether anything has changed.
 *
 * It goes into the file and to the other pages of a collaboration, and does not count as an edit.
 */
export function write(notebook: NotebookPanel, bundles: ReadonlyMap<string, JSONObject>): boolean {
  let changed = false;
  for (const { output, snapshot } of panels(notebook)) {
    const bundle = bundles.get(snapshot.entry.id);
    if (bundle !== undefined && !JSONExt.deepEqual(output.data as JSONObject, bundle)) {
      output.setData({ data: bundle });
      changed = true;
    }
  }
  return changed;
}
