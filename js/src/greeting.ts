/** This module is the greeting: what a page tells a kernel, said again until the kernel has heard it. */

import type { IDisposable } from '@lumino/disposable';

const FIRST_MS = 2000;
const TIMES = 7;

/** Says it at growing intervals, for some minutes at most: a kernel may be busy, or of a version that never answers. */
export class Greeting implements IDisposable {
  private _timer: ReturnType<typeof setTimeout> | undefined;
  private _isDisposed = false;

  constructor(private readonly _say: () => void) {}

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Says it now, and from the beginning. */
  begin(): void {
    clearTimeout(this._timer);
    this._turn(FIRST_MS, TIMES);
  }

  /** It was heard. */
  end(): void {
    clearTimeout(this._timer);
  }

  dispose(): void {
    this._isDisposed = true;
    this.end();
  }

  private _turn(pauseMs: number, left: number): void {
    if (this._isDisposed) {
      return;
    }
    this._say();
    if (left > 1) {
      this._timer = setTimeout(() => this._turn(2 * pauseMs, left - 1), pauseMs);
    }
  }
}
