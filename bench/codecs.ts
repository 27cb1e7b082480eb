import assert from 'node:assert/strict'
import { setMaxListeners } from 'node:events'
import { Packr } from 'msgpackr'
import { Bench, type Task } from 'tinybench'
import { base64ByteLength, decodeBase64 } from '../src/codecs/base64.ts'
import { readJpegStructure } from '../src/codecs/jpeg.ts'
import { runTask } from '../src/codecs/task.ts'
import { readWav } from '../src/codecs/wav.ts'
import type { DecodeTask, EncodedPage, TaskResults, WorkerTask } from '../src/contracts/tasks.ts'
import { createBodySource, createMediaSource } from './bodies.ts'

/** What one codec takes, on one thread. */
export interface CodecRow {
  readonly label: string
  readonly p50Us: number
  readonly p99Us: number
  readonly runs: number
  readonly bytesPerSecond: number
  /** Records, frames or buffers. */
  readonly itemsPerSecond: number
}

interface CodecCase {
  readonly label: string
  /** What one run takes in. */
  readonly bytes: number
  readonly items: number
  readonly run: () => unknown
}

const taskMs = 300
const warmUpMs = 100
const quickRuns = 2

/** The tasks that workers run, by the same entry, and what they are made of. */
export async function benchCodecs(
  quick: boolean,
  progress: (text: string) => void,
  signal: AbortSignal,
): Promise<CodecRow[]> {
  const cases = [...(await telemetryCases()), ...(await mediaCases())]
  // Each task listens to it.
  setMaxListeners(cases.length + 10, signal)
  const bench = new Bench({
    signal,
    throws: true,
    ...(quick
      ? { time: 0, iterations: quickRuns, warmup: false }
      : { time: taskMs, iterations: 8, warmupTime: warmUpMs, warmupIterations: 8 }),
  })
  for (const codec of cases) bench.add(codec.label, codec.run)
  const tasks = await bench.run()
  progress(`codecs: ${tasks.length} measured`)
  return cases.map((codec, index) => codecRow(codec, tasks[index] as Task))
}

function codecRow(codec: CodecCase, { result }: Task): CodecRow {
  if (result.state !== 'completed') throw new Error(`${codec.label}: ${result.state}`)
  const { p50, p99, samplesCount, mean } = result.latency
  return {
    label: codec.label,
    p50Us: p50 * 1_000,
    p99Us: p99 * 1_000,
    runs: samplesCount,
    bytesPerSecond: (codec.bytes * 1_000) / mean,
    itemsPerSecond: (codec.items * 1_000) / mean,
  }
}

async function telemetryCases(): Promise<CodecCase[]> {
  const packr = new Packr({ useRecords: false })
  const cases: CodecCase[] = []
  for (const records of [100, 1_000, 10_000]) {
    const json = await telemetryBody(records)
    const msgpack = ownBytes(packr.pack(JSON.parse(json.toString())))
    const of = `${records.toLocaleString('en')} records`
    cases.push(
      bodyCase(`JSON.parse alone, ${of}`, json, records, () => JSON.parse(json.toString())),
      bodyCase(`JSON to page, ${of}`, json, records, decoder(json, 'json', 'telemetry', records)),
      bodyCase(
        `msgpack to page, ${of}`,
        msgpack,
        records,
        decoder(msgpack, 'msgpack', 'telemetry', records),
      ),
    )
  }
  const pages = await Promise.all(Array.from({ length: 10 }, (_, index) => page(1_000, index)))
  const merge = () => run({ kind: 'merge', pages: pages.map((each) => each.bytes) })
  const block = await merge()
  assert.equal(block.records, 10_000)
  const read = (format: 'json' | 'ndjson') => () =>
    run({
      kind: 'read',
      blocks: [
        { bytes: block.bytes, hash: Buffer.from(block.hash).toString('hex'), firstIndex: 0 },
      ],
      fromMs: null,
      toMs: null,
      fields: null,
      limit: block.records,
      format,
    })
  const ndjson = await read('ndjson')()
  assert.equal(ndjson.records, 10_000)
  return [
    ...cases,
    bodyCase('merge of 10 pages of 1,000 records', block.bytes, 10_000, merge),
    bodyCase('page of 10,000 records to NDJSON', block.bytes, 10_000, read('ndjson')),
    bodyCase('page of 10,000 records to JSON', block.bytes, 10_000, read('json')),
  ]
}

async function mediaCases(): Promise<CodecCase[]> {
  const frames = await createMediaSource({ kind: 'frames', encoding: 'msgpack', records: 10 })
  const buffers = await createMediaSource({ kind: 'buffers', encoding: 'msgpack', records: 10 })
  const frame = frames.item(0)
  const buffer = buffers.item(0)
  const base64 = frame.toString('base64')
  const target = Buffer.alloc(frame.length)
  const frameBody = Buffer.alloc(frames.bytesMax)
  frames.write(frameBody, 0, 0)
  const bufferBody = Buffer.alloc(buffers.bytesMax)
  buffers.write(bufferBody, 0, 0)
  return [
    bodyCase('JPEG structure, one frame', frame, 1, () => readJpegStructure(frame)),
    bodyCase('base64, one frame', Buffer.from(base64), 1, () => {
      assert.equal(base64ByteLength(base64), target.length)
      assert(decodeBase64(base64, target, 0, target.length))
    }),
    bodyCase('WAV, one buffer', buffer, 1, () => readWav(buffer)),
    bodyCase('msgpack, 10 frames', frameBody, 10, decoder(frameBody, 'msgpack', 'video', 10)),
    bodyCase('msgpack, 10 buffers', bufferBody, 10, decoder(bufferBody, 'msgpack', 'audio', 10)),
  ]
}

function bodyCase(
  label: string,
  input: Uint8Array,
  items: number,
  runCase: () => unknown,
): CodecCase {
  return { label, bytes: input.byteLength, items, run: runCase }
}

async function telemetryBody(records: number, upload = 0): Promise<Buffer> {
  const source = await createBodySource({ kind: 'telemetry', encoding: 'json', records })
  const body = Buffer.alloc(source.bytesMax)
  return ownBytes(body.subarray(0, source.write(body, 0, upload * records)))
}

/** A copy in a buffer of its own, from its first byte on, as bodies reach a worker. */
function ownBytes(bytes: Uint8Array): Buffer {
  return Buffer.from(new Uint8Array(bytes).buffer)
}

async function page(records: number, upload: number): Promise<EncodedPage> {
  const body = await telemetryBody(records, upload)
  const { verdicts } = await run(decodeTask(body, 'json', 'telemetry'))
  const verdict = verdicts[0]
  assert(verdict?.kind === 'accepted' && verdict.content.kind === 'page', 'the body is valid')
  return verdict.content.page
}

function decodeTask(
  body: Buffer,
  format: 'json' | 'msgpack',
  sessionType: 'telemetry' | 'video' | 'audio',
): DecodeTask {
  const settings = {
    sessionType,
    onInvalid: 'reject-records',
    verify: 'structure',
    schema: null,
  } as const
  const { buffer, byteLength } = body
  const upload = { body: buffer as ArrayBuffer, byteLength, format, gzip: false, settings }
  return { kind: 'decode', uploads: [{ ...upload, envelope: 'upload', fingerprint: false }] }
}

/** A decode that fails unless all of the body is accepted. */
function decoder(
  body: Buffer,
  format: 'json' | 'msgpack',
  sessionType: 'telemetry' | 'video' | 'audio',
  received: number,
): () => Promise<void> {
  const task = decodeTask(body, format, sessionType)
  return async () => {
    const { verdicts } = await run(task)
    const verdict = verdicts[0]
    assert(verdict?.kind === 'accepted' && verdict.rejected.count === 0, 'the body is valid')
    assert.equal(verdict.received, received)
  }
}

async function run<K extends WorkerTask['kind']>(
  task: Extract<WorkerTask, { kind: K }>,
): Promise<TaskResults[K]> {
  const { result } = await runTask(task)
  return result as TaskResults[K]
}
