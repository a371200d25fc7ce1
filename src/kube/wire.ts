/**
 * Type of an object in JSON. The client library's types describe its deserializer's output: times
 * are `Date`, and reserved words have an underscore.
 */
export type Wire<T> = T extends Date
  ? string
  : T extends readonly (infer Item)[]
    ? readonly Wire<Item>[]
    : T extends object
      ? { readonly [Key in keyof T as Key extends `_${infer Plain}` ? Plain : Key]: Wire<T[Key]> }
      : T;
