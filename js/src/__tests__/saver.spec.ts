import { saverOf } from '../saver';

/** A document whose saves end when they are told to. */
class Document {
  readonly ends: { resolve: () => void; reject: (error: Error) => void }[] = [];

  save(): Promise<void> {
    return new Promise((resolve, reject) => this.ends.push({ resolve, reject }));
  }
}

function cancelled(): Error {
  return Object.assign(new Error('Cancel'), { name: 'ModalCancelError' });
}

const settled = () => new Promise(done => setTimeout(done));

describe('the saver', () => {
  it("has a person's save wait for one that is under way", async () => {
    const document = new Document();
    const saver = saverOf(document);
    saver.save();
    const persons = document.save();
    await settled();
    expect(document.ends).toHaveLength(1);
    document.ends[0].resolve();
    await settled();
    expect(document.ends).toHaveLength(2);
    document.ends[1].resolve();
    await persons;
  });

  it('saves once for all that was asked while another save was under way', async () => {
    const document = new Document();
    const saver = saverOf(document);
    const persons = document.save();
    saver.save();
    saver.save();
    document.ends[0].resolve();
    await persons;
    await settled();
    expect(document.ends).toHaveLength(2);
    saver.save();
    document.ends[1].resolve();
    await settled();
    expect(document.ends).toHaveLength(3);
  });

  it('asks nobody again who has cancelled, and saves the next time', async () => {
    const document = new Document();
    const saver = saverOf(document);
    const persons = document.save();
    saver.save();
    document.ends[0].reject(cancelled());
    await expect(persons).rejects.toThrow('Cancel');
    await settled();
    expect(document.ends).toHaveLength(1);
    saver.save();
    await settled();
    expect(document.ends).toHaveLength(2);
  });

  it('goes on after a save that failed, and says so', async () => {
    const said = jest.spyOn(console, 'warn').mockImplementation(() => undefined);
    const document = new Document();
    const saver = saverOf(document);
    saver.save();
    const persons = document.save();
    document.ends[0].reject(new Error('disk full'));
    await settled();
    expect(said).toHaveBeenCalledTimes(1);
    expect(document.ends).toHaveLength(2);
    document.ends[1].resolve();
    await persons;
    said.mockRestore();
  });

  it('is one for each document, however often it is asked for', () => {
    const document = new Document();
    expect(saverOf(document)).toBe(saverOf(document));
  });
});
