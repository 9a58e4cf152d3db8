import { isOver, readSnapshot, sentence, stateOf, title } from '../snapshot';
import { snapshot } from './sample';

describe('a snapshot', () => {
  it.each([
    [{ WAITING: 4 }, 'waiting', '0 of 4 done, 4 waiting'],
    [{ RUNNING: 1, WAITING: 3 }, 'running', '0 of 4 done, 1 running, 3 waiting'],
    [{ SUCCEEDED: 1, DELIVERED: 3 }, 'running', '1 of 4 done, 3 taken'],
    [{ SUCCEEDED: 4 }, 'done', '4 of 4 done'],
    [{ SUCCEEDED: 3, LOST: 1 }, 'failed', '3 of 4 done, 1 lost'],
    [{ SUCCEEDED: 3, CANCELLED: 1 }, 'cancelled', '3 of 4 done, 1 cancelled']
  ])('%j is %s', (counts, state, told) => {
    const read = snapshot(counts as Record<string, number>);
    expect(stateOf(read)).toBe(state);
    expect(sentence(read)).toBe(told);
    expect(isOver(read)).toBe(!['waiting', 'running'].includes(state));
  });

  it.each([null, 'text', [], {}, { entry: { id: 'no uuid' } }])('is not read from %j', value => {
    expect(readSnapshot(value)).toBeNull();
  });

  it('passes over counts that are none', () => {
    const read = snapshot({ SUCCEEDED: -1, RUNNING: 1.5, BURNING: 3, WAITING: 2 });
    expect(read.counts).toEqual({ WAITING: 2 });
  });

  it('is called by its label, its name, or its id', () => {
    expect(title(snapshot({}, { label: 'big' }))).toBe('big');
    expect(title(snapshot({}))).toBe('sims');
    expect(title(snapshot({}, { name: '' }))).toBe('group 0b1c7f52');
  });

  it('of a group without tasks is over', () => {
    expect(stateOf(snapshot({}, { tasks: 0 }))).toBe('done');
  });
});
