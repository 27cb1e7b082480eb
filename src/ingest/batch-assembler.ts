import type { MergeTask } from '../contracts/tasks.ts'
import type { WorkerPool } from '../pool/pool.ts'
import type { SessionRow, Store } from '../store/interfaces.ts'
import type { Batch } from './batch.ts'
import type { BatchContent, BatchItem } from './batch-atoms.ts'
import { JournalDamage } from './batch-failure.ts'
import { uploadItems } from './batch-store.ts'
import { StreamStage } from './stream-stage.ts'

/** From the uploads of a batch to what is stored of it. */
export class BatchAssembler {
  readonly #store: Store
  readonly #pool: WorkerPool
  readonly #stage: StreamStage

  constructor({ store, pool }: { store: Store; pool: WorkerPool }) {
    this.#store = store
    this.#pool = pool
    this.#stage = new StreamStage({ store, pool })
  }

  /** What a batch becomes. */
  async assemble(session: SessionRow, batch: Batch): Promise<BatchContent> {
    const content = await this.#gather(session, batch)
    if (content.kind !== 'items') return content
    const { frameExtraction, segmentation } = session
    // What is redriven after the end has nothing to follow it.
    const isEnd = session.endedAtMs !== null
    if (frameExtraction !== null) {
      return this.#stage.select(session, frameExtraction, content.items, isEnd)
    }
    if (segmentation === null) return content
    return this.#stage.segment(session, segmentation, content.items, isEnd)
  }

  /** Gathers a batch's content, from memory where it still is, else from the journal. */
  async #gather(session: SessionRow, batch: Batch): Promise<BatchContent> {
    const [only] = batch.entries
    if (batch.entries.length === 1 && only?.upload?.content.kind === 'page') {
      return { kind: 'block', page: only.upload.content.page }
    }
    const contents = this.#journaled(session, batch)
    const pages: Uint8Array[] = []
    const items: BatchItem[] = []
    for (const entry of batch.entries) {
      if (entry.upload !== null) {
        const { content } = entry.upload
        // A copy, because the merge takes its pages by transfer and the journal may yet need this one.
        if (content.kind === 'page') pages.push(content.page.bytes.slice())
        else items.push(...uploadItems(entry.upload))
        continue
      }
      const content = contents.get(entry.journalNumber ?? -1)
      if (content === undefined) throw new JournalDamage('a journaled upload is missing')
      if (content.kind === 'page') pages.push(content.bytes)
      else items.push(...content.items.map((item) => ({ ...item, bytes: null })))
    }
    if (pages.length === 0) return { kind: 'items', items }
    const merge: MergeTask = { kind: 'merge', pages }
    return { kind: 'block', page: await this.#pool.run(merge) }
  }

  #journaled(session: SessionRow, batch: Batch) {
    const { journal } = this.#store
    const entries = batch.entries.some((entry) => entry.upload === null)
      ? journal.batch(session.number, batch.number)
      : []
    return new Map(entries.map(({ number, content }) => [number, content]))
  }

  /** What the end of a session makes of what its batches have left. */
  async assembleEnd(session: SessionRow): Promise<BatchContent> {
    const { segmentation } = session
    if (segmentation === null) return { kind: 'selection', items: [], atoms: [], state: null }
    return this.#stage.segment(session, segmentation, [], true)
  }
}

/** About how many bytes it adds to a transaction. */
export function contentBytes(content: BatchContent): number {
  switch (content.kind) {
    case 'block':
      return content.page.bytes.byteLength
    case 'items':
      return itemBytes(content.items)
    case 'selection':
      return itemBytes(content.atoms.map(({ item }) => item))
    case 'segments':
      return itemBytes(content.segments) + itemBytes(content.kept.map(({ item }) => item))
  }
}

function itemBytes(items: readonly Pick<BatchItem, 'bytes'>[]): number {
  return items.reduce((sum, item) => sum + (item.bytes?.byteLength ?? 256), 0)
}
