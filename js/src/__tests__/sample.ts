/** A snapshot with given counts, for tests. */

import { readSnapshot } from '../snapshot';
import type { ISnapshot } from '../tokens';

const ENTRY = {
  id: '0b1c7f52-96a1-4f0f-8b0f-0f5a3f1c2d10',
  endpoint: 'local',
  name: 'sims',
  label: '',
  tasks: 4,
  submitted_at: '2026-11-22T10:00:00Z'
};

export function snapshot(counts: Record<string, number>, changes: object = {}): ISnapshot {
  const read = readSnapshot({ version: 1, entry: { ...ENTRY, ...changes }, counts });
  if (read === null) {
    throw new Error('the sample is no snapshot');
  }
  return read;
}
