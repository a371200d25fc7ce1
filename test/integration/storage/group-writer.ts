import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs';

/**
 * Writes rising numbers, each to all files one after the other, and each lasting before the next is
 * written: a reader of the files at one instant never finds a later one ahead of an earlier one.
 * Arguments: the files, which may be devices. Ends when it is killed.
 */
const files = process.argv.slice(2).map((path) => openSync(path, 'r+'));
process.on('exit', () => files.forEach((file) => closeSync(file)));
const buffer = Buffer.alloc(4096);
for (let number = 1n; ; number += 1n) {
  buffer.writeBigUInt64LE(number);
  for (const file of files) {
    writeSync(file, buffer, 0, buffer.length, 0);
    fdatasyncSync(file);
  }
}
