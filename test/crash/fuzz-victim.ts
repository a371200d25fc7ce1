import { enableCompileCache } from 'node:module';
import type { Form } from './scene.ts';

enableCompileCache();
const { serve } = await import('./remote-storage.ts');

const [directory = '', form = '{}', lives = '0'] = process.argv.slice(2);
await serve(directory, JSON.parse(form) as Form, Number(lives));
