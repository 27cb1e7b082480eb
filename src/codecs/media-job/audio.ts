import { MediaError, type SegmentSettings } from '../../contracts/media.ts'
import type { MediaTask } from '../../contracts/tasks.ts'
import { PcmCutter } from '../audio/pcm-cutter.ts'
import type { SampleFormat } from '../audio/sample-format.ts'
import type { Segment } from '../audio/segment.ts'
import { openWavFile } from '../audio/wav-file.ts'
import { decodePcm, probeAudio } from '../ffmpeg/audio.ts'
import type { MediaOptions, MediaSource } from '../ffmpeg/source.ts'
import type { ChunkSender, MediaLink } from './chunks.ts'
import { requireDecoder } from './source.ts'

/** Audio on its way in, and what there is to say of it at its end. */
interface Audio {
  readonly format: SampleFormat
  /** Of each channel; null where the file does not tell. */
  readonly samples: number | null
  readonly description: string
  readonly pcm: AsyncGenerator<Uint8Array, void, void>
  /** Samples that the file claims and does not hold. */
  readonly missing: number
  close(): Promise<void>
}

/** Sends the segments of an audio file as atoms and gives how many samples were gone through. */
export async function cutAudio(
  task: MediaTask,
  source: MediaSource | null,
  options: MediaOptions,
  { link, sender }: { link: MediaLink; sender: ChunkSender },
): Promise<number> {
  const isWav = task.type.container === 'wav'
  const audio = isWav ? await openWav(task.path) : await decoded(requireDecoder(source), options)
  try {
    link.post({ kind: 'validated', itemsTotal: audio.samples, description: audio.description })
    const cutter = await PcmCutter.open({
      format: audio.format,
      settings: task.settings as SegmentSettings,
      beginsAtMs: task.beginsAtMs,
      skip: task.checkpoint.emitted,
    })
    const send = async (segments: Iterable<Segment>) => {
      for (const { bytes, metadata, endSample } of segments) {
        await sender.add(bytes, metadata, endSample)
      }
    }
    try {
      await cutAll(audio, cutter, options, { send, sender })
    } finally {
      // What came before a fault is kept, the last segment too.
      if (!options.signal.aborted) await send(cutter.end())
    }
    return cutter.position
  } finally {
    await audio.close()
  }
}

async function cutAll(
  { pcm, missing }: Audio,
  cutter: PcmCutter,
  { signal, deadlineMs }: MediaOptions,
  { send, sender }: { send: (segments: Iterable<Segment>) => Promise<void>; sender: ChunkSender },
): Promise<void> {
  const endsAtMs = performance.now() + deadlineMs
  for await (const piece of pcm) {
    if (signal.aborted) return
    if (performance.now() > endsAtMs) throw timeout(cutter.position)
    await send(cutter.push(piece))
    sender.position(cutter.position)
  }
  if (missing === 0) return
  throw new MediaError(
    'ATOMIZATION_ERROR',
    `Failed to parse audio sample ${cutter.position + 1}`,
    `The file ends there, its header claims ${missing} samples more`,
    cutter.position,
  )
}

async function openWav(path: string): Promise<Audio> {
  const file = await openWavFile(path)
  const { format, samples, missing } = file
  return {
    format,
    samples: samples + missing,
    description: describe(format),
    pcm: file.read(0),
    missing,
    close: () => file.close(),
  }
}

async function decoded(source: MediaSource, options: MediaOptions): Promise<Audio> {
  const startedAtMs = performance.now()
  const info = await probeAudio(source, options)
  const { sampleRate, channels, bitDepth, samples, description } = info
  const deadlineMs = options.deadlineMs - (performance.now() - startedAtMs)
  const pcm = decodePcm(source, info, { ...options, deadlineMs })
  return {
    format: { format: 'pcm', sampleRate, channels, bitDepth },
    samples,
    description,
    pcm,
    // The decoder tells of what is missing by throwing.
    missing: 0,
    close: async () => {
      await pcm.return()
    },
  }
}

/** For people: `pcm 16 bit, 16000 Hz, 1 channel`. */
function describe({ format, bitDepth, sampleRate, channels }: SampleFormat): string {
  const plural = channels === 1 ? '' : 's'
  return `${format} ${bitDepth} bit, ${sampleRate} Hz, ${channels} channel${plural}`
}

function timeout(position: number): MediaError {
  return new MediaError(
    'MEDIA_TIMEOUT',
    'The file took longer to be worked off than a job may',
    `${position} samples were worked off`,
    position,
  )
}
