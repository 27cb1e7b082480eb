import type { CodecRow } from './codecs.ts'
import { type GrowthPoint, growthDimensions, growthOrder } from './growth-rows.ts'
import type { Machine } from './machine.ts'
import type { DiskResult, ReadBack } from './messages.ts'
import type { OverallVerdict, Verdict } from './verdict.ts'

/** One of several measurements; beside a yardstick the row is judged by their ratio. */
export interface Round {
  readonly ours: number
  readonly yardstick: number | null
  readonly ratio: number | null
}

/** One row of the output, and of the JSON file. */
export interface RowOutcome {
  readonly id: string
  readonly table: ReportTable
  readonly label: string
  /** Of `published`, `required` and `measured`. */
  readonly unit: string
  readonly published: number | null
  readonly required: number | null
  readonly measured: number | null
  readonly p50Ms: number | null
  readonly p99Ms: number | null
  /** Uploads behind the percentiles. */
  readonly samples: number | null
  readonly bytesPerSecond: number | null
  /** The most anonymous memory that the server held during the row. */
  readonly serverAnonBytesMax: number | null
  /** A plain write and fdatasync of the same bytes, where it bounds the row. */
  readonly disk: DiskResult | null
  readonly readBack: ReadBack | null
  readonly verdict: Verdict
  readonly note: string
  /** Of rows that are measured several times: each time, in their order. */
  readonly rounds?: readonly Round[]
  /** What the row was compared with, where that is another program: its version and source. */
  readonly peer?: string
  /** Of rows that tell how cost grows. */
  readonly growth?: GrowthPoint
}

/** A row with nothing but what is given. */
export function plainOutcome(
  row: Pick<RowOutcome, 'id' | 'table' | 'label' | 'unit' | 'verdict'> & Partial<RowOutcome>,
): RowOutcome {
  return {
    published: null,
    required: null,
    measured: null,
    p50Ms: null,
    p99Ms: null,
    samples: null,
    bytesPerSecond: null,
    serverAnonBytesMax: null,
    disk: null,
    readBack: null,
    note: '',
    ...row,
  }
}

/** Goes up when an older report can no longer be read as a newer one. */
export const reportFormat = 1

export interface BenchReport {
  readonly format: typeof reportFormat
  readonly quick: boolean
  readonly machine: Machine
  readonly settings: { readonly rateLimit: 'off'; readonly durability: 'flush' }
  readonly rows: readonly RowOutcome[]
  readonly codecs: readonly CodecRow[]
  /** `met` where no row is missed and each could be run and judged. */
  readonly verdict: OverallVerdict
}

const titles = {
  batch: 'Batch processing: one sender on one connection, who waits for each reply',
  throughput: 'Throughput at saturation',
  latency: 'Latency at the published rate, from when an upload was due to its reply',
  information: 'For information',
  limits: 'Ingest and reading back, as fast as this machine allows',
  growth: 'One thing raised, all else the same',
  durability: 'The cost of durability: ATOMSTREAM_DURABILITY=flush and =commit, by turns',
  client: 'The load process against a server that does nothing',
  server: 'Server',
  media: 'Media files: the whole upload, on a server of its own',
  memories: 'The search of memories, of 1 KB each, on a server of its own',
  stream: 'The stream of memories, on a server of its own, its two limits off',
} as const
export type ReportTable = keyof typeof titles

const sections: readonly { readonly heading: string; readonly tables: readonly ReportTable[] }[] = [
  { heading: 'The published figures', tables: ['batch', 'throughput', 'latency', 'information'] },
  { heading: 'The limits of this machine', tables: ['limits'] },
  { heading: 'How cost grows', tables: ['growth', 'durability'] },
  {
    heading: 'Server, media files, memories and the stream',
    tables: ['client', 'server', 'media', 'memories', 'stream'],
  },
]

/** A table's rows as aligned text: names to the left, figures to the right. */
export function formatTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const all = [header, ...rows]
  const widths = header.map((_, column) =>
    Math.max(...all.map((row) => (row[column] ?? '').length)),
  )
  // A column is one of figures where all that stands in it begins with a digit.
  const figures = header.map((_, column) =>
    rows.every((row) => /^(-$|[\d.])/.test(row[column] ?? '')),
  )
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) => {
        const width = widths[column] ?? 0
        return figures[column] ? cell.padStart(width) : cell.padEnd(width)
      })
      .join('  ')
      .trimEnd()
  const rule = widths.map((width) => '-'.repeat(width)).join('  ')
  return [line(header), rule, ...rows.map(line)].join('\n')
}

/** Three significant digits below a hundred, whole numbers with separators above. */
export function formatFigure(value: number | null): string {
  if (value === null) return '-'
  if (value >= 100) return Math.round(value).toLocaleString('en')
  return String(Number(value.toPrecision(3)))
}

const rowHeader = [
  'row',
  'unit',
  'published',
  'required',
  'measured',
  'p50 ms',
  'p99 ms',
  'uploads',
  'MB/s',
  'verdict',
  'note',
]

function rowCells(row: RowOutcome): string[] {
  return [
    row.label,
    row.unit,
    formatFigure(row.published),
    formatFigure(row.required),
    formatFigure(row.measured),
    formatFigure(row.p50Ms),
    formatFigure(row.p99Ms),
    formatFigure(row.samples),
    formatFigure(row.bytesPerSecond === null ? null : row.bytesPerSecond / 1e6),
    row.verdict,
    row.note,
  ]
}

function formatMachine(machine: Machine): string {
  const memory = `${Math.round(machine.memoryBytes / 2 ** 30)} GiB`
  return [
    `${machine.cpu}, ${machine.cores} cores, ${memory}, ${machine.kernel}, ${machine.fileSystem}`,
    `Node ${machine.node}, atomstream ${machine.packages.atomstream} (${machine.commit ?? 'no commit'})`,
    `${machine.date}`,
    'The rate limit is off. Every reply is durable, ATOMSTREAM_DURABILITY is flush,',
    'except in rows that say commit.',
    'The load generator runs on the same machine and is part of every figure.',
  ].join('\n')
}

/** The whole report as text. */
export function formatReport(report: BenchReport): string {
  const parts = [formatMachine(report.machine)]
  for (const { heading, tables } of sections) {
    const texts = tables.flatMap((table) => {
      const rows = report.rows.filter((row) => row.table === table)
      return rows.length === 0 ? [] : formatRows(table, rows)
    })
    if (texts.length > 0) parts.push(`${heading}\n${'='.repeat(heading.length)}`, ...texts)
  }
  if (report.codecs.length > 0) parts.push(formatCodecs(report.codecs))
  parts.push(formatReadBack(report.rows), formatVerdict(report))
  return `${parts.join('\n\n')}\n`
}

function formatRows(table: ReportTable, rows: readonly RowOutcome[]): string[] {
  if (table === 'growth') return formatGrowth(rows)
  const text =
    table === 'durability' ? formatDurability(rows) : formatTable(rowHeader, rows.map(rowCells))
  return [`${titles[table]}\n\n${text}`]
}

/** A table for each thing that is raised. */
function formatGrowth(rows: readonly RowOutcome[]): string[] {
  const header = ['row', 'rec/s', 'p50 ms', 'p99 ms', 'uploads', 'MB/s', 'server MiB', 'note']
  return growthOrder.flatMap((dimension) => {
    const points = rows.filter(({ growth }) => growth?.dimension === dimension)
    if (points.length === 0) return []
    const cells = points.map((row) => [
      row.label,
      formatFigure(row.measured),
      formatFigure(row.p50Ms),
      formatFigure(row.p99Ms),
      formatFigure(row.samples),
      formatFigure(row.bytesPerSecond === null ? null : row.bytesPerSecond / 1e6),
      formatFigure(row.serverAnonBytesMax === null ? null : row.serverAnonBytesMax / 2 ** 20),
      noteOf(row),
    ])
    return [`${growthDimensions[dimension].title}\n\n${formatTable(header, cells)}`]
  })
}

/** What went as it should needs no word. */
function noteOf({ verdict, note }: RowOutcome): string {
  if (verdict === 'information') return note
  return note === '' ? verdict : `${verdict}: ${note}`
}

/** A line for each size: both modes beside each other, and their quotient. */
function formatDurability(rows: readonly RowOutcome[]): string {
  const header = ['row', 'flush rec/s', 'p99 ms', 'commit rec/s', 'p99 ms', 'commit/flush', 'note']
  const lines = rows.filter(({ unit }) => unit === '×')
  return formatTable(
    header,
    lines.map((line) => {
      const of = (mode: string) => rows.find(({ id }) => id === `${line.id}-${mode}`)
      const [flush, commit] = [of('flush'), of('commit')]
      return [
        line.label,
        formatFigure(flush?.measured ?? null),
        formatFigure(flush?.p99Ms ?? null),
        formatFigure(commit?.measured ?? null),
        formatFigure(commit?.p99Ms ?? null),
        formatFigure(line.measured),
        noteOf(line),
      ]
    }),
  )
}

function formatCodecs(codecs: readonly CodecRow[]): string {
  const header = ['codec, on one thread', 'µs p50', 'µs p99', 'runs', 'MB/s', 'items/s']
  const rows = codecs.map((row) => [
    row.label,
    formatFigure(row.p50Us),
    formatFigure(row.p99Us),
    formatFigure(row.runs),
    formatFigure(row.bytesPerSecond / 1e6),
    formatFigure(row.itemsPerSecond),
  ])
  return `Codecs (tinybench)\n\n${formatTable(header, rows)}`
}

function formatReadBack(rows: readonly RowOutcome[]): string {
  const checked = rows.flatMap((row) => (row.readBack ? [row.readBack] : []))
  const sum = (pick: (readBack: ReadBack) => number) =>
    checked.reduce((total, readBack) => total + pick(readBack), 0).toLocaleString('en')
  const differing = rows.flatMap((row) =>
    (row.readBack?.mismatches ?? []).map((text) => `  ${row.id}: ${text}`),
  )
  return [
    `Read back from the store after each row: ${sum((r) => r.recordsCounted)} atoms counted, ` +
      `${sum((r) => r.recordsCompared)} compared, ${sum((r) => r.blobsCompared)} of them byte for byte; ` +
      `${differing.length === 0 ? 'all as sent' : 'NOT as sent:'}`,
    ...differing,
  ].join('\n')
}

function formatVerdict(report: BenchReport): string {
  const missed = report.rows.filter((row) => row.verdict === 'missed')
  if (missed.length > 0) return `MISSED: ${missed.map((row) => row.id).join(', ')}`
  if (report.quick) return 'Quick run: counts hold, speed was not judged.'
  const ids = (verdict: Verdict) =>
    report.rows.flatMap((row) => (row.verdict === verdict ? [row.id] : []))
  const exceptions = [
    { text: 'not judged (see the notes)', rows: ids('not judged') },
    { text: 'not run', rows: ids('not run') },
  ].flatMap(({ text, rows }) => (rows.length > 0 ? [`${text}: ${rows.join(', ')}`] : []))
  return exceptions.length > 0 ? `All other rows met; ${exceptions.join('; ')}` : 'All rows met.'
}
