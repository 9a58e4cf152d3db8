/**
 * This module is the link: one notebook's conversation with its kernel.
 *
 * The kernel speaks first, on a comm that it never opens, since that would be an error where there is no plugin.
 * The page takes it up when it first hears of it, or finds it after it was loaded again. What the kernel says goes to the board; what changes the notebook (record, last snapshot, save)
 * is done by the one page that the kernel names as the writer.
 */

import type { ISessionContext } from '@jupyterlab/apputils';
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { Kernel, KernelMessage as Messages } from '@jupyterlab/services';
import type { JSONObject, JSONValue } from '@lumino/coreutils';
import type { IDisposable } from '@lumino/disposable';
import { ISignal, Signal } from '@lumino/signaling';
import type { Board } from './board';
import { heard, IChangesMessage, IForget, INotebookMessage, IRecord, ISnapshots, KernelMessage } from './messages';
import * as metadata from './metadata';
import * as outputs from './outputs';
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

/** Holds one notebook to its kernel, from its opening to its closing. */
export class Link implements IDisposable {
  private readonly _session: ISessionContext;
  private readonly _ended = new Signal<this, IEnding>(this);
  private _kernel: Kernel.IKernelConnection | null = null;
  private readonly _comms = new Map<string, Kernel.IComm>();
  private _saving = false;
  private _again = false;
  private _isDisposed = false;

  constructor(
    private readonly _notebook: NotebookPanel,
    private readonly _board: Board<NotebookPanel>
  ) {
    this._session = _notebook.sessionContext;
    this._session.kernelChanged.connect(this._onKernel, this);
    this._session.statusChanged.connect(this._onStatus, this);
    _notebook.context.saveState.connect(this._onSave, this);
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
    this._comms.forEach(comm => comm.send(question as unknown as JSONObject));
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
    this._comms.clear();
  }

  private _onKernel(): void {
    this._forget();
    void this._meet();
  }

  private _onStatus(_: ISessionContext, status: Kernel.Status): void {
    if (GONE.includes(status)) {
      this._forget();
    }
  }

  private _forget(): void {
    this._comms.clear();
    this._board.unbind(this._notebook);
  }

  /** Listens to the kernel that the notebook has now, and takes up what it had to say before. */
  private async _meet(): Promise<void> {
    const kernel = this._session.session?.kernel ?? null;
    if (this._isDisposed || kernel === null) {
      return;
    }
    if (kernel !== this._kernel) {
      this._kernel?.iopubMessage.disconnect(this._onMessage, this);
      this._kernel = kernel;
      kernel.iopubMessage.connect(this._onMessage, this);
    }
    try {
      const reply = await kernel.requestCommInfo({ target_name: COMM_TARGET });
      const known = reply.content.status === 'ok' ? Object.keys(reply.content.comms) : [];
      known.forEach(id => void this._hold(id));
    } catch (error) {
      console.debug('compute_nb: the kernel went while it was asked for its comms', error);
    }
  }

  private _onMessage(kernel: Kernel.IKernelConnection, message: Messages.IIOPubMessage): void {
    const said = kernel === this._kernel && !this._isDisposed ? heard(message.header.msg_type, message.content) : null;
    if (said === null) {
      return;
    }
    if (said.message !== null) {
      this._take(said.message);
    }
    void this._hold(said.comm);
  }

  /** Takes up a comm of the kernel, once, and tells it of the notebook. */
  private async _hold(id: string): Promise<void> {
    const kernel = this._kernel;
    if (kernel === null || this._comms.has(id)) {
      return;
    }
    const comm = kernel.hasComm(id) ? null : kernel.createComm(COMM_TARGET, id);
    if (comm === null) {
      return;
    }
    this._comms.set(id, comm);
    comm.onClose = () => {
      this._comms.delete(id);
      this._board.unbind(this._notebook);
    };
    await started(comm);
    if (this._comms.get(id) === comm) {
      comm.send(this._notebookMessage() as unknown as JSONObject);
    }
  }

  private _notebookMessage(): INotebookMessage {
    const kernel = this._kernel;
    const key = `${REMEMBERED}${kernel?.id ?? ''}`;
    const client = kernel?.clientId ?? '';
    const previous = window.sessionStorage.getItem(key);
    window.sessionStorage.setItem(key, client);
    return {
      kind: 'notebook',
      path: this._notebook.context.localPath || this._notebook.context.path,
      record: metadata.raw(this._notebook.context.model.sharedModel as metadata.IMetadataHolder) as JSONValue,
      cells: outputs.cellIds(this._notebook),
      client,
      previous: previous === client ? null : previous
    };
  }

  private _take(message: KernelMessage): void {
    switch (message.kind) {
      case 'live':
        this._board.setLive(this._notebook, message.live);
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
          ? metadata.add(holder, message.entry, id => this._isOver(id))
          : metadata.forget(holder, message.id);
      if (changed) {
        this._save();
      }
    }
    this._board.touch(this._notebook);
  }

  private _isOver(id: string): boolean {
    const shown = outputs.panels(this._notebook).find(one => one.snapshot.entry.id === id);
    return isOver(this._board.snapshot(this._notebook, id)) || isOver(shown?.snapshot ?? null);
  }

  private _writes(message: { readonly writer: string | null }): boolean {
    return message.writer !== null && message.writer === this._kernel?.clientId;
  }

  private _onSave(_: unknown, state: string): void {
    this._saving = state === 'started';
    if (this._saving) {
      this._write(this._board.heardOf(this._notebook));
    } else if (this._again) {
      this._again = false;
      this._save();
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
    if (context.model.collaborative || context.model.readOnly || context.contentsModel?.writable === false) {
      return;
    }
    if (this._saving) {
      this._again = true; // of two saves at once the later one finds that the file has changed
      return;
    }
    context.save().catch(error => console.warn('compute_nb: the notebook was not saved', error));
  }
}

/** Waits for the subshell of a comm, in which it is answered while a cell runs; not long, as there may be none. */
async function started(comm: Kernel.IComm): Promise<void> {
  const subshell = (comm as { subshellStarted?: Promise<void> }).subshellStarted;
  await Promise.race([subshell?.catch(() => undefined), new Promise(done => setTimeout(done, SUBSHELL_MS))]);
}
