import { Column, columnOf, openColumn } from './columns'
import { hashSeed, keyBytesMax, scannerKeysKept, takeName, uploadFieldsMax } from './host'
import { hashSlots, keyBytes, keysAt, keysMax, keyTextsAt, slotsAt } from './memory'
import { laneMask, skip, startsWith } from './text'
import { productHigh } from './wide'

const textBytes: usize = (keyBytesMax + 31) & ~15

/**
 * The name of a field as bodies spell it, with what surrounds it: in JSON its quotes and colon, in
 * msgpack its head. Records repeat their fields in the same order, so the ones that followed the last
 * two times are tried first: one comparison of sixteen bytes and no hash.
 */
@unmanaged
export class Key {
  /** The first bytes, and which of them count; a head that its mask does not cover is no bytes' own. */
  head0: u64
  head1: u64
  mask0: u64
  mask1: u64
  length: u32
  hash: u32
  next: Key
  other: Key
  sibling: usize
  /** Its column in the body that is scanned, or 0. */
  column: usize
  text: usize
  /** Bytes of the number that followed the last time. */
  width: u32
}

const never = keyOf(keysMax)
/**
 * What comes before the first field of a record, in JSON and in msgpack: so the keys of one never follow
 * those of the other, whose bytes they are not.
 */
export const quotedStart = keyOf(keysMax + 1)
export const packedStart = keyOf(keysMax + 2)

let keyCount: u32 = 0
export let columnCount: u32 = 0

function keyOf(index: u32): Key {
  return changetype<Key>(keysAt + <usize>index * keyBytes)
}

never.head0 = 1
forgetKeys()

function forgetKeys(): void {
  keyCount = 0
  memory.fill(slotsAt, 0, hashSlots * 4)
  quotedStart.next = never
  quotedStart.other = never
  packedStart.next = never
  packedStart.other = never
}

/** Before a body: no column is open. */
export function beginColumns(): void {
  for (let index: u32 = 0; index < columnCount; index += 1) keyOf(columnOf(index).key).column = 0
  columnCount = 0
  if (keyCount > scannerKeysKept) forgetKeys()
}

export function matches(key: Key, at: usize): bool {
  const head = v128.load(changetype<usize>(key))
  const mask = v128.load(changetype<usize>(key), 16)
  return startsWith(at, head, mask) && (key.length <= 16 || matchesRest(key, at))
}

export function matchesRest(key: Key, at: usize): bool {
  const length = <usize>key.length
  const text = key.text
  for (let offset: usize = 16; offset + 16 < length; offset += 16) {
    if (v128.any_true(v128.xor(v128.load(at + offset), v128.load(text + offset)))) return false
  }
  const last = length - 16
  return !v128.any_true(v128.xor(v128.load(at + last), v128.load(text + last)))
}

/** After `previous` came `key`, which was neither of those that had come before. */
export function learn(previous: Key, key: Key): void {
  previous.other = previous.next
  previous.next = key
}

/** The column of a key in this body, opened where it is the first time; 0 where there are too many. */
export function columnOfKey(key: Key): Column {
  return key.column !== 0 ? changetype<Column>(key.column) : openColumnOf(key)
}

export function openColumnOf(key: Key): Column {
  if (columnCount === uploadFieldsMax) return changetype<Column>(0)
  const column = columnOf(columnCount)
  openColumn(column, <u32>((changetype<usize>(key) - keysAt) / keyBytes))
  columnCount += 1
  key.column = changetype<usize>(column)
  return column
}

/** The key with a quoted name that stands at `start`, added where it is new; 0 where it is none or not ours. */
export function quotedKey(start: usize): usize {
  if (load<u8>(start) !== 0x22) return 0
  let at = start + 1
  while (true) {
    const byte = load<u8>(at)
    if (byte === 0x22) break
    // Escapes and control characters are rare in names.
    if (byte < 0x20 || byte === 0x5c) return 0
    at += 1
  }
  at += 1
  if (<u32>(at - start) >= keyBytesMax) return 0
  const hash = hashOf(start, at)
  const known = find(hash, start, at, 1)
  return known !== 0 ? known : add(hash, start, at, start + 1, at - 1, 0x3a)
}

/** The same of a msgpack text whose head begins at `start`. */
export function packedKey(start: usize, name: usize, end: usize): usize {
  if (<u32>(end - start) > keyBytesMax) return 0
  const hash = hashOf(start, end)
  const known = find(hash, start, end, 0)
  return known !== 0 ? known : add(hash, start, end, name, end, 0)
}

/** `more`: bytes that belong to the key and do not stand before `end`. */
function find(hash: u32, start: usize, end: usize, more: u32): usize {
  const length = <u32>(end - start) + more
  let at = <usize>load<u32>(slotOf(hash))
  while (at !== 0) {
    const key = changetype<Key>(at)
    const isSame = key.hash === hash && key.length === length
    if (isSame && memory.compare(key.text, start, end - start) === 0) return at
    at = key.sibling
  }
  return 0
}

function add(hash: u32, start: usize, end: usize, name: usize, nameEnd: usize, after: u8): usize {
  const index = keyCount
  if (index === keysMax || !takeName(index, name, nameEnd)) return 0
  keyCount += 1
  const key = keyOf(index)
  const text = keyTextsAt + <usize>index * textBytes
  const bytes = end - start
  const length = bytes + (after === 0 ? 0 : 1)
  memory.copy(text, start, bytes)
  store<u8>(text + bytes, after)
  const mask = laneMask(<i32>min<usize>(length, 16))
  v128.store(changetype<usize>(key), v128.and(v128.load(text), mask))
  v128.store(changetype<usize>(key), mask, 16)
  key.length = <u32>length
  key.hash = hash
  key.next = never
  key.other = never
  key.column = 0
  key.width = 0
  key.text = text
  key.sibling = <usize>load<u32>(slotOf(hash))
  store<u32>(slotOf(hash), <u32>changetype<usize>(key))
  return changetype<usize>(key)
}

function slotOf(hash: u32): usize {
  return slotsAt + ((<usize>hash & (hashSlots - 1)) << 2)
}

/** After wyhash, https://github.com/wangyi-fudan/wyhash: what a word does to it depends on the seed. */
function hashOf(start: usize, end: usize): u32 {
  const secret: u64 = hashSeed ^ 0xa076_1d64_78bd_642f
  let hash: u64 = hashSeed
  for (let at = start; at < end; at += 8) {
    let word = load<u64>(at)
    const left = end - at
    if (left < 8) word &= ((<u64>1) << ((<u64>left) << 3)) - 1
    const mixed = hash ^ word
    hash = productHigh(mixed, secret) ^ (mixed * secret)
  }
  return <u32>(hash ^ (hash >> 32))
}

/** Past the colon that follows a name and the spaces around it, or 0. */
export function pastColon(after: usize): usize {
  const at = skip(after)
  return load<u8>(at) === 0x3a ? skip(at + 1) : 0
}
