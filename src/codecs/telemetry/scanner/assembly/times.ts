import { microsAt, millisAt } from './memory'

const dayMs: f64 = 86_400_000
/** 0000-01-01T00:00:00Z and 9999-12-31T23:59:59.999Z. */
const firstMs: f64 = -62_167_219_200_000
const lastMs: f64 = 253_402_300_799_999

/** `:00.000Z` as a word; which bits of it are the same in every time, and what carries past a digit. */
const secondsText: u64 = 0x5a30_3030_2e30_303a
const secondsMask: u64 = 0xfff0_f0f0_fff0_f0ff
const digitCarry: u64 = 0x0006_0606_0006_0600

/** The minute that was read last, `1970-01-01T00:00` at first, and its epoch as if it were UTC. */
let minute0: u64 = 0x2d31_302d_3037_3931
let minute1: u64 = 0x3030_3a30_3054_3130
let minuteMs: f64 = 0

/** Together, whether any of the times has microseconds. */
export let micros: u32 = 0

export function beginTimes(): void {
  micros = 0
}

/** A text of RFC 3339 whose first byte stands at `start`; what follows it, or 0 where it is none. */
export function readTime(start: usize, row: u32): usize {
  if (load<u64>(start) !== minute0 || load<u64>(start, 8) !== minute1) {
    if (!readMinute(start)) return 0
  }
  const seconds = load<u64>(start, 16)
  const digits = seconds ^ secondsText
  if (((digits | (digits + digitCarry)) & secondsMask) !== 0) return readFraction(start + 16, row)
  const second = ((digits >> 8) & 0xf) * 10 + ((digits >> 16) & 0xf)
  if (second > 59) return 0
  const milli = ((digits >> 32) & 0xf) * 100 + ((digits >> 40) & 0xf) * 10 + ((digits >> 48) & 0xf)
  storeTime(row, minuteMs + <f64>(<i64>(second * 1000 + milli)), 0)
  return start + 24
}

/** Seconds, any fraction and any zone; what follows them, or 0. Of seconds' digits more than six are left out. */
export function readFraction(start: usize, row: u32): usize {
  if (load<u8>(start) !== 0x3a) return 0
  const second = twoDigits(start + 1)
  if (second < 0 || second > 59) return 0
  let at = start + 3
  let us: u32 = 0
  if (load<u8>(at) === 0x2e) {
    const first = at + 1
    for (at = first; ; at += 1) {
      const digit = <u32>load<u8>(at) - 0x30
      if (digit > 9) break
      if (at < first + 6) us = us * 10 + digit
    }
    if (at === first) return 0
    for (let digits = at - first; digits < 6; digits += 1) us *= 10
  }
  let offset = 0
  const sign = load<u8>(at)
  if (sign === 0x2b || sign === 0x2d) {
    const hours = twoDigits(at + 1)
    const minutes = twoDigits(at + 4)
    if (load<u8>(at, 3) !== 0x3a || hours < 0 || hours > 23 || minutes < 0 || minutes > 59) return 0
    offset = (hours * 60 + minutes) * 60_000
    if (sign === 0x2d) offset = -offset
    at += 6
  } else {
    if ((sign | 0x20) !== 0x7a) return 0
    at += 1
  }
  const ms = minuteMs - <f64>offset + <f64>(second * 1000 + <i32>(us / 1000))
  return takeTime(row, ms, us % 1000) ? at : 0
}

/** As TimestampReader takes a number of milliseconds. */
export function takeMillis(row: u32, value: f64): bool {
  if (!(value >= firstMs && value <= lastMs + 1)) return false
  let ms = Math.floor(value)
  const thousandths = (value - ms) * 1000
  let us = Math.floor(thousandths)
  if (thousandths - us >= 0.5) us += 1
  if (us === 1000) {
    ms += 1
    us = 0
  }
  return takeTime(row, ms, <u32>us)
}

export function takeTime(row: u32, ms: f64, us: u32): bool {
  if (!(ms >= firstMs && ms <= lastMs)) return false
  // One zero: the same instant gives the same bytes.
  storeTime(row, ms + 0, us)
  return true
}

function storeTime(row: u32, ms: f64, us: u32): void {
  store<f64>(millisAt + ((<usize>row) << 3), ms)
  store<u16>(microsAt + ((<usize>row) << 1), us)
  micros |= us
}

/** `2025-01-20T10:30`, with any of the separators that RFC 3339 has. */
export function readMinute(start: usize): bool {
  const century = twoDigits(start)
  const yearOfCentury = twoDigits(start + 2)
  const month = twoDigits(start + 5)
  const day = twoDigits(start + 8)
  const hour = twoDigits(start + 11)
  const minute = twoDigits(start + 14)
  const separator = load<u8>(start, 10)
  const isSeparated = (separator | 0x20) === 0x74 || separator === 0x20
  const isJoined = load<u8>(start, 4) === 0x2d && load<u8>(start, 7) === 0x2d
  if (!isSeparated || !isJoined || load<u8>(start, 13) !== 0x3a) return false
  if (century < 0 || yearOfCentury < 0 || month < 1 || month > 12 || day < 1) return false
  if (hour < 0 || hour > 23 || minute < 0 || minute > 59) return false
  const year = century * 100 + yearOfCentury
  if (day > daysIn(year, month)) return false
  minuteMs = <f64>daysFromCivil(year, month, day) * dayMs + <f64>((hour * 60 + minute) * 60_000)
  minute0 = load<u64>(start)
  minute1 = load<u64>(start, 8)
  return true
}

function daysIn(year: i32, month: i32): i32 {
  if (month !== 2) return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31
  return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28
}

/** Days since 1970-01-01, after http://howardhinnant.github.io/date_algorithms.html#days_from_civil */
function daysFromCivil(year: i32, month: i32, day: i32): i32 {
  const shifted = month <= 2 ? year - 1 : year
  const era = (shifted >= 0 ? shifted : shifted - 399) / 400
  const yearOfEra = shifted - era * 400
  const dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
  const dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
  return era * 146_097 + dayOfEra - 719_468
}

function twoDigits(at: usize): i32 {
  const tens = <u32>load<u8>(at) - 0x30
  const ones = <u32>load<u8>(at, 1) - 0x30
  return tens > 9 || ones > 9 ? -1 : <i32>(tens * 10 + ones)
}
