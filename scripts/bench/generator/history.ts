import { writeRequest } from "./http.ts";
import type { RequestOrder, RequestResult } from "./orders.ts";
import { RequestConnection } from "./requests.ts";

/** Makes requests for pages of a list one after the other, and looks at each page. */
export async function askInTurn(order: RequestOrder): Promise<RequestResult> {
  const latencies: Record<string, number[]> = {};
  const failed = Promise.withResolvers<never>();
  const connection = new RequestConnection(order.port, (reason) => failed.reject(new Error(reason)));
  failed.promise.catch(() => {});
  const authorization = `Bearer ${order.person.token}`;
  try {
    for (const { label, path, firstSeq, items } of order.requests) {
      const text = writeRequest("GET", path, { authorization });
      const started = performance.now();
      const asked = new Promise<[number, string]>((resolve) =>
        connection.ask(text, (status, body) => resolve([status, body])),
      );
      const [status, body] = await Promise.race([asked, failed.promise]);
      latencies[label] ??= [];
      latencies[label].push(performance.now() - started);
      if (status !== 200) throw new Error(`${path} answered ${status}: ${body}`);
      const seqs = (JSON.parse(body) as { items: { seq: number }[] }).items.map(({ seq }) => seq);
      const follows = (seq: number, index: number) => firstSeq === null || seq === firstSeq + index;
      const isExact = seqs.length === items && seqs.every(follows);
      if (!isExact) throw new Error(`${path} should have ${items} from ${firstSeq}, and has ${seqs}`);
    }
  } finally {
    connection.close();
  }
  for (const values of Object.values(latencies)) values.sort((a, b) => a - b);
  return { latencies };
}
