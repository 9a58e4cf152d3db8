import { drawn, notConnected } from '../view';
import { snapshot } from './sample';

describe('a drawn panel', () => {
  it('says in words and to screen readers what the bar shows', () => {
    const node = drawn(snapshot({ SUCCEEDED: 2, FAILED: 1, RUNNING: 1 }));
    expect(node.textContent).toContain('sims on local: 2 of 4 done, 1 running, 1 failed');
    const bar = node.querySelector('[role=progressbar]');
    expect(bar?.getAttribute('aria-valuenow')).toBe('3');
    expect(bar?.getAttribute('aria-valuetext')).toBe('2 of 4 done, 1 running, 1 failed');
    expect([...(bar?.children ?? [])].map(part => (part as HTMLElement).style.width)).toEqual(['50%', '25%', '25%']);
  });

  it('shows markup in names as text', () => {
    const node = drawn(snapshot({}, { label: '<img src=x onerror=alert(1)>', endpoint: '<b>' }));
    expect(node.querySelector('img')).toBeNull();
    expect(node.textContent).toContain('<img src=x onerror=alert(1)> on <b>');
  });

  it('offers to connect while tasks are open, and not afterwards', () => {
    const pressed = jest.fn();
    notConnected(snapshot({ RUNNING: 1 }), '', pressed)?.querySelector('button')?.click();
    expect(pressed).toHaveBeenCalledTimes(1);
    expect(notConnected(snapshot({ SUCCEEDED: 4 }), '', pressed)).toBeNull();
  });

  it('says why the kernel does not follow a run, and offers nothing then', () => {
    const note = notConnected(snapshot({ SUCCEEDED: 4 }), 'run elsewhere', () => undefined);
    expect(note?.textContent).toBe('Run elsewhere: this is how it stood when the notebook was saved.');
    expect(note?.querySelector('button')).toBeNull();
  });
});
