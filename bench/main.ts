import { writeFileSync } from 'node:fs'
import { runBench } from './bench.ts'
import { help, parseOptions } from './options.ts'
import { formatReport } from './report.ts'

const exitMissed = 1
const exitUsage = 2
const exitInterrupted = 130

await main()

async function main(): Promise<void> {
  let options: ReturnType<typeof parseOptions>
  try {
    options = parseOptions(process.argv.slice(2))
  } catch (error) {
    process.stderr.write(`bench: ${(error as Error).message}\n`)
    process.exitCode = exitUsage
    return
  }
  if (options.help) {
    process.stdout.write(help)
    return
  }
  const interrupted = new AbortController()
  const interrupt = () => interrupted.abort(new Error('interrupted'))
  process.once('SIGINT', interrupt)
  process.once('SIGTERM', interrupt)
  try {
    const progress = (text: string) => process.stderr.write(`${text}\n`)
    const report = await runBench(options, progress, interrupted.signal)
    process.stdout.write(formatReport(report))
    if (options.json !== null) writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`)
    if (report.verdict === 'missed') process.exitCode = exitMissed
  } catch (error) {
    process.stderr.write(`bench: ${error instanceof Error ? error.stack : error}\n`)
    process.exitCode = interrupted.signal.aborted ? exitInterrupted : exitMissed
  }
}
