import { createNodeResolver, importX } from 'eslint-plugin-import-x';
import jsdoc from 'eslint-plugin-jsdoc';
import tseslint from 'typescript-eslint';

const root = import.meta.dirname;

/** The eighth method of an interface. */
const EIGHTH_METHOD = `TSInterfaceBody > TSMethodSignature${' ~ TSMethodSignature'.repeat(7)}`;

// Arrows point inward (CONTRIBUTING.md, "Where things are"): each entry says what `target` must not import, but for `except`.
const EDGES = ['./node-agent/csi', './node-agent/cni', './node-agent/cri'];
const boundaries = [
  { target: './src/core', from: './src', except: ['./core'] },
  { target: './src/runtime', from: './src', except: ['./runtime', './core/fault.ts'] },
  { target: './src/rpc', from: './src', except: ['./rpc', './core', './runtime'] },
  { target: './src/kube/!(*.test).ts', from: './src', except: ['./kube', './core', './runtime'] },
  { target: './src/api', from: './src', except: ['./api', './core', './kube'] },
  { target: './src/controller', from: ['./src/rpc', './src/demo', './src/preflight'] },
  { target: './src/preflight', from: './src', except: ['./preflight', './core', './runtime'] },
  {
    target: ['./src/!(cli)/**', './node-agent'],
    from: './src/cli',
  },
  { target: './node-agent', from: ['./src/demo', './src/preflight'] },
  {
    target: ['./src/core', './src/runtime', './src/rpc', './src/kube', './src/controller'],
    from: './node-agent',
  },
  { target: './node-agent/linux', from: './node-agent', except: ['./linux'] },
  { target: './node-agent/host', from: './node-agent', except: ['./host', './linux'] },
  { target: './node-agent/storage', from: [...EDGES, './node-agent/network'] },
  { target: './node-agent/network', from: [...EDGES, './node-agent/storage'] },
  { target: './node-agent/csi', from: ['./node-agent/cni', './node-agent/cri', './node-agent/network'] },
  { target: './node-agent/cni', from: ['./node-agent/csi', './node-agent/cri', './node-agent/storage'] },
  {
    target: './node-agent/cri',
    from: ['./node-agent/csi', './node-agent/cni', './node-agent/storage', './node-agent/network'],
  },
];

export default tseslint.config(
  { ignores: ['dist/', 'build/', '**/gen/**', 'node_modules/'] },
  {
    files: ['**/*.ts'],
    extends: [...tseslint.configs.strictTypeChecked],
    plugins: { 'import-x': importX },
    languageOptions: { parserOptions: { project: './tsconfig.json', tsconfigRootDir: root } },
    settings: {
      'import-x/resolver-next': [createNodeResolver({ extensions: ['.ts', '.js', '.json'] })],
      'import-x/parsers': { '@typescript-eslint/parser': ['.ts'] },
      'import-x/extensions': ['.ts'],
    },
    rules: {
      'import-x/no-cycle': 'error',
      'import-x/no-default-export': 'error',
      'import-x/no-restricted-paths': ['error', { basePath: root, zones: boundaries }],
      'max-lines': ['error', { max: 400 }],
      'max-lines-per-function': ['error', { max: 60, skipBlankLines: true, skipComments: true }],
      'no-restricted-syntax': [
        'error',
        { selector: EIGHTH_METHOD, message: 'An interface has at most 7 methods: split it.' },
      ],
      'no-console': 'error',
      'no-sequences': ['error', { allowInParentheses: false }],
      'no-restricted-globals': [
        'error',
        { name: 'setTimeout', message: 'Use src/runtime/clock.ts: timers are owned and abortable there.' },
        { name: 'setInterval', message: 'Use src/runtime/interval.ts.' },
      ],
      'no-restricted-properties': [
        'error',
        { object: 'process', property: 'env', message: 'Only main.ts reads the environment.' },
        { object: 'process', property: 'exit', message: 'Only main.ts ends the process.' },
        { object: 'AbortSignal', property: 'any', message: 'Use linkSignals: it releases its listeners.' },
      ],
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            { group: ['@grpc/*'], message: 'Only src/rpc touches gRPC.' },
            { group: ['koffi'], message: 'Only node-agent/linux/libc/libc.ts touches koffi.' },
            { group: ['@kubernetes/*'], message: 'Only src/kube touches the Kubernetes client.' },
          ],
        },
      ],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/explicit-module-boundary-types': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true, allow: [{ name: ['bigint'], from: 'lib' }] },
      ],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/no-non-null-assertion': 'error',
      // Interfaces are asynchronous where one implementation need not wait.
      '@typescript-eslint/require-await': 'off',
      // Takes a signal that was not aborted before an await for one that never will be.
      '@typescript-eslint/no-unnecessary-condition': 'off',
      '@typescript-eslint/use-unknown-in-catch-callback-variable': 'off',
      '@typescript-eslint/no-unused-vars': ['error', { varsIgnorePattern: '^_', argsIgnorePattern: '^_' }],
    },
  },
  { files: ['src/rpc/**/*.ts'], rules: { 'no-restricted-imports': 'off' } },
  { files: ['node-agent/linux/libc/libc.ts'], rules: { 'no-restricted-imports': 'off' } },
  { files: ['src/kube/built-in.ts', 'src/kube/kubeconfig.ts'], rules: { 'no-restricted-imports': 'off' } },
  { files: ['src/runtime/**/*.ts'], rules: { 'no-restricted-globals': 'off' } },
  {
    files: ['**/main.ts', 'scripts/**/*.ts', 'test/**/*.ts'],
    rules: { 'no-restricted-properties': 'off', 'no-console': 'off' },
  },
  {
    // What other folders read first: every export says what it is.
    files: ['src/core/**/*.ts', 'src/api/**/*.ts', 'node-agent/storage/contract/**/*.ts'],
    ignores: ['**/*.test.ts'],
    plugins: { jsdoc },
    rules: {
      'jsdoc/require-jsdoc': [
        'error',
        {
          publicOnly: { esm: true },
          require: { ClassDeclaration: true, FunctionDeclaration: true },
          contexts: [
            'TSInterfaceDeclaration',
            'TSTypeAliasDeclaration',
            'ExportNamedDeclaration > VariableDeclaration',
          ],
        },
      ],
    },
  },
  {
    files: ['**/*.test.ts', 'test/**/*.ts'],
    rules: {
      'max-lines': 'off',
      'max-lines-per-function': 'off',
      'no-restricted-syntax': 'off',
      'no-restricted-globals': 'off',
      '@typescript-eslint/unbound-method': 'off',
      'no-restricted-imports': 'off',
    },
  },
  {
    files: ['**/*.config.ts', 'scripts/summary-reporter.ts'],
    rules: { 'import-x/no-default-export': 'off' },
  },
);
