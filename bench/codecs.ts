export interface CodecRow {
  readonly label: string
  readonly p50Us: number
  readonly p99Us: number
  readonly runs: number
  readonly bytesPerSecond: number
  /** Records, frames or buffers. */
  readonly itemsPerSecond: number
}
