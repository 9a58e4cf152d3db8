/** This module is the attacher: it has a kernel that was restarted find the notebook's runs again, without a cell. */

import type { Kernel } from '@jupyterlab/services';
import type { IDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';

const ATTACH = "__import__('compute_nb.notebook').notebook.attach(get_ipython())";
const RESTARTS: readonly string[] = ['restarting', 'autorestarting'];

/** What the attacher needs of a notebook's session. */
export interface ISession {
  readonly statusChanged: ISignal<any, Kernel.Status>;
  readonly session: { readonly kernel: Pick<Kernel.IKernelConnection, 'requestExecute'> | null } | null;
}

/** Finds runs of the notebook in its kernel; settles once the kernel has, and fails if it went meanwhile. */
export async function attach(session: ISession): Promise<void> {
  await session.session?.kernel?.requestExecute({ code: ATTACH, silent: true, store_history: false }).done;
}

/** Asks again as often as a kernel goes before it has answered. */
export class Attacher implements IDisposable {
  private _isDue = false;
  private _turn = 0;
  private _isAsked = false;
  private _isDisposed = false;

  /**
   * @param _wanted Says whether there is something to find, and whether it may be looked for.
   */
  constructor(
    private readonly _session: ISession,
    private readonly _wanted: () => boolean
  ) {
    _session.statusChanged.connect(this._onStatus, this);
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    this._isDisposed = true;
    this._session.statusChanged.disconnect(this._onStatus, this);
  }

  private _onStatus(_: unknown, status: Kernel.Status): void {
    if (RESTARTS.includes(status)) {
      this._isDue = true;
      this._isAsked = false;
      this._turn += 1;
    } else if (status === 'idle' && this._isDue && !this._isAsked) {
      void this._ask(this._turn);
    }
  }

  private async _ask(turn: number): Promise<void> {
    if (!this._wanted()) {
      this._isDue = false;
      return;
    }
    this._isAsked = true;
    let answered = true;
    try {
      await attach(this._session);
    } catch {
      answered = false; // the kernel went: the one that comes back is asked
    }
    if (turn === this._turn) {
      this._isAsked = false;
      this._isDue = !answered;
    }
  }
}
