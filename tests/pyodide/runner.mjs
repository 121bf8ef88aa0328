// Starts Pyodide, installs wheels and runs Python in it: the same in a page, a worker and Node.

/**
 * @param {{ home: string, packages?: string[], micropip?: string[], files?: Record<string, string>, code: string,
 *   globals?: object }} options `home`: where pyodide.mjs is; `packages`: wheels for loadPackage; `micropip`: what
 *   micropip installs; `files`: URL of each file to put into Pyodide's file system
 */
export async function run({ home, lib = home, packages = [], micropip = [], files = {}, code, globals = {} }) {
  const { loadPyodide } = await import(`${home}/pyodide.mjs`);
  const pyodide = await loadPyodide({ indexURL: lib });
  const quiet = { messageCallback() {} };
  if (packages.length) await pyodide.loadPackage(packages, quiet);
  for (const wheel of micropip) await pyodide.pyimport('micropip').install(wheel);
  for (const [path, url] of Object.entries(files)) {
    pyodide.FS.writeFile(path, new Uint8Array(await (await fetch(url)).arrayBuffer()));
  }
  for (const [name, value] of Object.entries(globals)) pyodide.globals.set(name, pyodide.toPy(value));
  return pyodide.runPythonAsync(code);
}

if (globalThis.process?.versions?.node && process.argv[1]?.endsWith('runner.mjs')) {
  let input = '';
  for await (const chunk of process.stdin) input += chunk;
  const answer = await run(JSON.parse(input))
    .then((result) => ({ result }), (error) => ({ error: String(error.message ?? error) }));
  process.stdout.write(`\n${JSON.stringify(answer)}`, () => process.exit(0));
}
