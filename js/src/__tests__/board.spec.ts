import { Board } from '../board';
import { PANEL_MIME } from '../tokens';

const A = '0b1c7f52-96a1-4f0f-8b0f-0f5a3f1c2d10';
const B = '3f2504e0-4f89-41d3-9a0c-0305e82c3301';

function listened(): { board: Board<object>; news: (string | null)[]; notebook: object } {
  const board = new Board<object>();
  const news: (string | null)[] = [];
  board.changed.connect((_, one) => news.push(one.id));
  return { board, news, notebook: {} };
}

describe('the board', () => {
  it('tells of those groups only whose widget has changed', () => {
    const { board, news, notebook } = listened();
    board.setLive(notebook, { [A]: 'one', [B]: 'two' });
    board.setLive(notebook, { [A]: 'one', [B]: 'three' });
    board.setLive(notebook, { [A]: 'one' });
    expect(news).toEqual([A, B, B, B]);
    expect(board.model(notebook, A)).toBe('one');
    expect(board.model(notebook, B)).toBeNull();
  });

  it('forgets widgets with their kernel, and keeps what was heard', () => {
    const { board, notebook } = listened();
    const entry = { id: A, endpoint: 'local', tasks: 1, submitted_at: '2026-11-22T10:00:00Z' };
    board.setLive(notebook, { [A]: 'one' });
    board.setBundle(notebook, A, { [PANEL_MIME]: { entry, counts: { RUNNING: 1 } } });
    board.unbind(notebook);
    expect(board.model(notebook, A)).toBeNull();
    expect(board.snapshot(notebook, A)?.counts).toEqual({ RUNNING: 1 });
    expect(board.heardOf(notebook)).toEqual([A]);
  });

  it('has counts until display data comes that is newer', () => {
    const { board, news, notebook } = listened();
    const entry = { id: A, endpoint: 'local', tasks: 2, submitted_at: '2026-11-22T10:00:00Z' };
    board.setBundle(notebook, A, { [PANEL_MIME]: { entry, counts: { WAITING: 2 } } });
    board.setCounts(notebook, A, { SUCCEEDED: 1, RUNNING: 1 });
    expect(board.counts(notebook, A)).toEqual({ SUCCEEDED: 1, RUNNING: 1 });
    board.setBundle(notebook, A, { [PANEL_MIME]: { entry, counts: { SUCCEEDED: 2 } } });
    expect(board.counts(notebook, A)).toBeNull();
    expect(news).toEqual([A, A, A]);
  });

  it('forgets counts with the kernel, so that lists and panels say the same', () => {
    const { board, news, notebook } = listened();
    board.setCounts(notebook, A, { RUNNING: 1 });
    board.unbind(notebook);
    expect(board.counts(notebook, A)).toBeNull();
    expect(news).toEqual([A, null]);
  });

  it('tells what has changed of one group to the panels of that group only', () => {
    const { board, news, notebook } = listened();
    board.touch(notebook, A);
    board.touch(notebook);
    expect(news).toEqual([A, null]);
  });

  it('keeps notebooks apart', () => {
    const { board, notebook } = listened();
    board.setLive(notebook, { [A]: 'one' });
    expect(board.model({}, A)).toBeNull();
  });
});
