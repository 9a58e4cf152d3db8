import { Drift } from '../drift';
import { sourceHash } from '../metadata';

globalThis.TextEncoder = jest.requireActual('util').TextEncoder; // jsdom has no TextEncoder

const RAN = 'steps = 10';
const NOW = 'steps = 20';

function made(answers = true): { drift: Drift; asked: string[]; open: () => Promise<void> } {
  const asked: string[] = [];
  const drift = new Drift(source => {
    asked.push(source);
    return answers;
  });
  const details = drift.node.querySelector('details') as HTMLDetailsElement;
  const open = async () => {
    if (details.open) {
      details.dispatchEvent(new Event('toggle'));
    } else {
      const toggled = new Promise(done => details.addEventListener('toggle', done, { once: true }));
      details.open = true;
      await toggled;
    }
  };
  return { drift, asked, open };
}

describe('the drift', () => {
  it('is hidden while the source is the one that ran, or nobody knows', () => {
    const { drift } = made();
    expect(drift.node.hidden).toBe(true);
    drift.compare(NOW, sourceHash(RAN));
    expect(drift.node.hidden).toBe(false);
    drift.compare(`${RAN}\n`, sourceHash(RAN));
    expect(drift.node.hidden).toBe(true);
    drift.compare(NOW, '');
    expect(drift.node.hidden).toBe(true);
    drift.compare(null, sourceHash(RAN));
    expect(drift.node.hidden).toBe(true);
  });

  it('asks the kernel once, when it is opened', async () => {
    const { drift, asked, open } = made();
    drift.compare(NOW, sourceHash(RAN));
    expect(asked).toEqual([]);
    await open();
    await open();
    expect(asked).toEqual([NOW]);
  });

  it('asks again after the source has changed while it is open, but not at each key', async () => {
    const { drift, asked, open } = made();
    drift.compare(NOW, sourceHash(RAN));
    await open();
    jest.useFakeTimers();
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

  it('says so where nobody knows what ran, and asks once more', async () => {
    const { drift, asked, open } = made(false);
    drift.compare(NOW, sourceHash(RAN));
    await open();
    expect(drift.node.textContent).toContain('not known here');
    await open();
    expect(asked).toEqual([NOW, NOW]);
  });
});
