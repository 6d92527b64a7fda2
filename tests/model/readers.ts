/** People's streams, over all their connections. */
import assert from "node:assert/strict";
import { applyAll, assertFresh, loadState, type State } from "../chat/reducer.ts";
import type { Client, Json } from "../support/client.ts";
import { openTestStream, type StreamKind, type TestStream } from "../support/streams.ts";
import type { Model } from "./model.ts";
import { durable, endingOf, findFault, positionOf, type Sitting, tellingsOf } from "./tellings.ts";

/** How long a stream may take for what it has to tell; it takes that long only where something is lost. */
const waitMs = 5_000;

/** A connection that is open, or was. */
interface RealSitting extends Sitting {
  high: number;
  stream: TestStream;
  /** What was taken from it; null: it is open still, and all that came is taken. */
  kept: readonly Json[] | null;
}

export class Reader {
  readonly label: string;
  readonly kind: StreamKind;
  readonly userId: string;
  readonly discussionId: string | null;
  /** Whether it loads what there is before its first connection, and goes on from there. */
  readonly #loads: boolean;
  /** What was loaded, to be kept by events alone. */
  #state: State | null = null;
  readonly sittings: RealSitting[] = [];
  #status = 200;

  #since: number | null;

  /** `since`: the position from which it first comes; null: from now. */
  constructor(
    about: Pick<Reader, "label" | "kind" | "userId" | "discussionId"> & {
      loads: boolean;
      since: number | null;
    },
  ) {
    this.label = about.label;
    this.kind = about.kind;
    this.userId = about.userId;
    this.discussionId = about.discussionId;
    this.#loads = about.loads;
    this.#since = about.since;
  }

  get last(): RealSitting | undefined {
    return this.sittings.at(-1);
  }

  /** Whether it may not come back: the server has ended it, or will, or has refused it. */
  isOver(model: Model): boolean {
    if (this.#status !== 200) return true;
    return (
      this.last?.kept === null && (this.last.ended() !== undefined || endingOf(model, this.last) !== null)
    );
  }

  isOpen(): boolean {
    return this.last?.kept === null;
  }

  /** The position from which it goes on; null: from now. */
  get position(): number | null {
    const came = durable(this.last?.received ?? []);
    return came.length > 0 ? positionOf(came.at(-1)) : (this.last?.since ?? this.#since);
  }

  /**
   * Connects from its position and waits for the end of the replay, or of the stream. `low` is the log's end
   * when it is asked for. Gives the status.
   */
  async sit(client: Client, epoch: string, low: number): Promise<number> {
    if (this.#loads && this.sittings.length === 0) this.#since = await this.#load(client);
    const since = this.position;
    const cursor = since === null ? undefined : `${epoch}.${since}`;
    const { discussionId, userId } = this;
    const options = { discussionId: discussionId ?? undefined, since: cursor };
    const stream = await openTestStream(this.kind, client, options).catch(statusOf);
    this.#status = typeof stream === "number" ? stream : 200;
    if (typeof stream === "number") return stream;
    const sitting: RealSitting = {
      ...{ userId, discussionId, since, low, high: low, stream, kept: null },
      get received() {
        return this.kept ?? stream.received;
      },
      ended: () => stream.ended(),
    };
    this.sittings.push(sitting);
    await stream.until(
      (received) => received.some(({ type }) => type === "ready") || stream.ended() !== undefined,
      waitMs,
    );
    return 200;
  }

  /** Loads the list with all that is in it, or looks at the discussion; gives from where that goes on. */
  async #load(client: Client): Promise<number | null> {
    if (this.discussionId === null) {
      this.#state = await loadState(client);
      return positionOf(this.#state);
    }
    const { status, body } = await client.call("GET", `/discussions/${this.discussionId}`);
    return status === 200 ? positionOf(body) : null;
  }

  /** That it was let in, or refused, as the contract says in one of the states through which that went. */
  admit(states: readonly Model[]): void {
    const { userId, discussionId } = this;
    const right = states.map((state): number => {
      if (state.person(userId).isErased) return 401;
      const standing = discussionId === null ? "member" : state.standing(discussionId, userId);
      return standing === null ? 404 : standing === "visitor" ? 403 : 200;
    });
    assert.ok(right.includes(this.#status), `${this.label} is answered with ${this.#status}, not ${right}`);
    const sitting = this.last;
    if (this.#status === 200 && sitting) sitting.high = states.at(-1)?.end ?? sitting.high;
  }

  /** Cuts the connection; the last things that came are lost on the way. */
  cut(forgotten: number): void {
    const sitting = this.last;
    if (!sitting || sitting.kept !== null) return;
    const came = [...sitting.stream.received];
    sitting.stream.cut();
    // Without a cursor of its own, it has to have seen `ready` to go on from there.
    const least = sitting.since === null ? came.findIndex(({ type }) => type === "ready") + 1 : 0;
    sitting.kept = came.slice(0, Math.max(least, came.length - forgotten));
  }

  /** Waits until the open connection has told what it has to, by the model, or has ended where it has to. */
  async settle(model: Model): Promise<void> {
    const sitting = this.last;
    if (!sitting || sitting.kept !== null) return;
    const { stream } = sitting;
    const newest = tellingsOf(model, sitting).findLast(({ isOptional }) => !isOptional)?.entry.position ?? 0;
    const hasToEnd = endingOf(model, sitting) !== null;
    const hasTold = () => !hasToEnd && (this.position ?? 0) >= newest;
    await stream
      .until(() => stream.ended() !== undefined || hasTold(), waitMs)
      .catch(() => assert.fail(`${this.label} ${hasToEnd ? "was not ended" : "does not hear its end"}`));
  }

  /** That all its connections told what they had to. The last one must have told all if it is still open. */
  check(model: Model): void {
    for (const sitting of this.sittings) {
      const ending = endingOf(model, sitting);
      const fault = findFault(model, sitting, sitting.kept === null);
      if (fault !== null)
        assert.fail(`${this.label}, connection ${this.sittings.indexOf(sitting)}: ${fault}`);
      if (sitting.kept === null)
        assert.equal(sitting.ended(), ending?.code, `${this.label}: how the stream ended`);
    }
  }

  /** That the state that was loaded first, with all events, is what one gets who asks now. */
  async checkState(model: Model): Promise<void> {
    if (this.#state === null || model.person(this.userId).isErased) return;
    await applyAll(
      this.#state,
      this.sittings.flatMap(({ received }) => durable(received)),
    );
    await assertFresh(this.#state, `${this.label}: the old state with its events is not the new state`);
  }
}

/** The status with which a stream was refused. Throws whatever else went wrong. */
function statusOf(error: Error): number {
  const status = Number(/\d{3}/.exec(error.message)?.[0]);
  if (!(status >= 400)) throw error;
  return status;
}
