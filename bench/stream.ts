import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import type { MediaBench as StreamBench } from './media.ts'
import { findNginx, NchanServer, type NginxFiles } from './nchan.ts'
import { formatFigure, plainOutcome, type RowOutcome } from './report.ts'
import { ServerProcess } from './server-process.ts'
import { median } from './statistics.ts'
import {
  atomstreamTarget,
  Fanout,
  type FanoutResult,
  type FanoutTarget,
  nchanTarget,
  publishing,
} from './stream-fanout.ts'
import { measureLatency } from './stream-latency.ts'
import { judgeAtMost, judgeThroughput } from './verdict.ts'

const overNchan = 1.2
const latencyMsAllowed = 25
const rounds = 3

/** So many messages that a run takes the slower of both servers three to five seconds. */
const sizes = [
  { subscribers: 1_000, messages: 1_000, warmUp: 100 },
  { subscribers: 5_000, messages: 80, warmUp: 16 },
] as const
const latency = {
  id: 'stream/latency',
  label: 'a memory sent to its event at each of 100 subscribers, 100 a second',
  subscribers: 100,
  perSecond: 100,
  messages: 1_500,
} as const
/** Counts alone decide, of a few. */
const quick = { subscribers: 20, messages: 20, warmUp: 1 } as const

/** Sockets of the servers and their subscribers that are no subscriber's. */
const otherFiles = 300

export const streamRowIds: readonly string[] = [
  ...sizes.map(({ subscribers }) => fanoutId(subscribers)),
  latency.id,
]

function fanoutId(subscribers: number): string {
  return `stream/fanout-${subscribers}`
}

/**
 * The rows on `/api/v1/stream` that are selected. Rejects where the server cannot be started, dies
 * or does not stop.
 */
export async function benchStream(bench: StreamBench): Promise<RowOutcome[]> {
  const fanouts = sizes.filter(({ subscribers }) => bench.selects(fanoutId(subscribers)))
  const wantsLatency = bench.selects(latency.id)
  if (fanouts.length === 0 && !wantsLatency) return []
  const server = await ServerProcess.start(
    {
      dataDir: join(bench.folder, 'stream-data'),
      apiKey: bench.apiKey,
      command: 'node',
      env: {
        ATOMSTREAM_STREAM_CONNECTIONS_MAX: '0',
        ATOMSTREAM_STREAM_EVENTS_PER_MINUTE: '0',
      },
    },
    bench.signal,
  )
  const outcomes: RowOutcome[] = []
  const take = async (row: RowName, run: () => Promise<Partial<RowOutcome>>): Promise<void> => {
    bench.signal.throwIfAborted()
    const outcome = await attempt(bench, server, row, run)
    const figure = outcome.measured === null ? '-' : formatFigure(outcome.measured)
    bench.progress(`${row.id}: ${figure} ${row.unit}, ${outcome.verdict}; ${outcome.note}`)
    outcomes.push(outcome)
  }
  try {
    bench.memory.watch('stream', server)
    for (const size of fanouts) {
      const { subscribers } = size
      const to = `${subscribers.toLocaleString('en')} subscribers`
      const label = `deliveries to ${to}, over nginx with nchan`
      const row = { id: fanoutId(subscribers), label, unit: '×' }
      await take(row, () => measureFanout(bench, server, bench.options.quick ? quick : size))
    }
    if (wantsLatency) {
      const { id, label } = latency
      await take({ id, label, unit: 'ms p99' }, () => measureStreamLatency(bench, server))
    }
    return outcomes
  } finally {
    await server.stop()
  }
}

interface RowName {
  readonly id: string
  readonly label: string
  readonly unit: string
}

async function attempt(
  { signal, progress }: StreamBench,
  server: ServerProcess,
  row: RowName,
  run: () => Promise<Partial<RowOutcome>>,
): Promise<RowOutcome> {
  const base = { ...row, table: 'stream', verdict: 'missed' } as const
  try {
    return plainOutcome({ ...base, ...(await run()) })
  } catch (error) {
    // A row may fail; without a server, or after an interrupt, the rest would fail for nothing.
    await server.assertAlive()
    signal.throwIfAborted()
    progress(server.logTail)
    return plainOutcome({ ...base, note: (error as Error).message.split('\n')[0] as string })
  }
}

interface FanoutSize {
  readonly subscribers: number
  readonly messages: number
  readonly warmUp: number
}

/** Our server and nchan by turns, so that what else happens on the machine meets both. */
async function measureFanout(
  bench: StreamBench,
  server: ServerProcess,
  size: FanoutSize,
): Promise<Partial<RowOutcome>> {
  const files = openFilesMax()
  if (files < size.subscribers + otherFiles) {
    const needed = size.subscribers + otherFiles
    const note = `a process may open ${files} files here and needs ${needed} (ulimit -n)`
    return { verdict: 'not run', note }
  }
  const ours = await openFanout(bench, atomstreamTarget(server.url, bench.apiKey), size)
  try {
    if (bench.options.quick) return quickFanout(await ours.run(size.messages, size.warmUp))
    const nginx = await findNginx(bench.folder, true, bench.signal)
    if (typeof nginx === 'string') {
      const { deliveriesPerSecond } = await ours.run(size.messages, size.warmUp)
      const note = `${nginx}; ${formatFigure(deliveriesPerSecond)}/s without it`
      return { verdict: 'not run', note }
    }
    const nchan = await BestNchan.open(bench, nginx, size)
    try {
      return await compare(bench, ours, nchan, size)
    } finally {
      await nchan.close()
    }
  } finally {
    await ours.close()
  }
}

function openFanout(
  { signal }: StreamBench,
  target: FanoutTarget,
  { subscribers }: Pick<FanoutSize, 'subscribers'>,
): Promise<Fanout> {
  return Fanout.open(target, subscribers, signal)
}

async function compare(
  { progress }: StreamBench,
  ours: Fanout,
  nchan: BestNchan,
  { subscribers, messages, warmUp }: FanoutSize,
): Promise<Partial<RowOutcome>> {
  const pairs: { ours: FanoutResult; nchan: FanoutResult }[] = []
  for (let round = 0; round < rounds; round++) {
    const pair = {
      ours: await ours.run(messages, warmUp),
      nchan: await nchan.fanout.run(messages, warmUp),
    }
    pairs.push(pair)
    progress(`  ${subscribers}, round ${round + 1}: ${told(pair.ours)} against ${told(pair.nchan)}`)
  }
  const measured = median(
    pairs.map((pair) => pair.ours.deliveriesPerSecond / pair.nchan.deliveriesPerSecond),
  )
  const rate = (name: 'ours' | 'nchan') =>
    formatFigure(median(pairs.map((pair) => pair[name].deliveriesPerSecond)))
  const wait = (name: 'ours' | 'nchan') =>
    formatFigure(median(pairs.map((pair) => pair[name].completeMs)))
  const note =
    `${rate('ours')}/s over ${rate('nchan')}/s, medians of ${rounds}; a message at its last ` +
    `subscriber after ${wait('ours')} and ${wait('nchan')} ms, ${publishing} in flight; ` +
    `nginx ${nchan.source} with ${nchan.workers} worker process${nchan.workers === 1 ? '' : 'es'}`
  const mismatches = pairs.flatMap((pair) => [...pair.ours.mismatches, ...pair.nchan.mismatches])
  if (mismatches.length > 0) return { measured, verdict: 'missed', note: mismatches.join('; ') }
  return {
    measured,
    ...judgeThroughput(measured, { published: overNchan, factor: 1, disk: null }),
    note,
  }
}

function told({ deliveriesPerSecond, completeMs, bytesPerDelivery }: FanoutResult): string {
  const bytes = `${Math.round(bytesPerDelivery)} bytes each`
  return `${formatFigure(deliveriesPerSecond)}/s (${formatFigure(completeMs)} ms, ${bytes})`
}

function quickFanout({ mismatches }: FanoutResult): Partial<RowOutcome> {
  if (mismatches.length > 0) throw new Error(mismatches.join('; '))
  return { verdict: 'not judged' }
}

/** nginx with as many worker processes as serve it best here: one, or one a core. */
class BestNchan {
  private constructor(
    readonly fanout: Fanout,
    readonly source: string,
    private readonly server: NchanServer,
  ) {}

  get workers(): number {
    return this.server.workers
  }

  static async open(bench: StreamBench, files: NginxFiles, size: FanoutSize): Promise<BestNchan> {
    let best: { nchan: BestNchan; rate: number } | null = null
    try {
      for (const workers of new Set([1, availableParallelism()])) {
        const { nchan, rate } = await BestNchan.#tried(bench, files, size, workers)
        const isBetter = best === null || rate > best.rate
        const other: BestNchan | undefined = isBetter ? best?.nchan : nchan
        if (isBetter) best = { nchan, rate }
        await other?.close()
      }
    } catch (error) {
      await best?.nchan.close()
      throw error
    }
    if (best === null) throw new Error('nginx was never started')
    return best.nchan
  }

  static async #tried(
    bench: StreamBench,
    files: NginxFiles,
    size: FanoutSize,
    workers: number,
  ): Promise<{ nchan: BestNchan; rate: number }> {
    const nchan = await BestNchan.#open(bench, files, size, workers)
    try {
      const trial = await nchan.fanout.run(size.messages, size.warmUp)
      bench.progress(`  ${size.subscribers}, nginx with ${workers} workers: ${told(trial)}`)
      return { nchan, rate: trial.deliveriesPerSecond }
    } catch (error) {
      await nchan.close()
      throw error
    }
  }

  static async #open(
    bench: StreamBench,
    files: NginxFiles,
    size: FanoutSize,
    workers: number,
  ): Promise<BestNchan> {
    const { folder, signal } = bench
    const connections = size.subscribers + otherFiles
    const server = await NchanServer.start({ files, folder, workers, connections }, signal)
    try {
      return new BestNchan(await openFanout(bench, nchanTarget(server), size), files.source, server)
    } catch (error) {
      await server.stop()
      throw error
    }
  }

  async close(): Promise<void> {
    try {
      await this.fanout.close()
    } finally {
      await this.server.stop()
    }
  }
}

async function measureStreamLatency(
  bench: StreamBench,
  server: ServerProcess,
): Promise<Partial<RowOutcome>> {
  const isQuick = bench.options.quick
  const { subscribers, messages } = isQuick ? quick : latency
  const target = atomstreamTarget(server.url, bench.apiKey)
  const fanout = await openFanout(bench, target, { subscribers })
  try {
    const { fromSend, fromReply, mismatches } = await measureLatency(
      fanout,
      messages,
      latency.perSecond,
    )
    if (mismatches.length > 0) throw new Error(mismatches.join('; '))
    const measured = fromSend.p99Ms
    const note =
      `${fromSend.samples.toLocaleString('en')} events; from the reply: ` +
      `p50 ${formatFigure(fromReply.p50Ms)} ms, p99 ${formatFigure(fromReply.p99Ms)} ms`
    const { p50Ms, p99Ms } = fromSend
    const judged = isQuick
      ? ({ verdict: 'not judged' } as const)
      : judgeAtMost(measured, latencyMsAllowed)
    return { measured, p50Ms, p99Ms, ...judged, note }
  } finally {
    await fanout.close()
  }
}

/** Node raises its own soft limit to the hard one; infinite where the system does not tell. */
function openFilesMax(): number {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8')
    const hard = /^Max open files\s+\d+\s+(\d+)/m.exec(limits)?.[1]
    return hard === undefined ? Number.POSITIVE_INFINITY : Number(hard)
  } catch {
    return Number.POSITIVE_INFINITY
  }
}
