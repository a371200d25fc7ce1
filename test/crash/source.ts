import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import ts from 'typescript';
import { FILE_EFFECTS, HANDLE_EFFECTS, isKernelEffect } from './effect-names.ts';

const ROOT = new URL('../..', import.meta.url).pathname;
const STORAGE = 'node-agent/storage';
const FILES = 'node-agent/linux/files';
/** The code that the stories cover: the storage service, and the file effects that it imports. */
export const FOLDERS = [STORAGE, FILES] as const;

/** A call in the code with a lasting effect. */
export interface EffectSite {
  /** `FILE:LINE`, as in stack frames. */
  readonly place: string;
  /**
   * File, function and call, which does not change with line numbers: `image-backend.ts discard
   * rename`.
   */
  readonly title: string;
}

/** A comment in the code that names a crash window. */
export interface NamedWindow {
  readonly place: string;
  readonly text: string;
  /** Lines from the comment to the end of its block. */
  readonly file: string;
  readonly from: number;
  readonly to: number;
}

/** Reads both from the source of the storage service. */
export function readSource(): {
  readonly sites: readonly EffectSite[];
  readonly windows: readonly NamedWindow[];
} {
  const sites: EffectSite[] = [];
  const windows: NamedWindow[] = [];
  for (const path of coveredFiles()) {
    const source = ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.Latest, true);
    const file = relative(ROOT, path);
    sites.push(...sitesOf(source, file, basename(path)));
    windows.push(...windowsOf(source, file));
  }
  return { sites, windows };
}

/** All files of the storage service, and those of linux/files that they import, transitively. */
function coveredFiles(): readonly string[] {
  const covered = new Set(filesBelow(join(ROOT, STORAGE)));
  for (const path of covered) {
    for (const { fileName } of ts.preProcessFile(readFileSync(path, 'utf8')).importedFiles) {
      const imported = join(dirname(path), fileName);
      if (fileName.startsWith('.') && imported.startsWith(join(ROOT, FILES))) covered.add(imported);
    }
  }
  return [...covered];
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((below) => below.endsWith('.ts') && !below.endsWith('.test.ts'))
    .sort()
    .map((below) => join(folder, below));
}

function sitesOf(source: ts.SourceFile, file: string, short: string): EffectSite[] {
  const found: EffectSite[] = [];
  const visit = (node: ts.Node, within: string): void => {
    const inside = ts.isMethodDeclaration(node) || ts.isFunctionDeclaration(node) ? nameOf(node) : within;
    if (ts.isCallExpression(node)) {
      const effect = effectOf(node);
      if (effect !== undefined) {
        const { line } = source.getLineAndCharacterOfPosition(effect.at.getStart());
        found.push({ place: `${file}:${line + 1}`, title: `${short} ${inside} ${effect.name}` });
      }
    }
    ts.forEachChild(node, (child) => visit(child, inside));
  };
  visit(source, 'module');
  return found;
}

function nameOf(node: ts.MethodDeclaration | ts.FunctionDeclaration): string {
  return node.name?.getText() ?? 'default';
}

/** Returns the effect of a call, and the node at which stack frames place it. */
function effectOf({
  expression,
  arguments: args,
}: ts.CallExpression): { readonly name: string; readonly at: ts.Node } | undefined {
  if (ts.isIdentifier(expression)) {
    const name = expression.text;
    const isEffect = [...FILE_EFFECTS, 'runCommand', 'spawn'].some((known) => known === name);
    // With a mode, or for writing: it creates the file.
    const creates = name === 'open' && (args.length === 3 || /^'[wa]/.test(args[1]?.getText() ?? ''));
    return isEffect || creates ? { name, at: expression } : undefined;
  }
  if (!ts.isPropertyAccessExpression(expression)) return undefined;
  const { name: method, expression: receiver } = expression;
  if (method.text === 'call') {
    const [operation] = args;
    if (operation === undefined || !ts.isStringLiteral(operation)) return undefined;
    return isKernelEffect(operation.text) ? { name: operation.text, at: method } : undefined;
  }
  const isHandle = /^(file|handle|target)$|#taken/.test(receiver.getText());
  return isHandle && HANDLE_EFFECTS.some((known) => known === method.text)
    ? { name: method.text, at: method }
    : undefined;
}

function windowsOf(source: ts.SourceFile, file: string): NamedWindow[] {
  const text = source.getFullText();
  const lineOf = (position: number): number => source.getLineAndCharacterOfPosition(position).line + 1;
  const seen = new Set<number>();
  const found: NamedWindow[] = [];
  const visit = (node: ts.Node): void => {
    for (const { pos, end } of ts.getLeadingCommentRanges(text, node.getFullStart()) ?? []) {
      if (seen.has(pos) || !/Crash window/.test(text.slice(pos, end))) continue;
      seen.add(pos);
      // From the comment to the end of its block; for a doc comment, the documented declaration.
      const isDescription = text.startsWith('/**', pos);
      const block = isDescription ? node : node.parent;
      const words = text.slice(pos, end).replace(/\s*\n\s*(\*|\/\/)?\s*/g, ' ');
      found.push({
        place: `${file}:${lineOf(pos)}`,
        text: words,
        file,
        from: lineOf(pos),
        to: lineOf(block.getEnd()),
      });
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}
