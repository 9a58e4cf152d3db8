/** This module is the side panel: all groups of the notebook in front, and the way to their cells. */

import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import type { Message } from '@lumino/messaging';
import { Widget } from '@lumino/widgets';
import type { Board } from './board';
import { groupsOf, groupState } from './groups';
import { cellOf } from './outputs';
import { sentence, title } from './snapshot';
import type { IGroup } from './tokens';
import { bar, element, glyph, moment } from './view';

const GONE = 'Its cell is not in this notebook any more.';

/** Draws itself when it is looked at and something has changed. */
export class SidePanel extends Widget {
  private readonly _list = element('ul', 'cnbp-list');

  constructor(
    private readonly _tracker: INotebookTracker,
    private readonly _board: Board<NotebookPanel>,
    private readonly _reload: () => void,
    leave: () => void
  ) {
    super();
    this.addClass('cnbp-side');
    this.node.setAttribute('aria-label', 'Compute tasks');
    this.node.addEventListener('keydown', event => {
      if (event.key === 'Escape') {
        event.preventDefault();
        event.stopPropagation();
        leave();
      }
    });
    const head = element('div', 'cnbp-side-head');
    const button = element('button', 'cnbp-button', 'Reload compute tasks') as HTMLButtonElement;
    button.type = 'button';
    button.addEventListener('click', () => this._reload());
    head.append(element('h2', 'cnbp-side-title', 'Compute tasks'), button);
    this._list.setAttribute('aria-label', 'Task groups of this notebook');
    this.node.append(head, this._list);
    _tracker.currentChanged.connect(this._changed, this);
    _board.changed.connect(this._changed, this);
  }

  dispose(): void {
    if (!this.isDisposed) {
      this._tracker.currentChanged.disconnect(this._changed, this);
      this._board.changed.disconnect(this._changed, this);
    }
    super.dispose();
  }

  /** Whoever opens it by keyboard stands at the first group. */
  protected onActivateRequest(message: Message): void {
    super.onActivateRequest(message);
    this._draw();
    const first = this._list.querySelector<HTMLElement>('.cnbp-jump:enabled');
    (first ?? this.node.querySelector<HTMLElement>('.cnbp-button'))?.focus();
  }

  protected onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.update();
  }

  protected onUpdateRequest(message: Message): void {
    super.onUpdateRequest(message);
    this._draw();
  }

  private _draw(): void {
    const notebook = this._tracker.currentWidget;
    const groups = notebook === null ? [] : groupsOf(notebook, this._board);
    const focused = this._focused();
    this._list.replaceChildren(
      ...(notebook === null || !groups.length
        ? [element('li', 'cnbp-empty', notebook === null ? 'No notebook is open.' : 'Nothing was submitted from here.')]
        : groups.map(group => this._row(notebook, group)))
    );
    this._list.querySelector<HTMLElement>(`[data-group="${focused}"]`)?.focus();
  }

  private _changed(): void {
    if (this.isVisible) {
      this.update();
    }
  }

  private _focused(): string {
    const node = document.activeElement;
    return node instanceof HTMLElement && this.node.contains(node) ? node.dataset.group ?? '' : '';
  }

  private _row(notebook: NotebookPanel, group: IGroup): HTMLElement {
    const { entry, snapshot } = group;
    const row = element('li', 'cnbp-row');
    const button = element('button', 'cnbp-jump') as HTMLButtonElement;
    const there = cellOf(notebook, entry) >= 0;
    button.type = 'button';
    button.dataset.group = entry.id;
    button.disabled = !there;
    button.title = there ? 'Go to its cell' : GONE;
    button.addEventListener('click', () => void jump(notebook, group));
    const told = snapshot === null ? 'not heard of yet' : sentence(snapshot);
    button.append(
      glyph(groupState(group)),
      element('b', '', title({ entry })),
      element('span', 'cnbp-told-row', `${entry.endpoint}: ${told}`),
      element('span', 'cnbp-aside', moment(entry.submitted_at))
    );
    row.append(button);
    if (snapshot !== null) {
      row.append(bar(snapshot));
    }
    if (!there) {
      row.append(element('div', 'cnbp-note', GONE));
    }
    if (group.note) {
      row.append(element('span', 'cnbp-note', group.note));
    }
    return row;
  }
}

/** Goes to the cell of a group. */
async function jump(notebook: NotebookPanel, group: IGroup): Promise<void> {
  const index = cellOf(notebook, group.entry);
  if (index < 0) {
    return;
  }
  notebook.content.activeCellIndex = index;
  notebook.content.deselectAll();
  await notebook.content.scrollToItem(index, 'smart');
  notebook.content.activate();
}
