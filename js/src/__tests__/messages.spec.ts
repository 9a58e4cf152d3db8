import { readMessage } from '../messages';

// What the kernel sends is tested there with the same file: tests/notebook/test_messages.py.
const SHARED = jest.requireActual('../../../tests/notebook/messages.json');

describe('a message', () => {
  for (const message of SHARED.from_kernel) {
    it(`of kind ${message.kind} is read as it was written`, () => {
      expect(readMessage(message)).toEqual(message);
    });
  }

  it.each([null, 'text', [], {}, { kind: 'of tomorrow' }, { kind: 'record', entries: 'none' }, { kind: 'forget' }])(
    'that is not known is passed over: %j',
    value => {
      expect(readMessage(value)).toBeNull();
    }
  );

  it('keeps what can be read of it', () => {
    expect(readMessage({ kind: 'live', live: { a: 'one', b: 2 } })).toEqual({ kind: 'live', live: { a: 'one' } });
    expect(readMessage({ kind: 'snapshots', bundles: { a: {}, b: 3 }, ended: ['a', 1] })).toEqual({
      kind: 'snapshots',
      bundles: { a: {} },
      ended: ['a'],
      writer: null
    });
  });
});
