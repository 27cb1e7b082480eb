import { type Call, descriptorOf, fileOf, readTrace } from './trace.ts'

/** The calls that carry bytes into the process or out of it, and those that flush. */
export const tracedCalls = [
  ...['openat', 'fsync', 'fdatasync', 'sync_file_range', 'msync'],
  ...['read', 'readv', 'recvfrom', 'recvmsg'],
  ...['write', 'writev', 'pwrite64', 'pwritev', 'pwritev2', 'sendto', 'sendmsg'],
] as const

const incoming: ReadonlySet<string> = new Set(['read', 'readv', 'recvfrom', 'recvmsg'])
const outgoing: ReadonlySet<string> = new Set(tracedCalls.filter((name) => /write|send/.test(name)))

export interface FlushProof {
  /** Marks of the uploads whose acknowledgement left the process. */
  readonly acknowledged: readonly string[]
  /** Those of them that were not on disk by then. */
  readonly early: readonly string[]
  /** Flushes of the data file from the first upload on. */
  readonly flushes: number
}

/** What is in an upload, its page and its acknowledgement on a WebSocket: `mark` and seven digits. */
export function markOf(number: number): string {
  return `mark${String(number).padStart(7, '0')}z`
}
const markPattern = /mark\d{7}z/g

/**
 * Takes a trace apart by what each call carries. An upload, known by its mark, is on disk once a write
 * to the data file has carried the mark, an fdatasync of that file has begun after that write and
 * succeeded, and a write through the descriptor that flushes of itself (O_DSYNC: the page that makes the
 * transaction count) has begun after that and succeeded. Its acknowledgement must begin later. Over
 * HTTP it is the next reply on the connection that the mark came in on; over a WebSocket, whose frames
 * come in masked, it names the mark itself.
 */
export function proveFlush(lines: readonly string[]): FlushProof {
  const calls = readTrace(lines)
  const isData = (call: Call): boolean => fileOf(call).endsWith('/data.mdb')
  const rooted = calls.filter(
    (call) => call.name === 'openat' && /data\.mdb".*O_DSYNC/.test(call.args),
  )
  const rootDescriptors = new Set(rooted.map((call) => call.result))
  const isRoot = (call: Call): boolean => rootDescriptors.has(descriptorOf(call))

  const dataCalls = calls.filter(isData)
  const writes = dataCalls.filter((call) => outgoing.has(call.name) && call.result > 0)
  const roots = writes.filter(isRoot)
  const flushes = dataCalls.filter((call) => call.name === 'fdatasync' && call.result === 0)
  const written = firstWrites(writes.filter((call) => !isRoot(call)))

  const replies = acknowledgements(calls.filter((call) => /^(socket|TCP)/.test(fileOf(call))))
  const early = replies.filter(({ mark, at }) => {
    const write = written.get(mark)
    const flush = write && firstAfter(flushes, write.left)
    const root = flush && firstAfter(roots, flush.left)
    return root === undefined || root.left >= at
  })
  const firstAt = written.values().next().value?.entered ?? Number.POSITIVE_INFINITY
  return {
    acknowledged: replies.map(({ mark }) => mark),
    early: early.map(({ mark }) => mark),
    flushes: flushes.filter((call) => call.entered > firstAt).length,
  }
}

/** The write that carried each mark first; pages are written again for their neighbours' sake. */
function firstWrites(writes: readonly Call[]): Map<string, Call> {
  const first = new Map<string, Call>()
  for (const call of writes) {
    for (const [mark] of call.args.matchAll(markPattern)) {
      const known = first.get(mark)
      if (known === undefined || call.left < known.left) first.set(mark, call)
    }
  }
  return first
}

/** Where each acknowledgement begins to leave the process. */
function acknowledgements(calls: readonly Call[]): { mark: string; at: number }[] {
  const waiting = new Map<number, string[]>()
  const found: { mark: string; at: number }[] = []
  for (const call of calls) {
    const descriptor = descriptorOf(call)
    if (incoming.has(call.name)) {
      const marks = Array.from(call.args.matchAll(markPattern), ([mark]) => mark)
      if (marks.length > 0) waiting.set(descriptor, [...(waiting.get(descriptor) ?? []), ...marks])
      continue
    }
    if (!outgoing.has(call.name)) continue
    const status = /HTTP\/1\.1 (\d+) /.exec(call.args)?.[1]
    if (status !== undefined) {
      const marks = waiting.get(descriptor) ?? []
      waiting.delete(descriptor)
      if (status.startsWith('20')) found.push(...marks.map((mark) => ({ mark, at: call.entered })))
    } else if (call.args.includes('\\"ack\\"')) {
      for (const [mark] of call.args.matchAll(markPattern)) found.push({ mark, at: call.entered })
    }
  }
  return found
}

/** The first of the calls, which stand in the order of their beginnings, that begins after `position`. */
function firstAfter(calls: readonly Call[], position: number): Call | undefined {
  let from = 0
  let to = calls.length
  while (from < to) {
    const middle = (from + to) >> 1
    if ((calls[middle]?.entered ?? 0) > position) to = middle
    else from = middle + 1
  }
  return calls[from]
}
