/**
 * The promise's result, or `late` after `ms` milliseconds; what the promise does later is nobody's business.
 */
export function within<T>(
  ms: number,
  promise: Promise<T>,
  late: () => Error = () => new Error(`no answer within ${ms} ms`),
): Promise<T> {
  let timer: NodeJS.Timeout;
  const limit = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(late()), Math.max(ms, 0));
  });
  return Promise.race([promise, limit]).finally(() => clearTimeout(timer));
}
