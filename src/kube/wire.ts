/**
 * An object as it is in JSON. The client library's types describe what its own deserializer makes of it: times are `Date`, and names that
 * a language reserves carry an underscore.
 */
export type Wire<T> = T extends Date
  ? string
  : T extends readonly (infer Item)[]
    ? readonly Wire<Item>[]
    : T extends object
      ? { readonly [Key in keyof T as Key extends `_${infer Plain}` ? Plain : Key]: Wire<T[Key]> }
      : T;
