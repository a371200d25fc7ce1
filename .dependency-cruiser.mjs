// Folders form layers: no folder imports another one that imports it back, in however many steps.
export default {
  forbidden: [
    {
      name: 'no-folder-cycles',
      severity: 'error',
      scope: 'folder',
      from: {},
      to: { circular: true },
    },
  ],
  options: {
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    exclude: { path: ['node_modules', '\\.test\\.ts$', '^test/', 'src/rpc/gen'] },
    enhancedResolveOptions: { extensions: ['.ts', '.js', '.json'] },
  },
};
