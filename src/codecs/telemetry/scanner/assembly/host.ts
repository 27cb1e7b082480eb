/** What JavaScript gives when the module is instantiated: its bounds, and what is rare. */

// The names are those of `limits.ts`.
export declare const uploadRecordsMax: u32
export declare const uploadFieldsMax: u32
export declare const uploadValuesMax: u32
export declare const recordFieldsMax: u32
export declare const stringValueBytesMax: u32
/** Names of fields that are remembered from body to body. */
export declare const scannerKeysKept: u32
/** Bytes of the longest spelling of a name that may be remembered, with what surrounds it. */
export declare const keyBytesMax: u32
export declare const messageIdCharsMax: u32
/** Uploads or messages that are scanned together. */
export declare const runUploadsMax: u32
/** So that nobody can choose names that all fall into one slot. */
export declare const hashSeed: u64

/** What `Number` makes of the text. */
export declare function numberOf(start: usize, end: usize): f64
/** Whether the name of a field may stand as key number `index`: its UTF-8, without what surrounds it. */
export declare function takeName(index: u32, start: usize, end: usize): bool
/** Whether the bytes are UTF-8. */
export declare function isText(start: usize, end: usize): bool
