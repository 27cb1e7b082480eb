import { type FrameSettings, type SegmentSettings, selectNeedsBytes } from '../contracts/media.ts'
import type { AnalyseResult, AudioCut, CutTask, SelectedFrame } from '../contracts/tasks.ts'
import { limits } from '../limits.ts'
import type { WorkerPool } from '../pool/pool.ts'
import type { PendingBuffer, SessionRow, Store } from '../store/interfaces.ts'
import { type BatchContent, type BatchItem, instantOf, type KeptBuffer } from './batch-atoms.ts'
import { JournalDamage } from './batch-failure.ts'

type Selection = Extract<BatchContent, { kind: 'selection' }>
type Segments = Extract<BatchContent, { kind: 'segments' }>

/** Whether what a session's batches become depends on what came before: they follow each other then. */
export function isStreamed({ frameExtraction, segmentation }: SessionRow): boolean {
  return frameExtraction !== null || segmentation !== null
}

/**
 * Between the items of a batch and its atoms, where a session selects frames or cuts audio. What is to be
 * known of earlier batches stands in the store: the state that the last task gave, and the buffers that
 * are not cut yet. So nothing is held between two batches, and any thread can do the next one.
 */
export class StreamStage {
  readonly #store: Store
  readonly #pool: WorkerPool

  constructor({ store, pool }: { store: Store; pool: WorkerPool }) {
    this.#store = store
    this.#pool = pool
  }

  /** Which of a batch's frames become atoms, and as what. `isEnd`: nothing comes after them. */
  async select(
    session: SessionRow,
    settings: FrameSettings,
    items: readonly BatchItem[],
    isEnd: boolean,
  ): Promise<Selection> {
    const needsBytes = selectNeedsBytes(settings)
    const atoms: Selection['atoms'][number][] = []
    let state = this.#store.streams.state(session.number)
    for (const { from, to } of slices(items)) {
      const frames = items.slice(from, to).map((item) => ({
        bytes: needsBytes ? this.#bytes(session, item) : null,
        atMs: instantOf(item.metadata.timestamp),
      }))
      const result = await this.#pool.run({ kind: 'select', settings, state, frames })
      state = result.state
      for (const frame of result.selected) {
        const item = items[from + frame.index]
        if (item === undefined) throw new Error('a frame was selected that was not given')
        atoms.push({ index: from + frame.index, item: selectedItem(item, frame, result.buffer) })
      }
    }
    return { kind: 'selection', items, atoms, state: isEnd ? null : state }
  }

  /** Cuts a batch's buffers, and what is left of those before them. `isEnd`: nothing comes after them. */
  async segment(
    session: SessionRow,
    settings: SegmentSettings,
    items: readonly BatchItem[],
    isEnd: boolean,
  ): Promise<Segments> {
    let state = this.#store.streams.state(session.number)
    const places: AnalyseResult['places'][number][] = []
    const cuts: AudioCut[] = []
    const parts = items.length === 0 ? [{ from: 0, to: 0 }] : slices(items)
    for (const { from, to } of parts) {
      const buffers = items.slice(from, to).map((item) => ({
        bytes: this.#bytes(session, item),
        atMs: instantOf(item.metadata.timestamp),
      }))
      const isLast = to === items.length
      const result = await this.#pool.run({
        kind: 'analyse',
        settings,
        state,
        buffers,
        isEnd: isEnd && isLast,
      })
      state = result.state
      places.push(...result.places)
      cuts.push(...result.cuts)
    }
    const sources: Source[] = [
      ...this.#store.streams.pending(session.number).map((row) => ({ ...row, item: null })),
      ...places.map((place, index) => ({ ...place, item: items[index] as BatchItem })),
    ]
    const segments: BatchItem[] = []
    for (const group of cutGroups(cuts, sources)) {
      segments.push(...(await this.#cut(session, settings.mode, group)))
    }
    const firstKept = sources.findIndex((source) => !isConsumed(source, cuts.at(-1)))
    const [spent, rest] =
      firstKept === -1 ? [sources, []] : [sources.slice(0, firstKept), sources.slice(firstKept)]
    const firstJoined = firstToJoin(rest)
    const joined = rest.slice(firstJoined)
    return {
      kind: 'segments',
      segments,
      dropped: [numbersOf(spent), numbersOf(joined)].flatMap((range) => range ?? []),
      kept: [
        ...rest.slice(0, firstJoined).flatMap(keptItem),
        ...(await this.#join(session, settings.mode, joined)),
      ],
      spent: [...spent, ...joined].flatMap(({ item }) => item ?? []),
      state: isEnd ? null : state,
    }
  }

  /** The same audio in fewer buffers. */
  async #join(
    session: SessionRow,
    mode: SegmentSettings['mode'],
    sources: readonly Source[],
  ): Promise<KeptBuffer[]> {
    const kept: KeptBuffer[] = []
    for (const group of joinGroups(sources)) {
      const [first, last] = [group[0] as Source, group.at(-1) as Source]
      const { run, startSample } = first
      const endSample = last.startSample + last.samples
      const cut: AudioCut = {
        run,
        startSample,
        endSample,
        reason: 'end',
        score: null,
        threshold: null,
        silence: null,
        fromMs: 0,
        toMs: 0,
      }
      const [item] = await this.#cut(session, mode, { cuts: [cut], sources: group })
      if (item === undefined) throw new Error('a cut gives a segment')
      kept.push({ item, place: { run, startSample, samples: endSample - startSample } })
    }
    return kept
  }

  async #cut(
    session: SessionRow,
    mode: SegmentSettings['mode'],
    { cuts, sources }: CutGroup,
  ): Promise<BatchItem[]> {
    const buffers: CutTask['buffers'] = sources.map((source) => ({
      bytes: this.#bytes(session, source.item ?? { ...(source as PendingBuffer), bytes: null }),
      run: source.run,
      startSample: source.startSample,
    }))
    const { buffer, items } = await this.#pool.run({ kind: 'cut', mode, cuts, buffers })
    return items.map(({ byteOffset, byteLength, hash, metadata }) => ({
      hash,
      byteLength,
      metadata,
      bytes: new Uint8Array(buffer, byteOffset, byteLength),
    }))
  }

  /** In a buffer of its own, because it goes to a worker for good while the journal may yet need it. */
  #bytes(
    session: SessionRow,
    { hash, bytes }: Pick<BatchItem, 'hash' | 'bytes'>,
  ): Uint8Array<ArrayBuffer> {
    const own = bytes === null ? this.#store.blobs.get(session.tenant, hash) : bytes.slice()
    if (own === null)
      throw new JournalDamage('the bytes of a journaled frame or buffer are missing')
    return own as Uint8Array<ArrayBuffer>
  }
}

/** A buffer that waits to be cut, or one of the batch. */
type Source =
  | (PendingBuffer & { readonly item: null })
  | (AnalyseResult['places'][number] & { readonly item: BatchItem })

function keptItem(source: Source): KeptBuffer[] {
  if (source.item === null) return []
  const { item, run, startSample, samples } = source
  return [{ item, place: { run, startSample, samples } }]
}

/** The numbers of the pending buffers among neighbouring sources; null where there is none. */
function numbersOf(sources: readonly Source[]): { from: number; through: number } | null {
  const numbers = sources.flatMap((source) => (source.item === null ? [source.number] : []))
  const [from, through] = [numbers[0], numbers.at(-1)]
  return from === undefined || through === undefined ? null : { from, through }
}

/**
 * Where a session has many buffers that wait, from which one on they are joined: every batch looks at
 * them all, and a cut opens each. Those at the beginning that are large already stay.
 */
function firstToJoin(sources: readonly Source[]): number {
  if (sources.length <= limits.pendingBuffersMax) return sources.length
  const isLarge = (source: Source) => byteLengthOf(source) >= limits.pendingJoinBytesMax / 2
  const first = sources.findIndex((source) => !isLarge(source))
  return first === -1 ? sources.length : first
}

/** Neighbours of one run, as many as are to be one buffer. */
function joinGroups(sources: readonly Source[]): Source[][] {
  const groups: Source[][] = []
  let bytes = 0
  for (const source of sources) {
    const group = groups.at(-1)
    bytes += byteLengthOf(source)
    if (
      group !== undefined &&
      group[0]?.run === source.run &&
      bytes <= limits.pendingJoinBytesMax
    ) {
      group.push(source)
    } else {
      groups.push([source])
      bytes = byteLengthOf(source)
    }
  }
  return groups
}

interface CutGroup {
  readonly cuts: readonly AudioCut[]
  /** They hold all samples of the cuts. */
  readonly sources: readonly Source[]
}

/** As many cuts a task as its bytes allow, one at least. Cuts and sources both stand in order. */
function cutGroups(cuts: readonly AudioCut[], sources: readonly Source[]): CutGroup[] {
  const groups: { cuts: AudioCut[]; from: number; to: number; bytes: number }[] = []
  let from = 0
  let to = 0
  for (const cut of cuts) {
    while (from < sources.length && endsBefore(sources[from] as Source, cut)) from += 1
    to = Math.max(from, to)
    let bytes = 0
    while (to < sources.length && beginsIn(sources[to] as Source, cut)) {
      bytes += byteLengthOf(sources[to] as Source)
      to += 1
    }
    const group = groups.at(-1)
    if (group !== undefined && group.bytes + bytes <= limits.streamTaskBytesMax) {
      group.cuts.push(cut)
      group.bytes += bytes
      group.to = to
    } else groups.push({ cuts: [cut], from, to, bytes })
  }
  return groups.map((group) => ({ cuts: group.cuts, sources: sources.slice(group.from, group.to) }))
}

function byteLengthOf(source: Source): number {
  return source.item === null ? source.byteLength : source.item.byteLength
}

function endsBefore({ run, startSample, samples }: Source, cut: AudioCut): boolean {
  return run < cut.run || (run === cut.run && startSample + samples <= cut.startSample)
}

function beginsIn({ run, startSample }: Source, cut: AudioCut): boolean {
  return run < cut.run || (run === cut.run && startSample < cut.endSample)
}

/** Whether all of its samples stand in segments, `last` being the last of them. */
function isConsumed({ run, startSample, samples }: Source, last: AudioCut | undefined): boolean {
  if (last === undefined || run > last.run) return false
  return run < last.run || startSample + samples <= last.endSample
}

function selectedItem(item: BatchItem, frame: SelectedFrame, buffer: ArrayBuffer): BatchItem {
  const { encoded } = frame
  const metadata = { ...item.metadata, ...frame.metadata }
  if (encoded === null) return { ...item, metadata }
  const { byteOffset, byteLength, hash, width, height } = encoded
  return {
    hash,
    byteLength,
    metadata: {
      ...metadata,
      width,
      height,
      sourceWidth: item.metadata.width,
      sourceHeight: item.metadata.height,
    },
    bytes: new Uint8Array(buffer, byteOffset, byteLength),
  }
}

/** Ranges of items that one task takes, one item at least. */
function slices(items: readonly BatchItem[]): { from: number; to: number }[] {
  const ranges: { from: number; to: number }[] = []
  let from = 0
  let bytes = 0
  for (const [index, { byteLength }] of items.entries()) {
    if (index > from && bytes + byteLength > limits.streamTaskBytesMax) {
      ranges.push({ from, to: index })
      from = index
      bytes = 0
    }
    bytes += byteLength
  }
  if (items.length > from) ranges.push({ from, to: items.length })
  return ranges
}
