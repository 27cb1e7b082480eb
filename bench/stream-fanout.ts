import type { NchanServer } from './nchan.ts'
import type { Collected } from './stream-messages.ts'
import { type Published, Publisher, type PublishTarget } from './stream-publisher.ts'
import { Subscribers } from './stream-subscribers.ts'

/** As many messages of the one publisher are under way. */
export const publishing = 8

/** Where messages go and where they come out. */
export interface FanoutTarget {
  readonly url: URL
  /** The request of a subscriber, whole. */
  readonly subscribeHead: string
  readonly publish: PublishTarget
}

export function atomstreamTarget(baseUrl: string, apiKey: string): FanoutTarget {
  const url = new URL('/api/v1/memories', baseUrl)
  const subscribeHead =
    `GET /api/v1/stream?events=memory.created&heartbeat=3600 HTTP/1.1\r\nHost: ${url.host}\r\n` +
    `Authorization: Bearer ${apiKey}\r\nAccept: text/event-stream\r\n\r\n`
  return {
    url,
    subscribeHead,
    publish: {
      url,
      headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
      body: (content) => JSON.stringify({ content }),
      isTaken: (status) => status === 201,
    },
  }
}

/** What is published has the bytes of the data of our event, under the same name. */
export function nchanTarget({ port }: NchanServer): FanoutTarget {
  const url = new URL(`http://127.0.0.1:${port}/publish`)
  const subscribeHead = `GET /subscribe HTTP/1.1\r\nHost: ${url.host}\r\nAccept: text/event-stream\r\n\r\n`
  const created_at = new Date().toISOString()
  const memory = {
    title: null,
    type: null,
    metadata: {},
    tags: [],
    created_at,
    created_by: 'bench',
  }
  return {
    url,
    subscribeHead,
    publish: {
      url,
      headers: { 'content-type': 'application/json', 'x-eventsource-event': 'memory.created' },
      body: (content) => JSON.stringify({ id: 'mem_0000000000000001', content, ...memory }),
      // 202 where nobody subscribes, which the counts would tell.
      isTaken: (status) => status === 201 || status === 202,
    },
  }
}

export interface FanoutResult {
  readonly deliveriesPerSecond: number
  /** From the send of a message to its last subscriber, means over all messages. */
  readonly completeMs: number
  readonly bytesPerDelivery: number
  readonly mismatches: readonly string[]
}

const collectTimeoutMs = 60_000
/** Messages that nobody counts: the counted ones have numbers below. */
const warmUpFirst = 900_000

/** The subscribers of a server, connected for as many runs as there are. */
export class Fanout {
  private constructor(
    readonly subscribers: Subscribers,
    readonly count: number,
    private readonly target: PublishTarget,
    private readonly signal: AbortSignal,
  ) {}

  static async open(
    { url, subscribeHead, publish }: FanoutTarget,
    count: number,
    signal: AbortSignal,
  ): Promise<Fanout> {
    const subscribers = new Subscribers()
    // What waits for them then ends at once.
    signal.addEventListener('abort', () => void subscribers.close(), { once: true })
    try {
      signal.throwIfAborted()
      const { hostname: host, port } = url
      const request = { host, port: Number(port), head: subscribeHead, count }
      await subscribers.ask({ kind: 'subscribe', ...request })
      return new Fanout(subscribers, count, publish, signal)
    } catch (error) {
      await subscribers.close()
      throw error
    }
  }

  /** Publishes as fast as it is answered; the time is from the first send to the last arrival. */
  async run(messages: number, warmUp: number): Promise<FanoutResult> {
    const { sentAtMs, got } = await this.drive(messages, warmUp, { keepsArrivals: false, dueMs: 0 })
    const seconds = (got.lastAtMs - Math.min(...sentAtMs)) / 1_000
    const waited = sentAtMs.reduce(
      (sum, sentAt, number) => sum + ((got.completeAtMs[number] as number) - sentAt),
      0,
    )
    return {
      deliveriesPerSecond: got.deliveries / seconds,
      completeMs: waited / messages,
      bytesPerDelivery: got.bytes / (this.count * (messages + warmUp)),
      mismatches: got.mismatches,
    }
  }

  /** Publishes the warm-up, then the messages, and waits until every subscriber has them. */
  async drive(
    messages: number,
    warmUp: number,
    { keepsArrivals, dueMs }: { readonly keepsArrivals: boolean; readonly dueMs: number },
  ): Promise<Published & { readonly got: Collected }> {
    await this.subscribers.ask({ kind: 'expect', messages, keepsArrivals })
    // Its connections would not outlast the other server's run idle.
    const publisher = await Publisher.open(this.target, publishing, this.signal)
    try {
      await publisher.publish(warmUpFirst, warmUp, dueMs)
      const published = await publisher.publish(0, messages, dueMs)
      const collect = { kind: 'collect', timeoutMs: collectTimeoutMs } as const
      return { ...published, got: await this.subscribers.ask(collect) }
    } finally {
      publisher.close()
    }
  }

  close(): Promise<void> {
    return this.subscribers.close()
  }
}
