/**
 * Points in time: RFC 3339 with a zone, or a number of milliseconds since the epoch; kept to the
 * microsecond. https://www.rfc-editor.org/rfc/rfc3339#section-5.6
 */
export interface Timestamp {
  /** Whole milliseconds since the epoch, rounded down. */
  readonly ms: number
  /** 0 to 999. */
  readonly us: number
}

const dayMs = 86_400_000
/** 0000-01-01T00:00:00Z and 9999-12-31T23:59:59.999Z. */
const firstMs = -62_167_219_200_000
const lastMs = 253_402_300_799_999

/**
 * msgpack's own timestamp, which knows nanoseconds: a Date holds its milliseconds, this the microseconds
 * on top of them.
 */
export class PreciseDate extends Date {
  constructor(
    ms: number,
    readonly us: number,
  ) {
    super(ms)
  }
}

/** Reads many timestamps. Holds the epoch of the last date it saw: records of a body mostly share it. */
export class TimestampReader {
  ms = 0
  us = 0
  #date = ''
  #dateMs = 0

  /** Reads into `ms` and `us`; what is wrong is returned as text, null is well. */
  read(value: unknown): string | null {
    if (typeof value === 'string') return this.#readText(value)
    if (typeof value === 'number') return this.#readNumber(value)
    if (value instanceof PreciseDate) return this.#take(value.getTime(), value.us)
    return 'is neither RFC 3339 text nor a number of milliseconds'
  }

  #readNumber(value: number): string | null {
    if (!Number.isFinite(value)) return 'is not a finite number'
    let ms = Math.floor(value)
    let us = Math.round((value - ms) * 1000)
    if (us === 1000) {
      ms += 1
      us = 0
    }
    return this.#take(ms, us)
  }

  #readText(text: string): string | null {
    // 2025-01-20T10:30:00Z is the shortest form.
    if (text.length < 20) return notRfc3339
    const date = text.slice(0, 10)
    if (date !== this.#date) {
      const dateMs = readDate(text)
      if (dateMs === null) return notRfc3339
      if (Number.isNaN(dateMs)) return 'names a day that its month does not have'
      this.#date = date
      this.#dateMs = dateMs
    }
    if (!separatorAt(text, 10) || !colonAt(text, 13) || !colonAt(text, 16)) return notRfc3339
    const hour = twoDigits(text, 11)
    const minute = twoDigits(text, 14)
    const second = twoDigits(text, 17)
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0) return notRfc3339
    if (second === 60) return 'is a leap second, which has no epoch time'
    if (second > 60) return notRfc3339
    let at = 19
    let micros = 0
    if (text.charCodeAt(at) === 0x2e) {
      let digits = 0
      for (at += 1; at < text.length; at += 1) {
        const digit = text.charCodeAt(at) - 0x30
        if (digit < 0 || digit > 9) break
        if (digits < 6) micros = micros * 10 + digit
        digits += 1
      }
      if (digits === 0) return notRfc3339
      for (; digits < 6; digits += 1) micros *= 10
    }
    const offsetMinutes = readZone(text, at)
    if (offsetMinutes === null) return 'lacks a time zone: end it with Z or ±hh:mm'
    const us = micros % 1000
    const ms = ((hour * 60 + minute - offsetMinutes) * 60 + second) * 1000 + (micros - us) / 1000
    return this.#take(this.#dateMs + ms, us)
  }

  #take(ms: number, us: number): string | null {
    // Written so that the NaN of a Date out of its range is refused as well.
    if (!(ms >= firstMs && ms <= lastMs)) return 'lies outside the years 0000 to 9999'
    // One zero: the same instant gives the same bytes.
    this.ms = ms + 0
    this.us = us
    return null
  }
}

const notRfc3339 = 'is not an RFC 3339 timestamp'

/** RFC 3339 in UTC with three fraction digits, or six where there are microseconds. */
export function formatTimestamp({ ms, us }: Timestamp): string {
  const text = new Date(ms).toISOString()
  return us === 0 ? text : `${text.slice(0, -1)}${String(us).padStart(3, '0')}Z`
}

/** The same of milliseconds since the epoch with a fraction, rounded to the microsecond. */
export function formatInstant(ms: number): string {
  // Together, because the fraction may round up to a whole millisecond.
  const microseconds = Math.round(ms * 1_000)
  const whole = Math.floor(microseconds / 1_000)
  return formatTimestamp({ ms: whole, us: microseconds - 1_000 * whole })
}

/** The one-off form of TimestampReader; null where the value is no timestamp. */
export function parseTimestamp(value: unknown): Timestamp | null {
  const reader = new TimestampReader()
  return reader.read(value) === null ? { ms: reader.ms, us: reader.us } : null
}

/** Epoch of a date's midnight, NaN where the calendar has no such day, null where it is no date. */
function readDate(text: string): number | null {
  const century = twoDigits(text, 0)
  const yearOfCentury = twoDigits(text, 2)
  const month = twoDigits(text, 5)
  const day = twoDigits(text, 8)
  const isShaped = text.charCodeAt(4) === 0x2d && text.charCodeAt(7) === 0x2d
  if (!isShaped || century < 0 || yearOfCentury < 0 || month < 1 || month > 12 || day < 1)
    return null
  const year = century * 100 + yearOfCentury
  if (day > daysIn(year, month)) return Number.NaN
  return daysFromCivil(year, month, day) * dayMs
}

function daysIn(year: number, month: number): number {
  if (month !== 2) return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31
  return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28
}

/** Days since 1970-01-01, after http://howardhinnant.github.io/date_algorithms.html#days_from_civil */
function daysFromCivil(year: number, month: number, day: number): number {
  const shifted = month <= 2 ? year - 1 : year
  const era = Math.floor(shifted / 400)
  const yearOfEra = shifted - era * 400
  const dayOfYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1
  const leapDays = Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100)
  return era * 146_097 + yearOfEra * 365 + leapDays + dayOfYear - 719_468
}

/** Offset from UTC in minutes, where the zone is all that is left of the text; else null. */
function readZone(text: string, at: number): number | null {
  const sign = text.charCodeAt(at)
  if ((sign | 0x20) === 0x7a) return at + 1 === text.length ? 0 : null
  if (sign !== 0x2b && sign !== 0x2d) return null
  if (at + 6 !== text.length || !colonAt(text, at + 3)) return null
  const hours = twoDigits(text, at + 1)
  const minutes = twoDigits(text, at + 4)
  if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59) return null
  return (sign === 0x2d ? -1 : 1) * (hours * 60 + minutes)
}

/** T, t or, as the RFC's note allows, a space. */
function separatorAt(text: string, at: number): boolean {
  const separator = text.charCodeAt(at)
  return separator === 0x54 || separator === 0x74 || separator === 0x20
}

function colonAt(text: string, at: number): boolean {
  return text.charCodeAt(at) === 0x3a
}

function twoDigits(text: string, at: number): number {
  const tens = text.charCodeAt(at) - 0x30
  const ones = text.charCodeAt(at + 1) - 0x30
  return tens < 0 || tens > 9 || ones < 0 || ones > 9 ? -1 : tens * 10 + ones
}
