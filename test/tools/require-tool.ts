import type { TestContext } from 'vitest';
import { isFault } from '../../src/core/fault.ts';
import { ensureTool, type ToolName } from './build-tool.ts';

/** The path of a built tool. A machine that cannot build it skips the test and says why; in CI that is a failure. */
export async function requireTool(context: Pick<TestContext, 'skip'>, name: ToolName): Promise<string> {
  try {
    return await ensureTool(name);
  } catch (error) {
    if (isFault(error, 'precondition') && process.env['CI'] !== 'true') context.skip(error.message);
    throw error;
  }
}
