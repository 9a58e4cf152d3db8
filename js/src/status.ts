/** This module is the status bar item: how many groups of the notebook in front run, and how many failed. */

import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import type { Message } from '@lumino/messaging';
import { Widget } from '@lumino/widgets';
import type { Board } from './board';
import { groupsOf, summary } from './groups';
import { element } from './view';

/** A button that opens the side panel; hidden where there is nothing to say. */
export class StatusItem extends Widget {
  private readonly _button = element('button', 'cnbp-status') as HTMLButtonElement;

  constructor(
    private readonly _tracker: INotebookTracker,
    private readonly _board: Board<NotebookPanel>,
    open: () => void
  ) {
    super();
    this._button.type = 'button';
    this._button.title = 'Show the compute tasks of this notebook';
    this._button.addEventListener('click', open);
    this.node.append(this._button);
    _tracker.currentChanged.connect(this.update, this);
    _board.changed.connect(this.update, this);
    this.update();
  }

  /** What it says now, "" if nothing. */
  get text(): string {
    return this._button.textContent ?? '';
  }

  dispose(): void {
    if (!this.isDisposed) {
      this._tracker.currentChanged.disconnect(this.update, this);
      this._board.changed.disconnect(this.update, this);
    }
    super.dispose();
  }

  protected onUpdateRequest(message: Message): void {
    super.onUpdateRequest(message);
    const notebook = this._tracker.currentWidget;
    const told = notebook === null ? '' : summary(groupsOf(notebook, this._board));
    this._button.textContent = told && `Compute: ${told}`;
    this._button.hidden = !told;
  }
}
