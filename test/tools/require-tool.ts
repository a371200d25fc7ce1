import { isFault } from '../../src/core/fault.ts';
import { ensureTool, type ToolName } from './build-tool.ts';

/** The part of a test's context by which it skips itself. */
export interface Skippable {
  skip(reason: string): never;
}

/**
 * The path of a built tool. A machine that cannot build it skips the test and says why; in CI that
 * is a failure.
 */
export async function requireTool(context: Skippable, name: ToolName): Promise<string> {
  try {
    return await ensureTool(name);
  } catch (error) {
    if (isFault(error, 'precondition') && process.env['CI'] !== 'true') context.skip(error.message);
    throw error;
  }
}
