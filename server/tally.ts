/**
 * A histogram in plain numbers, for what happens often: adding a value takes some nanoseconds, and `/metrics`
 * reads the sums when it is asked. `bounds` rise; a value counts for the first that is not below it.
 */
export class Tally {
  readonly bounds: readonly number[];
  /** One more than there are bounds: the last are those above all. */
  readonly counts: number[];
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = Array<number>(bounds.length + 1).fill(0);
  }

  add(value: number): void {
    const { bounds, counts } = this;
    let at = 0;
    while (at < bounds.length && value > (bounds[at] as number)) at++;
    counts[at] = (counts[at] as number) + 1;
    this.sum += value;
  }
}
