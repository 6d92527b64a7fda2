import { createHash, createHmac } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A bucket as S3 shows it, with what a test wants to know of it. */
export interface TestBucket {
  /** For ATTACHMENTS_URL. */
  url: string;
  /** Objects by key. */
  objects: ReadonlyMap<string, Buffer>;
  /** Answers so many requests with this status. */
  fail(status: number, times: number): void;
}

const accessKey = "AKIDEXAMPLE";
const secretKey = "wJalrXUtnFEMI/K7MDENG+bPxRfiCY";
const region = "eu-central-1";

/**
 * Runs a test with a bucket. It takes only what S3 takes: requests signed by version 4, bodies with their
 * length and hash told before.
 */
export async function withBucket(act: (bucket: TestBucket) => Promise<void>): Promise<void> {
  const objects = new Map<string, Buffer>();
  let failing = { status: 500, times: 0 };
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const refusal = failing.times-- > 0 ? failing.status : refusalOf(request, Buffer.concat(chunks));
    if (refusal !== null) return void response.writeHead(refusal).end("<Error/>");
    answer(objects, request, response, Buffer.concat(chunks));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const secret = encodeURIComponent(secretKey);
  try {
    await act({
      url: `s3://${accessKey}:${secret}@127.0.0.1:${port}/files/of/chat?region=${region}&tls=off`,
      objects,
      fail: (status, times) => {
        failing = { status, times };
      },
    });
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

function answer(
  objects: Map<string, Buffer>,
  request: IncomingMessage,
  response: ServerResponse,
  body: Buffer,
): void {
  const key = (request.url ?? "").replace("/files/of/chat/", "");
  const object = objects.get(key);
  if (request.method === "PUT") {
    objects.set(key, body);
    response.writeHead(200).end();
  } else if (request.method === "DELETE") {
    objects.delete(key);
    response.writeHead(204).end();
  } else if (!object) {
    response.writeHead(404).end("<Error><Code>NoSuchKey</Code></Error>");
  } else {
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [];
    response.writeHead(206).end(object.subarray(Number(first), Number(last) + 1));
  }
}

/** AWS Signature Version 4, as its documentation tells it; null: nothing is wrong. */
function refusalOf(request: IncomingMessage, body: Buffer): number | null {
  const { headers, method = "", url = "" } = request;
  const { authorization = "", "x-amz-date": date, "x-amz-content-sha256": hash } = headers;
  const signed = /SignedHeaders=([^,]+), Signature=([0-9a-f]+)$/.exec(authorization);
  if (!signed?.[1] || typeof date !== "string" || typeof hash !== "string") return 403;
  if (method === "PUT" && headers["content-length"] === undefined) return 411;
  if (hash !== "UNSIGNED-PAYLOAD" && hash !== sha256(body)) return 400;
  const canonical = [
    method,
    url,
    "",
    ...signed[1].split(";").map((name) => `${name}:${headers[name]}`),
    "",
    signed[1],
    hash,
  ].join("\n");
  const day = date.slice(0, 8);
  const scope = `${day}/${region}/s3/aws4_request`;
  const toSign = ["AWS4-HMAC-SHA256", date, scope, sha256(Buffer.from(canonical))].join("\n");
  let key: Buffer = Buffer.from(`AWS4${secretKey}`);
  for (const part of [day, region, "s3", "aws4_request", toSign]) {
    key = createHmac("sha256", key).update(part).digest();
  }
  return key.toString("hex") === signed[2] ? null : 403;
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}
