import { newest } from '../groups';
import { sentence } from '../snapshot';
import { snapshot } from './sample';

const OLD = snapshot({ SUCCEEDED: 1, WAITING: 3 });

describe('a group in a list', () => {
  it('stands as the newest counts say, whatever was saved', () => {
    expect(newest(OLD.entry, OLD, null)).toBe(OLD);
    const now = newest(OLD.entry, OLD, { SUCCEEDED: 2, RUNNING: 2 });
    expect(now === null ? '' : sentence(now)).toBe('2 of 4 done, 2 running');
  });

  it('has counts also where no panel was saved', () => {
    expect(newest(OLD.entry, null, null)).toBeNull();
    expect(newest(OLD.entry, null, { RUNNING: 4 })?.counts).toEqual({ RUNNING: 4 });
  });
});
