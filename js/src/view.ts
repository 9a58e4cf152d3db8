/** This module is the view: a snapshot as DOM nodes, in the colours of the theme and readable without them. */

import { ended, isOver, sentence, stateOf, title } from './snapshot';
import type { GroupState, ISnapshot } from './tokens';

const GLYPHS: Readonly<Record<GroupState, string>> = {
  waiting: '○',
  running: '●',
  done: '✓',
  failed: '✗',
  cancelled: '■',
  unknown: '?'
};
const PARTS = ['SUCCEEDED', 'FAILED', 'LOST', 'CANCELLED', 'RUNNING'];

/** Returns a sign for a state; the words beside it say the same. */
export function glyph(state: GroupState): HTMLElement {
  const node = element('span', `cnbp-glyph cnbp-${state}`, GLYPHS[state]);
  node.setAttribute('aria-hidden', 'true');
  return node;
}

/** Returns a panel as far as its JSON tells: the line, the bar, the id of its group. */
export function drawn(snapshot: ISnapshot): HTMLElement {
  const { entry } = snapshot;
  const node = element('div', 'cnbp-panel');
  const line = element('div', 'cnbp-line');
  line.append(
    glyph(stateOf(snapshot)),
    ' ',
    element('b', '', title(snapshot)),
    ` on ${entry.endpoint}: ${sentence(snapshot)} `,
    element('span', 'cnbp-aside', `submitted ${moment(entry.submitted_at)}, task group ${entry.id}`)
  );
  node.append(line, bar(snapshot));
  return node;
}

/** Returns the bar alone. */
export function bar(snapshot: ISnapshot): HTMLElement {
  const total = snapshot.entry.tasks;
  const track = element('div', 'cnbp-track');
  track.setAttribute('role', 'progressbar');
  track.setAttribute('aria-label', title(snapshot));
  track.setAttribute('aria-valuemin', '0');
  track.setAttribute('aria-valuemax', `${total}`);
  track.setAttribute('aria-valuenow', `${Math.min(ended(snapshot), total)}`);
  track.setAttribute('aria-valuetext', sentence(snapshot));
  for (const state of PARTS.filter(one => snapshot.counts[one])) {
    const part = element('div', `cnbp-part cnbp-part-${state.toLowerCase()}`);
    part.style.width = `${(100 * snapshot.counts[state]) / Math.max(total, 1)}%`;
    track.append(part);
  }
  return track;
}

/**
 * Returns what is said below a group that no kernel follows, null if nothing is to be said.
 *
 * @param note Why the kernel does not follow it, "" if it has not said so.
 */
export function notConnected(snapshot: ISnapshot, note: string, reload: () => void): HTMLElement | null {
  const node = element('div', 'cnbp-note');
  if (note) {
    node.textContent = `${note[0].toUpperCase()}${note.slice(1)}: this is how it stood when the notebook was saved.`;
    return node;
  }
  if (isOver(snapshot)) {
    return null;
  }
  const button = element('button', 'cnbp-link', 'connect') as HTMLButtonElement;
  button.type = 'button';
  button.title = 'Finds the runs of this notebook, as `%load_ext compute_nb` does';
  button.addEventListener('click', reload);
  node.append('This kernel does not follow the run; its tasks go on. ', button);
  return node;
}

/** Returns a date and time as people here write them. */
export function moment(time: string): string {
  const then = new Date(time);
  return Number.isNaN(then.getTime()) ? time : then.toLocaleString();
}

/** Returns a new element; its text is never markup. */
export function element(name: string, className = '', text = ''): HTMLElement {
  const node = document.createElement(name);
  node.className = className;
  node.textContent = text;
  return node;
}
