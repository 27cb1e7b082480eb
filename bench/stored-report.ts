import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { type BenchReport, reportFormat } from './report.ts'

const Figure = Type.Union([Type.Number(), Type.Null()])

/** What comparing and plotting read of a report. */
const StoredReport = Type.Object({
  format: Type.Literal(reportFormat),
  quick: Type.Boolean(),
  machine: Type.Object({
    cpu: Type.String(),
    cores: Type.Number(),
    memoryBytes: Type.Number(),
    kernel: Type.String(),
    fileSystem: Type.String(),
    node: Type.String(),
    packages: Type.Record(Type.String(), Type.String()),
    commit: Type.Union([Type.String(), Type.Null()]),
    date: Type.String(),
  }),
  rows: Type.Array(
    Type.Object({
      id: Type.String(),
      label: Type.String(),
      unit: Type.String(),
      measured: Figure,
      p99Ms: Figure,
      growth: Type.Optional(
        Type.Object({
          dimension: Type.Union(
            (['batch', 'connections', 'sessions', 'store'] as const).map((name) =>
              Type.Literal(name),
            ),
          ),
          value: Type.Number(),
        }),
      ),
    }),
  ),
  codecs: Type.Array(Type.Object({ label: Type.String(), p50Us: Type.Number() })),
})

/**
 * The report in a file that the bench has written. Throws an Error that names the file and says
 * what is wrong with it.
 */
export function readReport(path: string): BenchReport {
  const fail = (what: string): never => {
    throw new Error(`${path} ${what}`)
  }
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    return fail(code === 'ENOENT' ? 'is not there' : `cannot be read (${code})`)
  }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    return fail(`is no JSON: ${(error as Error).message}`)
  }
  const format = (value as { format?: unknown } | null)?.format
  if (typeof format === 'number' && format !== reportFormat) {
    return fail(`is a report of format ${format}; this bench reads format ${reportFormat}`)
  }
  const [wrong] = Value.Errors(StoredReport, value)
  if (wrong) return fail(`is no report of this bench: ${wrong.path || '/'}: ${wrong.message}`)
  // The rest of it neither of them looks at.
  return value as BenchReport
}

/** Writes a file, and the folders that it lies in where they are missing. */
export function writeResult(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
}
