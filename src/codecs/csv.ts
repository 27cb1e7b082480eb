/** A field of a CSV line: quoted where it holds a comma, a quote or a line break (RFC 4180, section 2). */
export function csvField(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
