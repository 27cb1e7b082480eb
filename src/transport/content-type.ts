import { Refusal } from '../contracts/errors.ts'
import { type MediaType, mediaTypes } from '../contracts/media.ts'

export const uploadTypes: Readonly<Record<string, 'json' | 'msgpack'>> = {
  'application/json': 'json',
  'application/msgpack': 'msgpack',
  'application/x-msgpack': 'msgpack',
  'application/vnd.msgpack': 'msgpack',
}
export const shownUploadTypes: readonly string[] = ['application/json', 'application/msgpack']

/** Throws Refusal `UNSUPPORTED_MEDIA_TYPE`. */
export function uploadFormat(
  headers: ReadonlyMap<string, string>,
  takesFiles: boolean,
): 'json' | 'msgpack' {
  const supported = takesFiles
    ? [...shownUploadTypes, ...Object.keys(mediaTypes)]
    : shownUploadTypes
  const type = mediaType(headers.get('content-type') ?? '', supported)
  const format = Object.hasOwn(uploadTypes, type) ? uploadTypes[type] : undefined
  if (format === undefined) throw unsupportedType(supported)
  return format
}

export interface FileFormat {
  /** Lower case, without parameters such as `codecs`. */
  readonly contentType: string
  readonly type: MediaType
}

/** What media file the body says to be; null where it says to be something else. */
export function fileFormat(headers: ReadonlyMap<string, string>): FileFormat | null {
  const [name = ''] = (headers.get('content-type') ?? '').split(';')
  const contentType = name.trim().toLowerCase()
  const type = Object.hasOwn(mediaTypes, contentType) ? mediaTypes[contentType] : undefined
  return type === undefined ? null : { contentType, type }
}

/**
 * Media is compressed already, and what it would grow to nobody could tell before it is on disk. Throws
 * Refusal `UNSUPPORTED_ENCODING`.
 */
export function requireUnencoded(headers: ReadonlyMap<string, string>): void {
  const encoding = (headers.get('content-encoding') ?? '').trim().toLowerCase()
  if (encoding === '' || encoding === 'identity') return
  throw new Refusal('UNSUPPORTED_ENCODING', { fields: { supported: ['identity'] } })
}

/** The content types that a session's uploads may have: `telemetry` takes no files. */
export function supportedTypes(sessionType: string): string[] {
  const files = Object.entries(mediaTypes).filter(([, { kind }]) => kind === sessionType)
  return [...shownUploadTypes, ...files.map(([name]) => name)]
}

/** A JSON body may leave its type out. Throws Refusal `UNSUPPORTED_MEDIA_TYPE`. */
export function requireJson(headers: ReadonlyMap<string, string>): void {
  const header = headers.get('content-type')
  const supported = ['application/json']
  if (header !== undefined && mediaType(header, supported) !== 'application/json') {
    throw unsupportedType(supported)
  }
}

/** Whether the body is gzip. Throws Refusal `UNSUPPORTED_ENCODING`. */
export function isGzip(headers: ReadonlyMap<string, string>): boolean {
  const encoding = (headers.get('content-encoding') ?? 'identity').trim().toLowerCase()
  if (encoding === 'gzip' || encoding === 'x-gzip') return true
  if (encoding === 'identity' || encoding === '') return false
  throw new Refusal('UNSUPPORTED_ENCODING', { fields: { supported: ['gzip', 'identity'] } })
}

export function unsupportedType(supported: readonly string[]): Refusal {
  return new Refusal('UNSUPPORTED_MEDIA_TYPE', { fields: { supported } })
}

/** The type without its parameters, of which a charset may only be UTF-8. */
function mediaType(header: string, supported: readonly string[]): string {
  const [type = '', ...parameters] = header.split(';')
  for (const parameter of parameters) {
    const [name = '', value = ''] = parameter.split('=')
    const charset = value
      .trim()
      .replace(/^"(.*)"$/, '$1')
      .toLowerCase()
    if (name.trim().toLowerCase() === 'charset' && charset !== 'utf-8' && charset !== 'utf8') {
      throw unsupportedType(supported)
    }
  }
  return type.trim().toLowerCase()
}
