import type { Turns } from './turns.ts'

/** What the making of a long reply needs of its request. */
export interface PageOptions {
  /** Ends what nobody waits for any more. */
  readonly signal?: AbortSignal | undefined
  /** Is told of bytes that are in memory from now on, and may throw where these are too many. */
  readonly hold?: ((bytes: number) => void) | undefined
}

interface Page<T> {
  /** The list's name. */
  readonly name: string
  readonly picks: readonly T[]
  /** The item of a pick, null where there is none any more. */
  readonly read: (pick: T) => object | null
  /** The members that follow the list: one at least. */
  readonly rest: object
}

/**
 * JSON of an object with a list. A page may have many megabytes, each of which takes 3 to 7 ms to read
 * and render, so that goes over several turns of the event loop.
 */
export async function renderPage<T>(
  { name, picks, read, rest }: Page<T>,
  turns: Turns,
  { signal, hold = () => {} }: PageOptions,
): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  const add = (text: string): void => {
    const part = Buffer.from(text)
    hold(part.byteLength)
    turns.spend(part.byteLength)
    parts.push(part)
  }
  let before = `{${JSON.stringify(name)}:[`
  for (const pick of picks) {
    if (turns.isSpent) await turns.next()
    if (signal?.aborted === true) break
    const item = read(pick)
    if (item === null) continue
    add(before + JSON.stringify(item))
    before = ','
  }
  add(`${before === ',' ? '' : before}],${JSON.stringify(rest).slice(1)}`)
  return Buffer.concat(parts)
}
