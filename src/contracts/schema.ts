import { type Static, Type } from '@sinclair/typebox'
import { limits } from '../limits.ts'

/** Constraints on one field's values: `min`, `max` for numbers, the rest for strings; `enum` for any. */
export const FieldValidation = Type.Object(
  {
    min: Type.Optional(Type.Number()),
    max: Type.Optional(Type.Number()),
    enum: Type.Optional(
      Type.Array(Type.Union([Type.String(), Type.Number(), Type.Boolean()]), {
        minItems: 1,
        maxItems: limits.schemaEnumValuesMax,
      }),
    ),
    pattern: Type.Optional(Type.String({ maxLength: limits.schemaPatternCharsMax })),
    minLength: Type.Optional(Type.Integer({ minimum: 0 })),
    maxLength: Type.Optional(Type.Integer({ minimum: 0 })),
  },
  { additionalProperties: false },
)

export const SchemaField = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: limits.fieldNameBytesMax }),
    type: Type.Union([
      Type.Literal('datetime'),
      Type.Literal('float'),
      Type.Literal('integer'),
      Type.Literal('string'),
      Type.Literal('boolean'),
    ]),
    required: Type.Optional(Type.Boolean()),
    validation: Type.Optional(FieldValidation),
  },
  { additionalProperties: false },
)
export type SchemaField = Static<typeof SchemaField>

const schemaBody = {
  fields: Type.Array(SchemaField, { maxItems: limits.schemaFieldsMax }),
  additionalFields: Type.Optional(
    Type.Boolean({ description: 'false refuses fields that the schema lacks; default true' }),
  ),
}

/** A telemetry schema as it is registered. A field named `timestamp` is the record's own timestamp. */
export const SchemaDefinition = Type.Object(
  {
    schemaName: Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$' }),
    schemaVersion: Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$' }),
    ...schemaBody,
  },
  { additionalProperties: false },
)
export type SchemaDefinition = Static<typeof SchemaDefinition>

/** A schema given in `start` itself; name and version may be left out. */
export const InlineSchema = Type.Object(
  {
    schemaName: Type.Optional(SchemaDefinition.properties.schemaName),
    schemaVersion: Type.Optional(SchemaDefinition.properties.schemaVersion),
    ...schemaBody,
  },
  { additionalProperties: false },
)
export type InlineSchema = Static<typeof InlineSchema>
