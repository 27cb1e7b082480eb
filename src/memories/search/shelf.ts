import assert from 'node:assert/strict'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'libsql'
import { limits } from '../../limits.ts'
import { Vocabulary } from './vocabulary.ts'

type Statement = Database.Statement<unknown[]>

/**
 * A place where the index of one tenant is attached. Its statements outlive that: SQLite prepares
 * them again for the next one, and statements that were dropped would hold their memory until a
 * collection.
 */
export interface Place {
  /** Rows of titles, texts, tags and facets; the texts themselves are not kept. */
  readonly insert: Statement
  readonly erase: Statement
  /** Which words of the vocabulary each memory has. */
  readonly insertWords: Statement
  readonly eraseWords: Statement
  readonly words: Statement
  readonly count: Statement
  /** Of an expression's matches the best so many, with their bm25. */
  readonly rank: Statement
  /** The same of the newest so many matches. */
  readonly rankNewest: Statement
  readonly readVocabulary: Statement
  readonly writeVocabulary: Statement
}

export interface TenantIndex {
  readonly place: Place
  readonly vocabulary: Vocabulary
}

interface Attached extends TenantIndex {
  readonly schema: string
}

/** Titles weigh more than tags, tags more than content; facets are no text. */
const weights = '4.0, 1.0, 2.0, 0.0'

/**
 * A file for each tenant, so that what is common, and found, is a tenant's own, and a few of them
 * attached to one connection at a time. (A table for each in one file took 17 s to make 3,000; a
 * connection for each 180 KB until a collection.) The files are a cache: nothing is flushed, there
 * is no journal, and after any error, of attaching and reading too, they are to be dropped.
 */
export class Shelf {
  readonly #folder: string
  readonly #database: Database.Database
  readonly #places = new Map<string, Place>()
  readonly #freeSchemas = Array.from({ length: limits.memoryIndexesOpenMax }, (_, at) => `t${at}`)
  /** Those used last stand last. */
  readonly #attached = new Map<number, Attached>()
  readonly #tenants = new Set<number>()
  #isInTransaction = false

  /** Empties `folder`. */
  constructor(folder: string) {
    this.#folder = folder
    rmSync(folder, { recursive: true, force: true })
    mkdirSync(folder, { recursive: true })
    this.#database = new Database(':memory:')
    this.#database.exec('PRAGMA temp_store = MEMORY')
  }

  /** The index of a tenant that has one. */
  find(tenant: number): TenantIndex | null {
    return this.#tenants.has(tenant) ? this.open(tenant) : null
  }

  open(tenant: number): TenantIndex {
    const attached = this.#attached.get(tenant) ?? this.#attach(tenant)
    this.#attached.delete(tenant)
    this.#attached.set(tenant, attached)
    this.#settle()
    return attached
  }

  /** Changes are made between this and the next change of places. */
  begin(): void {
    if (this.#isInTransaction) return
    this.#database.exec('BEGIN')
    this.#isInTransaction = true
  }

  close(): void {
    this.#database.close()
    rmSync(this.#folder, { recursive: true, force: true })
  }

  #attach(tenant: number): Attached {
    const schema = this.#freeSchema()
    // Neither is done within a transaction.
    this.#commit()
    this.#database
      .prepare(`ATTACH ? AS ${schema}`)
      .run(join(this.#folder, `${tenant.toString(36)}.sqlite`))
    this.#database.exec(`
      PRAGMA ${schema}.journal_mode = OFF;
      PRAGMA ${schema}.synchronous = OFF;
      PRAGMA ${schema}.cache_size = -${limits.memoryIndexCacheKiB};`)
    if (!this.#tenants.has(tenant)) this.#create(schema)
    let place = this.#places.get(schema)
    if (place === undefined) {
      place = this.#prepare(schema)
      this.#places.set(schema, place)
    }
    this.#tenants.add(tenant)
    return { schema, place, vocabulary: read(place) }
  }

  #freeSchema(): string {
    if (this.#freeSchemas.length === 0) this.#detachOldest()
    const schema = this.#freeSchemas.pop()
    assert(schema !== undefined, 'what was detached leaves its schema')
    return schema
  }

  /** The one in use stays, whatever it takes. */
  #settle(): void {
    let bytes = 0
    for (const { vocabulary } of this.#attached.values()) bytes += vocabulary.bytes
    while (bytes > limits.memoryVocabulariesBytesMax && this.#attached.size > 1) {
      bytes -= this.#detachOldest()
    }
  }

  /** Gives the bytes of its vocabulary. */
  #detachOldest(): number {
    const [oldest] = this.#attached
    assert(oldest !== undefined, 'an index is attached')
    const [tenant, { schema, place, vocabulary }] = oldest
    if (vocabulary.isChanged) {
      this.begin()
      const { lengths, counts, letters } = vocabulary.pack()
      place.writeVocabulary.run(...[lengths, counts, letters].map((bytes) => Buffer.from(bytes)))
    }
    this.#commit()
    this.#database.exec(`DETACH ${schema}`)
    this.#attached.delete(tenant)
    this.#freeSchemas.push(schema)
    return vocabulary.bytes
  }

  #commit(): void {
    if (!this.#isInTransaction) return
    this.#database.exec('COMMIT')
    this.#isInTransaction = false
  }

  /**
   * Prefix indexes of two and three characters cost a third of the building, and make the shortest
   * prefixes of 100,000 memories ten times as fast.
   */
  #create(schema: string): void {
    this.#database.exec(`
      CREATE VIRTUAL TABLE ${schema}.texts USING fts5(
        title, content, tags, facets,
        content = '', contentless_delete = 1, tokenize = 'ascii', prefix = '2 3');
      CREATE TABLE ${schema}.words (memory INTEGER PRIMARY KEY, ids BLOB NOT NULL);
      CREATE TABLE ${schema}.vocabulary (
        id INTEGER PRIMARY KEY, lengths BLOB NOT NULL, counts BLOB NOT NULL,
        letters BLOB NOT NULL);`)
  }

  #prepare(schema: string): Place {
    const prepare = (sql: string) => this.#database.prepare<unknown[]>(sql)
    const score = `bm25(texts, ${weights}) AS score`
    return {
      insert: prepare(
        `INSERT INTO ${schema}.texts (rowid, title, content, tags, facets) VALUES (?, ?, ?, ?, ?)`,
      ),
      erase: prepare(`DELETE FROM ${schema}.texts WHERE rowid = ?`),
      insertWords: prepare(`INSERT INTO ${schema}.words VALUES (?, ?)`),
      eraseWords: prepare(`DELETE FROM ${schema}.words WHERE memory = ?`),
      words: prepare(`SELECT ids FROM ${schema}.words WHERE memory = ?`),
      count: prepare(`SELECT count(*) AS total FROM ${schema}.texts WHERE texts MATCH ?`),
      rank: prepare(
        `SELECT rowid AS number, ${score} FROM ${schema}.texts WHERE texts MATCH ?
         ORDER BY score, number DESC LIMIT ?`,
      ),
      rankNewest: prepare(
        `SELECT * FROM (
           SELECT rowid AS number, ${score} FROM ${schema}.texts WHERE texts MATCH ?
           ORDER BY rowid DESC LIMIT ?)
         ORDER BY score, number DESC LIMIT ?`,
      ),
      readVocabulary: prepare(`SELECT lengths, counts, letters FROM ${schema}.vocabulary`),
      writeVocabulary: prepare(`INSERT OR REPLACE INTO ${schema}.vocabulary VALUES (1, ?, ?, ?)`),
    }
  }
}

function read({ readVocabulary }: Place): Vocabulary {
  const [packed] = readVocabulary.all() as Record<'lengths' | 'counts' | 'letters', ArrayBuffer>[]
  if (packed === undefined) return new Vocabulary()
  return Vocabulary.unpack({
    lengths: new Uint8Array(packed.lengths),
    counts: new Uint8Array(packed.counts),
    letters: new Uint8Array(packed.letters),
  })
}
