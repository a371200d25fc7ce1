/**
 * Finds phrases that a reader of the Kubernetes documentation would stumble over, and comments
 * wider than `COMMENT_WIDTH` columns. `node scripts/check-language.ts [FOLDER...]` prints
 * `file:line: …` and exits with 1 when it finds any.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';

const COMMENT_WIDTH = 100;

/** What a phrase is, and what to write in its place. */
const PHRASES: readonly (readonly [RegExp, string])[] = [
  [/\b(nobody(?!:)|whoever|whomever|somebody)\b/i, 'name the actor'],
  [/\banew\b/i, 'again, or re-create'],
  [/\b(un)?wish(ed|es)?\b/i, 'requested or desired'],
  [/\b(is|are|was|were|be|been) told\b|\btold of\b|\btells? of\b|\bheard of\b/i, 'reported or listed'],
  [
    /(?<!\bthere )\b(is|are|was|were) no (?!longer\b|more than\b|fewer\b|less\b|later\b)/i,
    'not a, not found, or does not exist',
  ],
  [/\bcalm(er|ly)?\b/i, 'idle or quiet period'],
  [/\bconcerns?\b/i, 'reconciler'],
  [/\bstranded\b/i, 'lost or orphaned'],
  [/\bgone\b/, 'deleted, removed or absent'],
  [/\bcomes? into question\b/i, 'is a candidate'],
  [/\b(sees?|seen|saw) to\b/i, 'handles or ensures'],
  [/\bsays that it is\b/i, 'reports'],
  [/\bwhat is there\b/i, 'name what exists'],
  [/\bas it should be\b/i, 'as expected'],
  [/\bfor ever\b/i, 'permanently'],
  [/\ba person('s)?\b/i, 'a user, an administrator, or human-readable'],
  [/\btakes? off\b/i, 'removes'],
  [/\b(gives?|gave|given|giving) up\b/i, 'releases'],
  [/\bputs? right\b/i, 'repairs'],
  [/\bgiven back\b|\bgives? back\b/i, 'released or returned'],
  [/\bon the way\b/i, 'in progress or in flight'],
  [/\b(is|are) made again\b/i, 'is re-created'],
  [/\bin our own words\b|\bout of the ordinary\b/i, 'delete it'],
];

/** Where the phrases themselves are written down. */
const LISTS = new Set(['scripts/check-language.ts']);
const READ = /\.(ts|mjs|c|md|ya?ml|sh|proto|tpl|txt)$|^(Makefile|Dockerfile)$/;
const SKIPPED = /(^|\/)gen\/|^package-lock\.json$|^test\/tools\/.*\.(sum|mod)$/;
const COMMENT = /^\s*(\/\/|\/?\*)/;

const folders = process.argv.slice(2);
const files = execFileSync('git', ['ls-files', '--', ...folders], { encoding: 'utf8' })
  .split('\n')
  .filter((file) => READ.test(file) && !SKIPPED.test(file) && !LISTS.has(file) && existsSync(file));

let found = 0;
for (const file of files) {
  for (const [index, line] of readFileSync(file, 'utf8').split('\n').entries()) {
    const where = `${file}:${String(index + 1)}`;
    for (const [phrase, instead] of PHRASES) {
      const match = phrase.exec(line);
      if (match === null) continue;
      found += 1;
      console.log(`${where}: "${match[0]}": write ${instead}: ${line.trim().slice(0, 140)}`);
    }
    if (/\.(ts|c)$/.test(file) && COMMENT.test(line) && line.length > COMMENT_WIDTH) {
      found += 1;
      console.log(`${where}: comment of ${String(line.length)} columns; at most ${String(COMMENT_WIDTH)}`);
    }
  }
}
console.log(`language: ${String(files.length)} files, ${String(found)} findings`);
process.exitCode = found === 0 ? 0 : 1;
