/**
 * This module is the saver: one save of a document at a time, whoever asks for it.
 *
 * JupyterLab lets saves overlap: of a person's Ctrl+S in the middle of one that a submit has caused, the later finds
 * that the file has changed and asks what to do about it.
 */

/** What the saver needs of a document's context. */
export interface ISaved {
  save(): Promise<void>;
}

const CANCELLED = ['ModalCancelError', 'ModalDuplicateError'];
const savers = new WeakMap<ISaved, Saver>();

/** Returns the saver of a document; from then on its context's `save` waits for its turn. */
export function saverOf(context: ISaved): Saver {
  let saver = savers.get(context);
  if (saver === undefined) {
    saver = new Saver(context);
    savers.set(context, saver);
  }
  return saver;
}

/** Holds the saves of one document in a row. */
export class Saver {
  private _last: Promise<void> | null = null;
  private _isAsked = false;

  constructor(private readonly _context: ISaved) {
    const save = _context.save.bind(_context);
    _context.save = () => this._inTurn(save);
  }

  /** Saves in its turn; asked again before that turn has come, it does so once. */
  save(): void {
    if (this._isAsked) {
      return;
    }
    if (this._last !== null) {
      this._isAsked = true;
      const begun = () => {
        this._isAsked = false;
      };
      this._last.then(begun, begun);
    }
    this._context.save().catch(error => {
      if (!isCancelled(error)) {
        console.warn('compute_nb: the notebook was not saved', error);
      }
    });
  }

  private _inTurn(save: () => Promise<void>): Promise<void> {
    const turn =
      this._last === null
        ? save()
        : this._last.then(save, error => {
            if (isCancelled(error)) {
              throw error; // it was cancelled for all who waited: nobody is asked the same again
            }
            return save();
          });
    this._last = turn;
    const over = () => {
      if (this._last === turn) {
        this._last = null;
      }
    };
    turn.then(over, over);
    return turn;
  }
}

function isCancelled(error: unknown): boolean {
  return CANCELLED.includes((error as Error | null)?.name ?? '');
}
