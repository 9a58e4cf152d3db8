/**
 * This module is the link: one notebook's conversation with its kernel.
 *
 * The kernel speaks first, on a comm that it never opens, since that would be an error where there is no plugin.
 * The page takes it up when it first hears of it, or finds it after it was loaded again. What the kernel says goes to the board; what changes the notebook (record, last snapshot, save)
 * is done by the one page that the kernel names as the writer.
 */

import type { ISessionContext } from '@jupyterlab/apputils';
import { type Notebook, NotebookActions, type NotebookPanel } from '@jupyterlab/notebook';
import type { Kernel, KernelMessage as Messages } from '@jupyterlab/services';
import type { JSONObject, JSONValue } from '@lumino/coreutils';
import type { IDisposable } from '@lumino/disposable';
import { ISignal, Signal } from '@lumino/signaling';
import type { Board } from './board';
import { Greeting } from './greeting';
import { heard, IChangesMessage, IForget, INotebookMessage, IRecord, ISnapshots, KernelMessage } from './messages';
import * as metadata from './metadata';
import * as outputs from './outputs';
import { saverOf } from './saver';
import { isOver } from './snapshot';
import { COMM_TARGET, ISnapshot } from './tokens';

const GONE: readonly string[] = ['starting', 'restarting', 'autorestarting', 'dead', 'terminating'];
const SUBSHELL_MS = 1000;
const REMEMBERED = 'compute-nb:client:';

/** A group has ended, and this page is the one to say so. */
export interface IEnding {
  readonly notebook: NotebookPanel;
  readonly snapshot: ISnapshot;
}

/** A comm that was taken up, and what the kernel is told on it. */
interface IHeld {
  readonly comm: Kernel.IComm;
  readonly greeting: Greeting;
}

/** Holds one notebook to its kernel, from its opening to its closing. */
export class Link implements IDisposable {
  private readonly _session: ISessionContext;
  private readonly _ended = new Signal<this, IEnding>(this);
  private _kernel: Kernel.IKernelConnection | null = null;
  private readonly _comms = new Map<string, IHeld>();
  private _isMet = false;
  private _isCellToBeSaved = false;
  private _isDisposed = false;

  constructor(
    private readonly _notebook: NotebookPanel,
    private readonly _board: Board<NotebookPanel>
  ) {
    this._session = _notebook.sessionContext;
    this._session.kernelChanged.connect(this._onKernel, this);
    this._session.statusChanged.connect(this._onStatus, this);
    _notebook.context.saveState.connect(this._onSave, this);
    NotebookActions.executed.connect(this._onExecuted, this);
    saverOf(_notebook.context);
    void this._session.ready.then(() => this._meet());
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Emitted once for a group that ended while the page was open. */
  get ended(): ISignal<this, IEnding> {
    return this._ended;
  }

  /** Whether the kernel has spoken to this page, so that it need not be asked to attach. */
  get isConnected(): boolean {
    return this._comms.size > 0;
  }

  /** Asks how the source of a group's cell differs from what ran; returns whether there is a kernel to ask. */
  askChanges(id: string, source: string): boolean {
    const question: IChangesMessage = { kind: 'changes', id, source };
    this._comms.forEach(({ comm }) => comm.send(question as unknown as JSONObject));
    return this.isConnected;
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    this._kernel?.iopubMessage.disconnect(this._onMessage, this);
    Signal.clearData(this);
    this._session.kernelChanged.disconnect(this._onKernel, this);
    this._session.statusChanged.disconnect(this._onStatus, this);
    this._notebook.context.saveState.disconnect(this._onSave, this);
    NotebookActions.executed.disconnect(this._onExecuted, this);
    this._comms.forEach(held => held.greeting.dispose());
    this._comms.clear();
  }

  private _onKernel(): void {
    this._forget();
    void this._meet();
  }

  private _onStatus(_: ISessionContext, status: Kernel.Status): void {
    if (GONE.includes(status)) {
      this._forget();
    } else if (status === 'unknown') {
      this._isMet = false; // what the kernel says while the connection is down is lost
    } else if (!this._isMet) {
      void this._meet();
    }
  }

  private _forget(): void {
    this._isMet = false;
    for (const { comm, greeting } of this._comms.values()) {
      greeting.dispose();
      comm.dispose();
    }
    this._comms.clear();
    this._board.unbind(this._notebook);
  }

  /** Listens to the kernel that the notebook has now, and takes up what it had to say before. */
  private async _meet(): Promise<void> {
    const kernel = this._session.session?.kernel ?? null;
    if (this._isDisposed || kernel === null || this._isMet || !this._session.isReady) {
      return;
    }
    this._isMet = true;
    if (kernel !== this._kernel) {
      this._kernel?.iopubMessage.disconnect(this._onMessage, this);
      this._kernel = kernel;
      kernel.iopubMessage.connect(this._onMessage, this);
    }
    try {
      const reply = await kernel.requestCommInfo({ target_name: COMM_TARGET });
      const known = reply.content.status === 'ok' ? Object.keys(reply.content.comms) : [];
      for (const id of known) {
        this._comms.get(id)?.greeting.begin();
        this._hold(id);
      }
    } catch (error) {
      this._isMet = false; // asked again as soon as there is a kernel that says how it is
      console.debug('compute_nb: the kernel went while it was asked for its comms', error);
    }
  }

  private _onMessage(kernel: Kernel.IKernelConnection, message: Messages.IIOPubMessage): void {
    const said = kernel === this._kernel && !this._isDisposed ? heard(message.header.msg_type, message.content) : null;
    if (said === null) {
      return;
    }
    if (said.message !== null) {
      this._take(said.message, said.comm);
    }
    this._hold(said.comm);
  }

  /** Takes up a comm of the kernel, once, and tells it of the notebook; it then says all that counts now. */
  private _hold(id: string): void {
    const kernel = this._kernel;
    if (kernel === null || this._comms.has(id) || kernel.hasComm(id)) {
      return;
    }
    const comm = kernel.createComm(COMM_TARGET, id);
    const greeting = new Greeting(() => comm.send(this._notebookMessage() as unknown as JSONObject));
    this._comms.set(id, { comm, greeting });
    comm.onClose = () => {
      greeting.dispose();
      this._comms.delete(id);
      this._board.unbind(this._notebook);
    };
    void started(comm).then(() => greeting.begin());
  }

  private _notebookMessage(): INotebookMessage {
    const client = this._kernel?.clientId ?? '';
    const previous = window.sessionStorage.getItem(this._remembered);
    return {
      kind: 'notebook',
      path: this._notebook.context.localPath || this._notebook.context.path,
      record: metadata.raw(this._notebook.context.model.sharedModel as metadata.IMetadataHolder) as JSONValue,
      cells: outputs.cellIds(this._notebook),
      client,
      previous: previous === client ? null : previous
    };
  }

  /** Under which the client id is kept that this tab had before it was loaded again. */
  private get _remembered(): string {
    return `${REMEMBERED}${this._kernel?.id ?? ''}`;
  }

  private _take(message: KernelMessage, comm: string): void {
    switch (message.kind) {
      case 'live':
        this._board.setLive(this._notebook, message.live);
        return;
      case 'heard':
        if (message.client === this._kernel?.clientId) {
          window.sessionStorage.setItem(this._remembered, message.client);
          this._comms.get(comm)?.greeting.end();
        }
        return;
      case 'snapshots':
        this._takeSnapshots(message);
        return;
      case 'changes':
        this._board.setChanges(this._notebook, message.id, message.lines);
        return;
      case 'counts':
        for (const [id, counts] of Object.entries(message.counts)) {
          this._board.setCounts(this._notebook, id, counts);
        }
        return;
      case 'notes':
        this._board.setNotes(this._notebook, message.notes);
        return;
      case 'results':
        if (this._writes(message) && outputs.writeResults(this._notebook, message.results)) {
          this._save();
        }
        return;
      default:
        this._takeRecord(message);
    }
  }

  private _takeSnapshots(message: ISnapshots): void {
    const notebook = this._notebook;
    const endings: ISnapshot[] = [];
    for (const [id, bundle] of Object.entries(message.bundles)) {
      const before = this._board.snapshot(notebook, id);
      this._board.setBundle(notebook, id, bundle);
      const after = this._board.snapshot(notebook, id);
      if (message.ended.includes(id) && after !== null && !isOver(before)) {
        endings.push(after);
      }
    }
    if (!this._writes(message) || !message.ended.length) {
      return;
    }
    this._write(message.ended);
    this._save();
    for (const snapshot of endings) {
      this._ended.emit({ notebook, snapshot });
    }
  }

  private _takeRecord(message: IRecord | IForget): void {
    if (this._writes(message)) {
      const holder = this._notebook.context.model.sharedModel as metadata.IMetadataHolder;
      const changed =
        message.kind === 'record'
          ? message.entries.filter(entry => metadata.add(holder, entry, id => this._isOver(id))).length > 0
          : metadata.forget(holder, message.id);
      if (changed) {
        this._save();
        this._isCellToBeSaved = this._kernel?.status === 'busy';
      }
    }
    // Of all, each panel would be drawn anew for each group.
    const ids = message.kind === 'record' ? message.entries.map(entry => String(entry.id)) : [message.id];
    ids.forEach(id => this._board.touch(this._notebook, id));
  }

  private _isOver(id: string): boolean {
    const shown = outputs.panels(this._notebook).find(one => one.snapshot.entry.id === id);
    return isOver(this._board.snapshot(this._notebook, id)) || isOver(shown?.snapshot ?? null);
  }

  private _writes(message: { readonly writer: string | null }): boolean {
    return message.writer !== null && message.writer === this._kernel?.clientId;
  }

  private _onSave(_: unknown, state: string): void {
    if (state === 'started') {
      this._write(this._board.heardOf(this._notebook));
    }
  }

  /** The record may be saved before the cell has ended; what the end has changed belongs into the file as well. */
  private _onExecuted(_: unknown, cell: { readonly notebook: Notebook }): void {
    if (cell.notebook === this._notebook.content && this._isCellToBeSaved) {
      this._isCellToBeSaved = false;
      if (this._notebook.context.model.dirty) {
        this._save();
      }
    }
  }

  private _write(ids: readonly string[]): boolean {
    const found = ids.flatMap(id => {
      const bundle = this._board.bundle(this._notebook, id);
      return bundle === null ? [] : [[id, bundle] as const];
    });
    return outputs.write(this._notebook, new Map(found));
  }

  /** Saves, unless a collaboration saves by itself or the file can't be written. */
  private _save(): void {
    const { context } = this._notebook;
    if (!context.model.collaborative && !context.model.readOnly && context.contentsModel?.writable !== false) {
      saverOf(context).save();
    }
  }
}

/** Waits for the subshell of a comm, in which it is answered while a cell runs; not long, as there may be none. */
async function started(comm: Kernel.IComm): Promise<void> {
  const subshell = (comm as { subshellStarted?: Promise<void> }).subshellStarted;
  await Promise.race([subshell?.catch(() => undefined), new Promise(done => setTimeout(done, SUBSHELL_MS))]);
}
