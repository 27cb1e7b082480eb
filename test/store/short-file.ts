import { blobOf } from './fixtures.ts'

/** What `short-file-writer` puts with its unit of this index. */
export function writtenBlob(index: number): ReturnType<typeof blobOf> {
  return blobOf(`blob ${index}`, 200_000)
}
