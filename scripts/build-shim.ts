import { compileShim } from './compile-shim.ts';

console.log(`dist: ${compileShim()}`);
