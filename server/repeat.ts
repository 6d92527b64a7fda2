/** Does something again and again, with a pause of about so long before each time, until stopped. */
export function repeat(ms: number, act: () => Promise<void>): () => void {
  let timer: NodeJS.Timeout;
  let isStopped = false;
  const schedule = () => {
    if (!isStopped) timer = setTimeout(() => void act().finally(schedule), ms * (0.75 + Math.random() / 2));
  };
  schedule();
  return () => {
    isStopped = true;
    clearTimeout(timer);
  };
}
