import { noticeOf } from '../notices';
import { snapshot } from './sample';

const SUBMITTED = Date.parse('2026-11-22T10:00:00Z') / 1000;

describe('a notice', () => {
  const done = snapshot({ SUCCEEDED: 4 });

  it('is not given to somebody who looks on at a short run', () => {
    expect(noticeOf(done, false, 60, SUBMITTED + 10)).toBeNull();
  });

  it('is given when the page is hidden, or the run was long', () => {
    expect(noticeOf(done, true, 60, SUBMITTED + 1)).toEqual({ text: 'sims on local: 4 of 4 done', kind: 'success' });
    expect(noticeOf(done, false, 60, SUBMITTED + 61)?.kind).toBe('success');
  });

  it('is another one for failure and for cancelling', () => {
    expect(noticeOf(snapshot({ SUCCEEDED: 3, FAILED: 1 }), true, 60, SUBMITTED)?.kind).toBe('error');
    expect(noticeOf(snapshot({ CANCELLED: 4 }), true, 60, SUBMITTED)?.kind).toBe('warning');
  });
});
