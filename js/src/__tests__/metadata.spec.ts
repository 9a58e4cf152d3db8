/** @jest-environment node */
import { add, entries, forget, IMetadataHolder, KEY, MAX_BYTES, MAX_GROUPS, raw, sourceHash } from '../metadata';

// The kernel's twin, compute_nb/notebook/runs/record.py, is tested with the same file.
const SHARED = jest.requireActual('../../../tests/notebook/record.json');

class Holder implements IMetadataHolder {
  writes = 0;
  constructor(private _value: unknown = undefined) {}
  getMetadata(key: string): unknown {
    return key === KEY ? this._value : undefined;
  }
  setMetadata(key: string, value: unknown): void {
    this.writes += 1;
    this._value = value;
  }
}

const never = () => false;

function entry(number: number, changes: Record<string, unknown> = {}): Record<string, any> {
  return {
    ...SHARED.cases[0].metadata.task_groups[0],
    id: `00000000-0000-0000-0000-${`${number}`.padStart(12, '0')}`,
    submitted_at: `2026-11-22T10:${`${number}`.padStart(2, '0')}:00Z`,
    ...changes
  };
}

describe('the record', () => {
  for (const one of SHARED.cases) {
    it(`shared: ${one.name}`, () => {
      const holder = new Holder(one.metadata ?? undefined);
      expect(entries(holder).map(entry => entry.id)).toEqual(one.reads);
      expect(raw(holder)).toEqual(one.metadata);
      expect(add(holder, entry(1), never)).toBe(one.writable);
      if (!one.writable) {
        expect(raw(holder)).toEqual(one.metadata);
        expect(holder.writes).toBe(0);
      }
    });
  }

  it('is in the order of submits, and what is no entry keeps its place', () => {
    const holder = new Holder({ version: 1, task_groups: ['?'] });
    for (const number of [3, 1, 2]) {
      add(holder, entry(number), never);
    }
    expect(entries(holder).map(one => one.id.slice(-1))).toEqual(['1', '2', '3']);
    expect((raw(holder) as any).task_groups[0]).toBe('?');
  });

  it('is not written again when nothing has changed', () => {
    const holder = new Holder();
    expect(add(holder, entry(1), never)).toBe(true);
    expect(add(holder, entry(1), never)).toBe(false);
    const sorted = Object.fromEntries(Object.entries(entry(1)).sort(([a], [b]) => (a < b ? -1 : 1)));
    expect(add(holder, sorted, never)).toBe(false); // saved files have their keys in order
    expect(holder.writes).toBe(1);
  });

  it('lets the oldest finished go first when there are too many', () => {
    const holder = new Holder();
    const finished = new Set([entry(5).id, entry(7).id]);
    for (let number = 0; number < MAX_GROUPS + 3; number++) {
      add(holder, entry(number), id => finished.has(id));
    }
    const kept = new Set(entries(holder).map(one => one.id));
    expect(kept.size).toBe(MAX_GROUPS);
    expect([...finished, entry(0).id].some(id => kept.has(id))).toBe(false);
  });

  it('is bounded in bytes, and keeps the newest', () => {
    const holder = new Holder();
    add(holder, entry(1), never);
    add(holder, entry(2, { label: 'é'.repeat(MAX_BYTES) }), never);
    expect(entries(holder).map(one => one.id)).toEqual([entry(2).id]);
  });

  it('forgets', () => {
    const holder = new Holder();
    add(holder, entry(1), never);
    expect(forget(holder, entry(2).id)).toBe(false);
    expect(forget(holder, entry(1).id)).toBe(true);
    expect(entries(holder)).toEqual([]);
  });

  it('takes no entry that it could not read', () => {
    const holder = new Holder();
    expect(add(holder, { id: 'no uuid' }, never)).toBe(false);
    expect(holder.writes).toBe(0);
  });
});

describe('the hash of a source', () => {
  it.each(SHARED.source_hashes as { source: string; hash: string }[])('is as in the kernel: %j', ({ source, hash }) => {
    expect(sourceHash(source)).toBe(hash);
  });

  it.each([0, 55, 56, 63, 64, 65, 119, 120, 1000])('is that of the machine for %d characters', count => {
    const source = 'é'.repeat(count);
    const known = jest.requireActual('crypto').createHash('sha256').update(source).digest('hex');
    expect(sourceHash(source)).toBe(`sha256:${known}`);
  });
});
