/** This module is the drift: a panel's word on how the source of its cell differs from what ran. */

import { sourceHash } from './metadata';
import { element } from './view';

const DRIFTED = 'The source of this cell has changed since this run.';
const UNKNOWN = 'What ran is not known here: a kernel that has loaded compute_nb, where it was submitted, can tell.';
const PAUSE_MS = 400;
const KINDS: Readonly<Record<string, string>> = { '-': 'cnbp-gone', '+': 'cnbp-new' };

/** Shows itself while the sources differ; what has changed is asked of the kernel when somebody opens it. */
export class Drift {
  readonly node = element('div', 'cnbp-note cnbp-drift', DRIFTED);
  private readonly _details = element('details', 'cnbp-changes') as HTMLDetailsElement;
  private readonly _lines = element('pre', 'cnbp-diff');
  private _source = '';
  private _asked: string | null = null;
  private _timer = 0;

  /** @param _ask Asks the kernel how a source differs from what ran; returns whether there is one to ask. */
  constructor(private readonly _ask: (source: string) => boolean) {
    this._lines.tabIndex = 0; // to be scrolled by keys
    this._lines.setAttribute('aria-label', 'what has changed since this run');
    this._details.append(element('summary', '', 'what has changed'), this._lines);
    this._details.addEventListener('toggle', () => this._askOnce());
    this.node.append(this._details);
    this.node.hidden = true;
  }

  /** Asks nothing any more. */
  dispose(): void {
    window.clearTimeout(this._timer);
  }

  /**
   * Takes the source as it is now.
   *
   * @param before Hash of the one that ran, "" if that is not known.
   */
  compare(source: string | null, before: string): void {
    const drifted = source !== null && before !== '' && sourceHash(source) !== before;
    this._source = source ?? '';
    this.node.hidden = !drifted;
    if (drifted && this._details.open) {
      window.clearTimeout(this._timer);
      this._timer = window.setTimeout(() => this._askOnce(), PAUSE_MS);
    }
  }

  /** Takes the kernel's answer, null if it does not know. */
  tell(lines: readonly string[] | null): void {
    this._lines.textContent = '';
    this._lines.append(...(lines ?? [UNKNOWN]).map(line => element('span', KINDS[line[0]] ?? '', `${line}\n`)));
  }

  private _askOnce(): void {
    if (this._details.open && this._asked !== this._source) {
      const answers = this._ask(this._source);
      this._asked = answers ? this._source : null;
      if (!answers) {
        this.tell(null);
      }
    }
  }
}
