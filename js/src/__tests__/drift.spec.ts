import { Drift } from '../drift';
import { sourceHash } from '../metadata';

const RAN = 'steps = 10';
const NOW = 'steps = 20';

function made(answers = true): { drift: Drift; asked: string[]; open: () => void } {
  const asked: string[] = [];
  const drift = new Drift(source => {
    asked.push(source);
    return answers;
  });
  const details = drift.node.querySelector('details') as HTMLDetailsElement;
  const open = () => {
    details.open = true;
    details.dispatchEvent(new Event('toggle'));
  };
  return { drift, asked, open };
}

describe('the drift', () => {
  it('is hidden while the source is the one that ran, or nobody knows', () => {
    const { drift } = made();
    expect(drift.isHidden).toBe(true);
    drift.compare(NOW, sourceHash(RAN));
    expect(drift.isHidden).toBe(false);
    drift.compare(`${RAN}\n`, sourceHash(RAN));
    expect(drift.isHidden).toBe(true);
    drift.compare(NOW, '');
    expect(drift.isHidden).toBe(true);
    drift.compare(null, sourceHash(RAN));
    expect(drift.isHidden).toBe(true);
  });

  it('asks the kernel once, when it is opened', () => {
    const { drift, asked, open } = made();
    drift.compare(NOW, sourceHash(RAN));
    expect(asked).toEqual([]);
    open();
    open();
    expect(asked).toEqual([NOW]);
  });

  it('asks again after the source has changed while it is open, but not at each key', () => {
    jest.useFakeTimers();
    const { drift, asked, open } = made();
    drift.compare(NOW, sourceHash(RAN));
    open();
    drift.compare(`${NOW}0`, sourceHash(RAN));
    drift.compare(`${NOW}00`, sourceHash(RAN));
    jest.runAllTimers();
    expect(asked).toEqual([NOW, `${NOW}00`]);
    jest.useRealTimers();
  });

  it('shows lines as text, with their kind', () => {
    const { drift } = made();
    drift.tell([' import math', '-a = "<b>"', '+a = 2']);
    expect(drift.node.querySelector('b')).toBeNull();
    expect(drift.node.querySelector('.cnbp-gone')?.textContent).toBe('-a = "<b>"\n');
    expect(drift.node.querySelector('.cnbp-new')?.textContent).toBe('+a = 2\n');
  });

  it('says so where nobody knows what ran, and asks once more', () => {
    const { drift, asked, open } = made(false);
    drift.compare(NOW, sourceHash(RAN));
    open();
    expect(drift.node.textContent).toContain('not known here');
    open();
    expect(asked).toEqual([NOW, NOW]);
  });
});
