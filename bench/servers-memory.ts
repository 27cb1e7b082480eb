import { plainOutcome, type RowOutcome } from './report.ts'
import { type Judgement, judgeAtMost } from './verdict.ts'

const MiB = 2 ** 20
/** What the server may hold at most of anonymous memory, through all that the bench does to it. */
const anonBytesAllowed = 600 * MiB

/** What is read of a server; its process in a run. */
export interface WatchedServer {
  watchMemory(): void
  /** The most so far; 0 where the system does not tell. */
  readonly anonBytesMax: number
}

/** `bytes` is 0 where the system does not tell, of which no bound can be met. */
export function judgeMemory(
  bytes: number,
  isQuick: boolean,
): Pick<RowOutcome, 'measured' | 'required' | 'verdict' | 'note'> {
  const unread = { measured: null, required: null, note: 'this system does not tell' }
  if (bytes === 0) return { ...unread, verdict: 'not run' }
  const measured = bytes / MiB
  if (isQuick) return { measured, required: null, verdict: 'not judged', note: '' }
  const judgement: Judgement = judgeAtMost(measured, anonBytesAllowed / MiB)
  return { measured, ...judgement }
}

/** All servers whose memory the bound holds for: a row that ran on another would go unseen. */
export class ServersMemory {
  readonly #servers: { readonly name: string; readonly server: WatchedServer }[] = []

  /** Watches the server from now on; what it held is kept when it has stopped. */
  watch(name: string, server: WatchedServer): void {
    server.watchMemory()
    this.#servers.push({ name, server })
  }

  /** The row on the server that held most; none where no server ran. */
  row(isQuick: boolean): RowOutcome[] {
    const most = this.#servers
      .map(({ name, server }) => ({ name, bytes: server.anonBytesMax }))
      .toSorted((a, b) => b.bytes - a.bytes)
    const [first] = most
    if (first === undefined) return []
    // One that could not be read might have held more than all others.
    const isRead = most.every(({ bytes }) => bytes > 0)
    const judgement = judgeMemory(isRead ? first.bytes : 0, isQuick)
    const told = most.slice(0, 3).map(({ name, bytes }) => `${name} ${Math.round(bytes / MiB)}`)
    return [
      plainOutcome({
        id: 'server/memory',
        table: 'server',
        label: 'most anonymous memory (RssAnon) of any server through all rows',
        unit: 'MiB',
        ...judgement,
        ...(isRead ? { note: `most of ${most.length}: ${told.join(', ')}` } : {}),
      }),
    ]
  }
}
