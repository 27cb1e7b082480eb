import { isUtf8 } from 'node:buffer'
import type { DecodeUpload } from '../../contracts/tasks.ts'
import { limits } from '../../limits.ts'
import { PageBuilder } from './page-builder.ts'
import { readColumn } from './scanner/columns.ts'
import { fitsSchema } from './scanner/fit.ts'
import { type Entry, messageWords, ScannerInstance } from './scanner/module.ts'
import type { RecordSchema } from './schema.ts'

export interface ScannedMessage {
  readonly id: string | number | null
  readonly builder: PageBuilder
}

/** Uploads or messages as one body. */
export interface ScannedRun {
  readonly ids: readonly ScannedMessage['id'][]
  /** Records of each. */
  readonly records: readonly number[]
  readonly builder: PageBuilder
}

/** What `assembly/index.ts` reports, by its words; before them two doubles, `fromMs` and `toMs`, and the id's. */
const report = { rows: 6, columns: 7, hasMicros: 8, hasWide: 9, idKind: 10, idStart: 11, idEnd: 12 }
const idNumber = 2
const idKinds = { text: 1, number: 2 }

let instance: ScannerInstance | null = null

/**
 * The records of a JSON body `{"records":[…]}` as columns, without an object for any of them; null where
 * the body is anything but what is documented, in every part, or might be: then JSON.parse decides what
 * it is. So whatever this gives, JSON.parse and decodeTelemetry would have given too. The columns stand
 * in memory that the next scan writes over: the page is to be encoded before.
 */
export function scanTelemetry(bytes: Uint8Array, schema: RecordSchema | null): PageBuilder | null {
  const scanner = scan(bytes, 'scanUpload')
  return scanner === null ? null : builderOf(scanner, schema)
}

/** The same of a body in msgpack, where its decoder decides. */
export function scanMsgpack(bytes: Uint8Array, schema: RecordSchema | null): PageBuilder | null {
  const scanner = scan(bytes, 'scanPacked')
  return scanner === null ? null : builderOf(scanner, schema)
}

/** The same of a WebSocket message `{"type":"telemetry","id":…,"records":[…]}`, with or without an id. */
export function scanMessage(bytes: Uint8Array, schema: RecordSchema | null): ScannedMessage | null {
  const scanner = scan(bytes, 'scanMessage')
  if (scanner === null) return null
  const builder = builderOf(scanner, schema)
  if (builder === null) return null
  const word = (offset: number) => scanner.words[wordOf(scanner, offset)] as number
  const place = { kind: word(report.idKind), start: word(report.idStart), end: word(report.idEnd) }
  return {
    id: idOf(scanner, scanner.doubles[scanner.reportAt / 8 + idNumber] as number, place),
    builder,
  }
}

/** The same of several uploads or messages at once, up to `limits.runUploadsMax`; null where one is anything else. */
export function scanSeveral(
  bodies: readonly Uint8Array[],
  envelope: DecodeUpload['envelope'],
  schema: RecordSchema | null,
): ScannedRun | null {
  const areMessages = envelope === 'message'
  const scanner = scanned(bodies, (instance) => instance.scanRun(bodies, areMessages))
  if (scanner === null) return null
  const builder = builderOf(scanner, schema)
  if (builder === null) return null
  const { words, doubles } = scanner
  const ids = bodies.map((_, index) => {
    const word = scanner.messageWord(index, 0)
    return idOf(scanner, doubles[word / 2] as number, {
      kind: words[word + messageWords.idKind] as number,
      start: words[word + messageWords.idStart] as number,
      end: words[word + messageWords.idEnd] as number,
    })
  })
  const records = bodies.map(
    (_, index) => words[scanner.messageWord(index, messageWords.records)] as number,
  )
  return { ids, records, builder }
}

function scan(bytes: Uint8Array, entry: Entry): ScannerInstance | null {
  return scanned([bytes], (instance) => instance.scan(bytes, entry))
}

function scanned(
  bodies: readonly Uint8Array[],
  read: (instance: ScannerInstance) => boolean,
): ScannerInstance | null {
  instance ??= new ScannerInstance()
  const scanner = instance
  const isScanned = read(scanner)
  // Memory never shrinks, so one that a huge body has left goes as soon as its page is encoded.
  if (scanner.memoryBytes > limits.scannerMemoryBytesKept) instance = null
  if (!isScanned) return null
  const hasWide = scanner.words[wordOf(scanner, report.hasWide)] !== 0
  return hasWide && !bodies.every((bytes) => isUtf8(bytes)) ? null : scanner
}

function builderOf(scanner: ScannerInstance, schema: RecordSchema | null): PageBuilder | null {
  const { words, doubles } = scanner
  const rows = words[wordOf(scanner, report.rows)] as number
  const count = words[wordOf(scanner, report.columns)] as number
  const hasMicros = words[wordOf(scanner, report.hasMicros)] !== 0
  const builder = PageBuilder.over({
    rows,
    ms: new Float64Array(doubles.buffer, scanner.millisAt, rows),
    us: hasMicros ? new Uint16Array(doubles.buffer, scanner.microsAt, rows) : null,
    fromMs: doubles[scanner.reportAt / 8] as number,
    toMs: doubles[scanner.reportAt / 8 + 1] as number,
  })
  for (let index = 0; index < count; index += 1) {
    const column = readColumn(scanner, index)
    if (schema !== null && !fitsSchema(column, schema)) return null
    builder.adopt(column)
  }
  if (schema === null) return builder
  return schema.required.every(({ name }) => builder.entriesOf(name) === rows) ? builder : null
}

function idOf(
  scanner: ScannerInstance,
  number: number,
  { kind, start, end }: { kind: number; start: number; end: number },
): string | number | null {
  if (kind === idKinds.number) return number
  return kind === idKinds.text ? scanner.bytes.toString('utf8', start, end) : null
}

function wordOf(scanner: ScannerInstance, word: number): number {
  return scanner.reportAt / 4 + word
}
