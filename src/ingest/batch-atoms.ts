import { formatInstant, parseTimestamp } from '../codecs/telemetry/timestamp.ts'
import type { AnalyseResult, EncodedPage } from '../contracts/tasks.ts'
import type { AtomEntry, SessionRow, Transaction } from '../store/interfaces.ts'
import { batchName } from './session-report.ts'

/** An item of a media batch. `bytes` is null where the journal has stored the blob already. */
export interface BatchItem {
  readonly hash: Uint8Array
  readonly byteLength: number
  readonly metadata: Readonly<Record<string, unknown>>
  readonly bytes: Uint8Array | null
}

export type BatchContent =
  | { readonly kind: 'block'; readonly page: EncodedPage }
  | { readonly kind: 'items'; readonly items: readonly BatchItem[] }
  /** Frames that were looked at, and those that become atoms. */
  | {
      readonly kind: 'selection'
      readonly items: readonly BatchItem[]
      /** `index` is the frame's position in `items`; its bytes are another's where it was encoded anew. */
      readonly atoms: readonly { readonly index: number; readonly item: BatchItem }[]
      readonly state: Uint8Array | null
    }
  /** Buffers that were looked at, and the segments that end in them. */
  | {
      readonly kind: 'segments'
      readonly segments: readonly BatchItem[]
      /** Ranges of pending buffers that are cut up by now, or joined with others. */
      readonly dropped: readonly { readonly from: number; readonly through: number }[]
      /** What becomes pending: items that are not cut up yet, and what some of them were joined to. */
      readonly kept: readonly KeptBuffer[]
      /** Items that are neither. */
      readonly spent: readonly BatchItem[]
      readonly state: Uint8Array | null
    }

export interface KeptBuffer {
  readonly item: Pick<BatchItem, 'hash' | 'byteLength' | 'bytes'>
  readonly place: AnalyseResult['places'][number]
}

/** What a batch became. */
export interface BatchAtoms {
  readonly atoms: number
  /** The atoms are the records of one block. */
  readonly isBlock: boolean
  /**
   * In the order in which they extend the hash chain. `item` is the position in the batch of the frame
   * or buffer that it is made of, null where it is made of several.
   */
  readonly digests: readonly { readonly digest: Uint8Array; readonly item: number | null }[]
}

/** Stores what a batch became, and keeps or gives back the bytes that it was made of. */
export function storeContent(
  transaction: Transaction,
  session: SessionRow,
  batch: number,
  content: BatchContent,
): BatchAtoms {
  switch (content.kind) {
    case 'block':
      return storeBlock(transaction, session, batch, content.page)
    case 'items': {
      const kind = session.type === 'video' ? 'frame' : 'buffer'
      for (const item of content.items) appendItem(transaction, session, batch, kind, item)
      const digests = content.items.map(({ hash }, item) => ({ digest: hash, item }))
      return { atoms: digests.length, isBlock: false, digests }
    }
    case 'selection':
      return storeSelection(transaction, session, batch, content)
    case 'segments':
      return storeSegments(transaction, session, batch, content)
  }
}

function storeBlock(
  transaction: Transaction,
  session: SessionRow,
  batch: number,
  page: EncodedPage,
): BatchAtoms {
  transaction.putBlob(session.tenant, page.hash, page.bytes)
  transaction.appendAtom(session, {
    kind: 'block',
    hash: page.hash,
    byteLength: page.bytes.byteLength,
    atoms: page.records,
    fromMs: page.fromMs,
    toMs: page.toMs,
    batch,
    metadata: {
      batchId: batchName(batch),
      recordCount: page.records,
      from: formatInstant(page.fromMs),
      to: formatInstant(page.toMs),
    },
  })
  return { atoms: page.records, isBlock: true, digests: [{ digest: page.hash, item: null }] }
}

function storeSelection(
  transaction: Transaction,
  session: SessionRow,
  batch: number,
  { items, atoms, state }: Extract<BatchContent, { kind: 'selection' }>,
): BatchAtoms {
  const kept = new Set<number>()
  for (const { index, item } of atoms) {
    if (item.hash === items[index]?.hash) kept.add(index)
    appendItem(transaction, session, batch, 'frame', item)
  }
  for (const [index, item] of items.entries()) {
    if (!kept.has(index)) giveBack(transaction, session, item)
  }
  transaction.putStreamState(session, state)
  const digests = atoms.map(({ index, item }) => ({ digest: item.hash, item: index }))
  return { atoms: atoms.length, isBlock: false, digests }
}

function storeSegments(
  transaction: Transaction,
  session: SessionRow,
  batch: number,
  content: Extract<BatchContent, { kind: 'segments' }>,
): BatchAtoms {
  const { segments, dropped, kept, spent, state } = content
  for (const item of segments) appendItem(transaction, session, batch, 'segment', item)
  for (const { from, through } of dropped) transaction.dropPending(session, through, from)
  for (const item of spent) giveBack(transaction, session, item)
  for (const { item, place } of kept) {
    const { hash, byteLength, bytes } = item
    if (bytes !== null) transaction.putBlob(session.tenant, hash, bytes)
    transaction.appendPending(session, { hash, byteLength, ...place })
  }
  transaction.putStreamState(session, state)
  const digests = segments.map(({ hash }) => ({ digest: hash, item: null }))
  return { atoms: segments.length, isBlock: false, digests }
}

/** An item that becomes no atom: what the journal has stored of it is nobody's now. */
function giveBack(transaction: Transaction, session: SessionRow, item: BatchItem): void {
  if (item.bytes === null) transaction.releaseBlob(session.tenant, item.hash)
}

/** One occurrence of a blob; its bytes are stored with it unless the journal has done so. */
export function appendItem(
  transaction: Transaction,
  session: SessionRow,
  batch: number,
  kind: AtomEntry['kind'],
  { hash, byteLength, metadata, bytes }: BatchItem,
): void {
  if (bytes !== null) transaction.putBlob(session.tenant, hash, bytes)
  const fromMs = instantOf(metadata.timestamp)
  const { endTimestamp } = metadata
  transaction.appendAtom(session, {
    kind,
    hash,
    byteLength,
    atoms: 1,
    fromMs,
    toMs: endTimestamp === undefined ? fromMs : instantOf(endTimestamp),
    batch,
    metadata: { ...metadata, batchId: batchName(batch) },
  })
}

/** Milliseconds since the epoch, with their fraction, of a timestamp that a codec has written. */
export function instantOf(timestamp: unknown): number {
  const read = parseTimestamp(timestamp)
  if (read === null) throw new Error(`${timestamp} is no timestamp`)
  return read.ms + read.us / 1_000
}
