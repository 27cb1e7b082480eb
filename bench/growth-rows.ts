import { limits } from '../src/limits.ts'
import type { Pace, RunSpec } from './messages.ts'

/** What is raised while all else stays as it is. */
export type GrowthDimension = 'batch' | 'connections' | 'sessions' | 'store'

/** Where on its axis a row stands: records, connections, sessions, or bytes in the store. */
export interface GrowthPoint {
  readonly dimension: GrowthDimension
  readonly value: number
}

export interface GrowthRow {
  readonly id: string
  readonly label: string
  readonly point: GrowthPoint
  readonly run: RunSpec
}

interface Dimension {
  /** Of its rows in the report. */
  readonly title: string
  /** Of its panel in the plot, and of that panel's axis. */
  readonly caption: string
  readonly axis: string
  readonly values: readonly number[]
  readonly quickValues: readonly number[]
  readonly name: (value: number) => string
  readonly label: (value: number) => string
}

const records = 100
const connections = 16
const GB = 1e9
const MB = 1e6

const count = (value: number) => value.toLocaleString('en')
const plural = (value: number, noun: string) => `${count(value)} ${noun}${value === 1 ? '' : 's'}`
const bytes = (value: number) => (value > 0 && value < GB ? `${value / MB} MB` : `${value / GB} GB`)

export const growthDimensions: Readonly<Record<GrowthDimension, Dimension>> = {
  batch: {
    title: `Against the batch size: ${plural(connections, 'connection')} to one session`,
    caption: `Batch size: ${plural(connections, 'connection')}, one session`,
    axis: 'records a batch',
    values: [1, 10, 100, 1_000, 10_000],
    quickValues: [1, 10, 100, 1_000, 10_000],
    name: (value) => `batch-${value}`,
    label: (value) => `${count(value)} a batch`,
  },
  connections: {
    title: `Against connections: ${records} a batch, to one session`,
    caption: `Connections: ${records} a batch, one session`,
    axis: 'connections',
    values: [1, 4, 16, 64, 256],
    quickValues: [1, 2, 3, 4, 5],
    name: (value) => `connections-${value}`,
    label: (value) => plural(value, 'connection'),
  },
  sessions: {
    title: `Against sessions, written to in turn: ${records} a batch, ${connections} connections`,
    caption: `Sessions: ${records} a batch, ${connections} connections`,
    axis: 'open sessions, written to in turn',
    values: [1, 10, 100, 1_000, 10_000],
    quickValues: [1, 2, 3, 4, 5],
    name: (value) => `sessions-${value}`,
    label: (value) => plural(value, 'session'),
  },
  store: {
    title:
      `Against the store's size, filled with distinct frames of 200 KB: ` +
      `${records} a batch, ${connections} connections`,
    caption: `Store: ${records} a batch, ${connections} connections, one session`,
    axis: 'GB in the store',
    values: [0, GB, 2 * GB, 4 * GB],
    // An upload of ten frames is two megabytes.
    quickValues: [0, 2 * MB, 4 * MB, 8 * MB],
    name: (value) => `store-${value / GB}gb`,
    label: (value) =>
      value === 0 ? 'nearly nothing in the store' : `${bytes(value)} in the store`,
  },
}

export const growthOrder = Object.keys(growthDimensions) as GrowthDimension[]

const uploadsMax = 1_000_000
const quickUploads = 8
const full: Pace = { kind: 'saturate', warmUpMs: 300, measureMs: 1_000, uploadsMax }
const warmUpPace: Pace = { kind: 'saturate', warmUpMs: 0, measureMs: 2_000, uploadsMax }
const quickPace: Pace = {
  kind: 'saturate',
  warmUpMs: 0,
  measureMs: 60_000,
  uploadsMax: quickUploads,
}

/** All points in the order in which they are measured; `quick` keeps their ids and sends little. */
export function growthRows(quick: boolean): GrowthRow[] {
  return growthOrder.flatMap((dimension) => {
    const { values, quickValues, name, label } = growthDimensions[dimension]
    return values.map((value, index): GrowthRow => {
      const measured = quick ? (quickValues[index] as number) : value
      return {
        id: `growth/${name(value)}`,
        label: label(measured),
        point: { dimension, value: measured },
        run: runAt(dimension, measured, quick),
      }
    })
  })
}

function runAt(dimension: GrowthDimension, value: number, quick: boolean): RunSpec {
  const batchSize = dimension === 'batch' ? value : records
  return {
    body: { kind: 'telemetry', encoding: 'json', records: batchSize },
    connections: dimension === 'connections' ? value : quick ? 2 : connections,
    ...(dimension === 'sessions' ? { sessions: value } : {}),
    pace: quick ? quickPace : full,
    session: { sessionType: 'telemetry', batchSize },
    expect: 'processed',
  }
}

/** What a server takes before the first of its points: the load of the points in the middle. */
export function warmUpRun(quick: boolean): RunSpec {
  const run = runAt('connections', quick ? 1 : connections, quick)
  return quick ? run : { ...run, pace: warmUpPace }
}

/** Frames that make the store larger: nothing else stores as many bytes in so short a time. */
export const fillFrames = { records: 100, quickRecords: 10, bytesEach: 200_000, connections: 3 }

export function fillRun(addedBytes: number, quick: boolean): RunSpec {
  const size = quick ? fillFrames.quickRecords : fillFrames.records
  const uploads = Math.ceil(addedBytes / (size * fillFrames.bytesEach))
  return {
    body: { kind: 'frames', encoding: 'msgpack', records: size },
    connections: quick ? 1 : fillFrames.connections,
    pace: { kind: 'saturate', warmUpMs: 0, measureMs: fillMsMax, uploadsMax: uploads },
    session: { sessionType: 'video', batchSize: size },
    expect: 'processed',
  }
}

const fillMsMax = 60_000

/** What a point is to be read with. */
export function growthNote({ run }: GrowthRow): string {
  const most = limits.concurrentBatchesMax
  return run.connections > most ? `a session works on ${most} batches at a time` : ''
}
