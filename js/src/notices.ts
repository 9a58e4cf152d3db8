/** This module is the notices: one word to a person who may not be looking, when a group has ended. */

import { failed, sentence, stateOf, title } from './snapshot';
import type { ISnapshot } from './tokens';

export type Kind = 'success' | 'error' | 'warning';

export interface INotice {
  readonly text: string;
  readonly kind: Kind;
}

/**
 * Returns what is to be said of a group that has ended, null if its panel says enough.
 *
 * @param hidden Whether the page is out of sight.
 * @param longS From how many seconds on a group has taken long.
 * @param now Seconds since the epoch.
 */
export function noticeOf(snapshot: ISnapshot, hidden: boolean, longS: number, now: number): INotice | null {
  const end = snapshot.endedAt ?? now;
  const took = end - Date.parse(snapshot.entry.submitted_at) / 1000;
  if (!hidden && took < longS) {
    return null;
  }
  const text = `${title(snapshot)} on ${snapshot.entry.endpoint}: ${sentence(snapshot)}`;
  if (failed(snapshot)) {
    return { text, kind: 'error' };
  }
  return { text, kind: stateOf(snapshot) === 'cancelled' ? 'warning' : 'success' };
}
