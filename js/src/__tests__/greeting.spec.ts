import { Greeting } from '../greeting';

describe('a greeting', () => {
  let said = 0;
  const greeting = () => new Greeting(() => (said += 1));

  beforeEach(() => {
    said = 0;
    jest.useFakeTimers();
  });

  afterEach(() => jest.useRealTimers());

  it('is said once to a kernel that hears it', () => {
    const one = greeting();
    one.begin();
    one.end();
    jest.advanceTimersByTime(600_000);
    expect(said).toBe(1);
  });

  it('is said again to a kernel that has not, at growing intervals, and not for ever', () => {
    greeting().begin();
    jest.advanceTimersByTime(1999);
    expect(said).toBe(1);
    jest.advanceTimersByTime(1);
    expect(said).toBe(2);
    jest.advanceTimersByTime(3999);
    expect(said).toBe(2);
    jest.advanceTimersByTime(600_000);
    expect(said).toBe(7);
  });

  it('is said no more once its comm is gone', () => {
    const one = greeting();
    one.begin();
    one.dispose();
    one.begin();
    jest.advanceTimersByTime(600_000);
    expect(said).toBe(1);
  });
});
