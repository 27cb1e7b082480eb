/** What the bench asks of a process of subscribers, and its answers: plain data over IPC. */

/** Stands in every message, before its number in `numberDigits` digits. */
export const mark = 'bench-message-'
export const numberDigits = 6

/** Subscribers to be opened, each on a connection of its own. */
export interface SubscribeRequest {
  readonly kind: 'subscribe'
  readonly host: string
  readonly port: number
  /** Each subscriber sends just this. */
  readonly head: string
  readonly count: number
}

/** From now on, these are the messages that each subscriber has to get, numbers from 0 on. */
export interface ExpectRequest {
  readonly kind: 'expect'
  readonly messages: number
  /** Whether the time of every arrival is kept, which costs the subscribers time. */
  readonly keepsArrivals: boolean
}

/** Answered once every subscriber has all messages, or `timeoutMs` after it was asked. */
export interface CollectRequest {
  readonly kind: 'collect'
  readonly timeoutMs: number
}

export type SubscriberRequest = SubscribeRequest | ExpectRequest | CollectRequest

export interface Collected {
  readonly deliveries: number
  /** Bytes of all deliveries as they stood on the wire, framing included. */
  readonly bytes: number
  /** Milliseconds of the machine's monotonic clock. */
  readonly lastAtMs: number
  /** When each message had reached every subscriber, by its number; 0 where it never did. */
  readonly completeAtMs: Float64Array
  /** By number, then subscriber; empty unless they are kept. */
  readonly arrivedAtMs: Float64Array
  /** What a subscriber got other than each message once, the first few of it. */
  readonly mismatches: readonly string[]
}

export interface SubscriberResults {
  subscribe: null
  expect: null
  collect: Collected
}

export type SubscriberReply =
  | { readonly ok: true; readonly result: SubscriberResults[keyof SubscriberResults] }
  | { readonly ok: false; readonly error: string }

/** One clock for all processes of a machine, unlike `performance.now()`. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}
