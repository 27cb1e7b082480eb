import { type BenchReport, plainOutcome, type RowOutcome } from '../../bench/report.ts'

/** Some machine that the bench has run on. */
export const someMachine: BenchReport['machine'] = {
  cpu: 'Some CPU',
  cores: 2,
  memoryBytes: 2 ** 34,
  kernel: 'Linux 6',
  fileSystem: 'ext4',
  node: 'v20',
  packages: { atomstream: '1.2.3' },
  commit: '0123456789abcdef',
  date: '2025-01-20T10:30:00.000Z',
}

/** A report of these rows, as the bench makes it on some machine. */
export function benchReport(
  rows: readonly (Pick<RowOutcome, 'id'> & Partial<RowOutcome>)[],
  rest: Partial<BenchReport> = {},
): BenchReport {
  return {
    format: 1,
    quick: false,
    machine: someMachine,
    settings: { rateLimit: 'off', durability: 'flush' },
    rows: rows.map((row) =>
      plainOutcome({
        table: 'growth',
        label: row.id,
        unit: 'rec/s',
        verdict: 'information',
        ...row,
      }),
    ),
    codecs: [],
    verdict: 'met',
    ...rest,
  }
}
