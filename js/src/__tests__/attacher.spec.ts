import { Signal } from '@lumino/signaling';
import { Attacher } from '../attacher';

/** A session whose kernel answers when it is told to. */
class Session {
  readonly statusChanged = new Signal<Session, any>(this);
  readonly asked: { answer: () => void; go: () => void }[] = [];
  readonly session = {
    kernel: {
      requestExecute: () => ({
        done: new Promise<void>((resolve, reject) =>
          this.asked.push({ answer: resolve, go: () => reject(new Error('Canceled future')) })
        )
      })
    }
  } as any;

  async says(...statuses: string[]): Promise<void> {
    for (const status of statuses) {
      this.statusChanged.emit(status);
      await new Promise(done => setTimeout(done));
    }
  }
}

const settled = () => new Promise(done => setTimeout(done));

describe('the attacher', () => {
  it('asks a kernel once it is back, and once', async () => {
    const session = new Session();
    new Attacher(session, () => true);
    await session.says('busy', 'idle');
    expect(session.asked).toHaveLength(0);
    await session.says('restarting', 'autorestarting', 'unknown', 'starting', 'busy', 'idle', 'busy', 'idle');
    expect(session.asked).toHaveLength(1);
    session.asked[0].answer();
    await settled();
    await session.says('busy', 'idle');
    expect(session.asked).toHaveLength(1);
  });

  it('asks again if the kernel went before it answered', async () => {
    const session = new Session();
    new Attacher(session, () => true);
    await session.says('restarting', 'idle');
    session.asked[0].go();
    await settled();
    await session.says('idle');
    expect(session.asked).toHaveLength(2);
  });

  it('counts no answer of a kernel before the last restart', async () => {
    const session = new Session();
    new Attacher(session, () => true);
    await session.says('restarting', 'idle', 'restarting');
    session.asked[0].answer();
    await settled();
    await session.says('idle');
    expect(session.asked).toHaveLength(2);
  });

  it('asks nothing where nothing is wanted, until the next restart', async () => {
    const session = new Session();
    let wanted = false;
    new Attacher(session, () => wanted);
    await session.says('restarting', 'idle');
    wanted = true;
    await session.says('idle');
    expect(session.asked).toHaveLength(0);
    await session.says('restarting', 'idle');
    expect(session.asked).toHaveLength(1);
  });
});
