import { limits } from '../limits.ts'
import { MediaFault, type MediaFaultReason, nameByMagic } from './media-fault.ts'

/**
 * The structure of a JPEG stream by its markers (ITU-T T.81, annex B), without decoding a pixel.
 * Everything that a decoder needs before the entropy-coded data is checked and the data itself is
 * skipped by a native search for 0xFF, so a 200 KB frame costs tens of microseconds where a full
 * decode costs milliseconds. What only a decode can see, bad entropy codes, image.ts finds.
 */
export interface JpegStructure {
  readonly encoding: 'baseline' | 'extended' | 'progressive'
  /** Bits a sample, 8 or 12. */
  readonly precision: number
  readonly width: number
  readonly height: number
  /** Colour components, 1 to 4. */
  readonly components: number
  readonly scans: number
}

const SOI = 0xd8
const EOI = 0xd9
const SOS = 0xda
const DQT = 0xdb
const DHT = 0xc4
const DRI = 0xdd
const COM = 0xfe
const RST0 = 0xd0
const RST7 = 0xd7

const encodings: Readonly<Record<number, JpegStructure['encoding']>> = {
  192: 'baseline',
  193: 'extended',
  194: 'progressive',
}

/** Markers of table B.1 that make a stream one of the kinds that we refuse. */
const refusedMarkers: Readonly<Record<number, string>> = {
  195: 'lossless JPEG',
  197: 'hierarchical JPEG (differential sequential)',
  198: 'hierarchical JPEG (differential progressive)',
  199: 'hierarchical lossless JPEG',
  201: 'arithmetic-coded JPEG',
  202: 'arithmetic-coded progressive JPEG',
  203: 'arithmetic-coded lossless JPEG',
  204: 'arithmetic-coded JPEG',
  205: 'arithmetic-coded hierarchical JPEG',
  206: 'arithmetic-coded hierarchical JPEG',
  207: 'arithmetic-coded hierarchical lossless JPEG',
  220: 'JPEG with its number of lines defined after the first scan (DNL)',
  222: 'hierarchical JPEG',
  223: 'hierarchical JPEG',
  247: 'JPEG-LS',
}

interface Frame {
  readonly encoding: JpegStructure['encoding']
  readonly precision: number
  readonly width: number
  readonly height: number
  readonly componentIds: readonly number[]
  /** Quantisation table of each component. */
  readonly tables: readonly number[]
}

/**
 * Reads the structure of one JPEG image. Throws MediaFault where the bytes are not exactly one
 * complete baseline, extended or progressive image with its own tables. After the end marker only
 * zero and 0xFF padding may follow.
 */
export function readJpegStructure(bytes: Uint8Array): JpegStructure {
  return new MarkerWalk(bytes).run()
}

class MarkerWalk {
  /** A Buffer's indexOf is a memchr, 12 µs over a 150 KB frame; a Uint8Array's takes 45. */
  readonly #bytes: Buffer
  #at = 0
  #frame: Frame | null = null
  /** One bit a table that has been defined. */
  #quantisation = 0
  #dcTables = 0
  #acTables = 0
  #restartInterval = 0
  #scans = 0
  /** One bit a component whose first coefficients have come. */
  #covered = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  run(): JpegStructure {
    this.#start()
    for (;;) {
      const marker = this.#nextMarker()
      if (marker === EOI) return this.#finish()
      this.#segment(marker)
    }
  }

  #start(): void {
    const bytes = this.#bytes
    if (bytes.length === 0) throw new MediaFault('empty', 0, 'The JPEG is empty')
    if (bytes[0] !== 0xff || (bytes.length > 1 && bytes[1] !== SOI)) {
      const name = nameByMagic(bytes) ?? 'not a JPEG image'
      throw new MediaFault('wrong-format', 0, `Expected a JPEG image, but this is ${name}`)
    }
    this.#at = 2
  }

  /** The next marker's code; any number of fill bytes may stand before it (B.1.1.2). */
  #nextMarker(): number {
    const bytes = this.#bytes
    if (this.#at < bytes.length && bytes[this.#at] !== 0xff) {
      this.#fail('malformed', 'The JPEG has bytes between its segments')
    }
    while (bytes[this.#at] === 0xff) this.#at++
    const marker = bytes[this.#at]
    if (marker === undefined) {
      this.#fail('truncated', 'The JPEG is truncated: it ends without an end-of-image marker')
    }
    this.#at++
    return marker
  }

  #segment(marker: number): void {
    const refused = refusedMarkers[marker]
    if (refused !== undefined) this.#fail('unsupported', `${refused} is not taken`)
    if (marker === SOI) this.#fail('malformed', 'The JPEG holds a second start-of-image marker')
    if (marker >= RST0 && marker <= RST7) {
      this.#fail('malformed', 'The JPEG has a restart marker outside of a scan')
    }
    const known = marker in encodings || (marker >= 0xe0 && marker <= 0xef) || marker === COM
    if (!known && marker !== SOS && marker !== DQT && marker !== DHT && marker !== DRI) {
      this.#fail('malformed', `The JPEG has the reserved marker 0x${hex(marker)}`)
    }
    const end = this.#segmentEnd()
    const start = this.#at + 2
    const encoding = encodings[marker]
    if (encoding !== undefined) this.#readFrame(encoding, start, end)
    else if (marker === DQT) this.#readQuantisation(start, end)
    else if (marker === DHT) this.#readHuffman(start, end)
    else if (marker === DRI) this.#readRestartInterval(start, end)
    else if (marker === SOS) this.#readScan(start, end)
    this.#at = end
    if (marker === SOS) this.#skipEntropyCoded()
  }

  /** The end of the segment whose length field stands here; the length counts itself. */
  #segmentEnd(): number {
    if (this.#at + 2 > this.#bytes.length) {
      this.#fail('truncated', 'The JPEG is truncated: it ends inside a segment')
    }
    const length = this.#bytes.readUInt16BE(this.#at)
    if (length < 2) this.#fail('malformed', 'The JPEG has a segment shorter than its own length')
    if (this.#at + length > this.#bytes.length) {
      this.#fail('truncated', 'The JPEG is truncated: it ends inside a segment')
    }
    return this.#at + length
  }

  /** B.2.2. */
  #readFrame(encoding: JpegStructure['encoding'], start: number, end: number): void {
    const bytes = this.#bytes
    if (this.#frame !== null) this.#fail('malformed', 'The JPEG holds more than one frame')
    if (end - start < 6) this.#fail('malformed', 'The JPEG has a frame header that is too short')
    const precision = this.#byte(start)
    const height = bytes.readUInt16BE(start + 1)
    const width = bytes.readUInt16BE(start + 3)
    const components = this.#byte(start + 5)
    if (precision !== 8 && (encoding === 'baseline' || precision !== 12)) {
      this.#fail('malformed', `A ${encoding} JPEG cannot have ${precision} bits a sample`)
    }
    if (height === 0) this.#fail('unsupported', 'The JPEG does not tell its height (DNL)')
    if (width === 0) this.#fail('malformed', 'The JPEG has a width of 0')
    if (width * height > limits.imagePixelsMax) {
      this.#fail(
        'out-of-range',
        `The JPEG has ${width}×${height} pixels, more than the ${limits.imagePixelsMax} allowed`,
      )
    }
    if (components < 1 || components > 4 || end - start !== 6 + 3 * components) {
      this.#fail('malformed', 'The JPEG has a frame header whose length and components disagree')
    }
    const componentIds: number[] = []
    const tables: number[] = []
    for (let at = start + 6; at < end; at += 3) {
      const sampling = this.#byte(at + 1)
      const [across, down] = [sampling >> 4, sampling & 15]
      if (across < 1 || across > 4 || down < 1 || down > 4) {
        this.#fail('malformed', 'The JPEG has a sampling factor outside of 1 to 4')
      }
      componentIds.push(this.#byte(at))
      tables.push(this.#byte(at + 2))
    }
    if (new Set(componentIds).size !== components) {
      this.#fail('malformed', 'The JPEG has two components of one name')
    }
    this.#frame = { encoding, precision, width, height, componentIds, tables }
  }

  /** B.2.4.1: tables of 64 values of 1 or 2 bytes. */
  #readQuantisation(start: number, end: number): void {
    let at = start
    while (at < end) {
      const head = this.#byte(at)
      at += (head >> 4 === 0 ? 64 : 128) + 1
      if (head >> 4 > 1 || (head & 15) > 3 || at > end) {
        this.#fail('malformed', 'The JPEG has a malformed quantisation table')
      }
      this.#quantisation |= 1 << (head & 15)
    }
  }

  /** B.2.4.2: 16 counts of codes by length, then as many values. */
  #readHuffman(start: number, end: number): void {
    let at = start
    while (at < end) {
      const head = this.#byte(at)
      let values = 0
      let codeSpace = 0
      if (at + 17 <= end) {
        for (let length = 1; length <= 16; length++) {
          const count = this.#byte(at + length)
          values += count
          codeSpace += count << (16 - length)
        }
      }
      at += 17 + values
      if (head >> 4 > 1 || (head & 15) > 3 || values > 256 || codeSpace > 65_536 || at > end) {
        this.#fail('malformed', 'The JPEG has a malformed Huffman table')
      }
      if (head >> 4 === 0) this.#dcTables |= 1 << (head & 15)
      else this.#acTables |= 1 << (head & 15)
    }
  }

  #readRestartInterval(start: number, end: number): void {
    if (end - start !== 2) this.#fail('malformed', 'The JPEG has a malformed restart interval')
    this.#restartInterval = this.#bytes.readUInt16BE(start)
  }

  /** B.2.3. Every table that the scan refers to must stand in this stream. */
  #readScan(start: number, end: number): void {
    const frame = this.#frame
    if (frame === null) this.#fail('malformed', 'The JPEG has a scan before its frame header')
    const count = start < end ? this.#byte(start) : 0
    if (count < 1 || count > 4 || end - start !== 4 + 2 * count) {
      this.#fail('malformed', 'The JPEG has a malformed scan header')
    }
    if (++this.#scans > limits.jpegScansMax) {
      this.#fail('out-of-range', `The JPEG has more than ${limits.jpegScansMax} scans`)
    }
    const progressive = frame.encoding === 'progressive'
    const spectralStart = this.#byte(end - 3)
    const spectralEnd = this.#byte(end - 2)
    const refinement = this.#byte(end - 1) >> 4 > 0
    const banded =
      spectralStart === 0 ? spectralEnd !== 0 : count > 1 || spectralEnd < spectralStart
    if (progressive && (banded || spectralEnd > 63)) {
      this.#fail('malformed', 'The JPEG has a progressive scan with an impossible spectral band')
    }
    const usesDc = progressive ? spectralStart === 0 && !refinement : true
    const usesAc = progressive ? spectralStart > 0 : true
    for (let at = start + 1; at < end - 3; at += 2) {
      const component = frame.componentIds.indexOf(this.#byte(at))
      if (component === -1) {
        this.#fail('malformed', 'The JPEG has a scan of a component that its frame lacks')
      }
      const tables = this.#byte(at + 1)
      if ((this.#quantisation & (1 << (frame.tables[component] ?? 0))) === 0) {
        this.#fail('unsupported', 'The JPEG is abbreviated: it lacks a quantisation table')
      }
      const dcThere = (this.#dcTables & (1 << (tables >> 4))) !== 0
      const acThere = (this.#acTables & (1 << (tables & 15))) !== 0
      if ((usesDc && !dcThere) || (usesAc && !acThere)) {
        this.#fail('unsupported', 'The JPEG is abbreviated: it lacks a Huffman table')
      }
      if (spectralStart === 0) this.#covered |= 1 << component
    }
  }

  /** F.1.2.3 and E.1.4: data bytes of 0xFF are followed by 0, restart markers count modulo 8. */
  #skipEntropyCoded(): void {
    const bytes = this.#bytes
    const start = this.#at
    let restarts = 0
    for (;;) {
      let next = bytes.indexOf(0xff, this.#at)
      if (next === -1) next = bytes.length
      const first = next
      while (bytes[next] === 0xff) next++
      const code = bytes[next]
      if (code === undefined) {
        this.#at = bytes.length
        this.#fail('truncated', 'The JPEG is truncated: it ends inside its entropy-coded data')
      }
      if (code >= RST0 && code <= RST7) {
        this.#at = next
        if (this.#restartInterval === 0 || code !== RST0 + (restarts++ & 7)) {
          this.#fail('malformed', 'The JPEG has a restart marker that is not due')
        }
      } else if (code !== 0) {
        this.#at = first
        if (first === start) this.#fail('malformed', 'The JPEG has a scan without data')
        return
      }
      this.#at = next + 1
    }
  }

  #finish(): JpegStructure {
    const frame = this.#frame
    if (frame === null) this.#fail('malformed', 'The JPEG has no frame header')
    if (this.#scans === 0) this.#fail('malformed', 'The JPEG has no image data')
    const components = frame.componentIds.length
    if (this.#covered !== (1 << components) - 1) {
      this.#fail('malformed', 'The JPEG lacks the data of a colour component')
    }
    for (; this.#at < this.#bytes.length; this.#at++) {
      const byte = this.#bytes[this.#at]
      if (byte !== 0 && byte !== 0xff) {
        this.#fail('trailing-bytes', 'Bytes other than padding follow the end of the JPEG')
      }
    }
    const { encoding, precision, width, height } = frame
    return { encoding, precision, width, height, components, scans: this.#scans }
  }

  /** Only for offsets that have been checked to lie inside of the bytes. */
  #byte(at: number): number {
    return this.#bytes[at] ?? 0
  }

  #fail(reason: MediaFaultReason, message: string): never {
    throw new MediaFault(reason, Math.min(this.#at, this.#bytes.length), message)
  }
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, '0')
}
