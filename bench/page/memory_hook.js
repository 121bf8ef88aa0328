// Runs before any other script of a contender's page, and (put there by the server) at the head of its workers'
// scripts; browsers request a module worker's imports as they request the worker itself, so it may run twice.
// It records every WebAssembly memory that the realm creates, so that the page can report their size. A wasm memory
// never shrinks: its size at the end of a run is the peak.
(() => {
  if (self.benchMemoryBytes) return;
  const channelName = "tulle-bench-memory:" + ((/^\/c\/[^/]+/.exec(self.location.pathname) || [""])[0]);
  const own = new Set();
  const NativeMemory = WebAssembly.Memory;

  WebAssembly.Memory = new Proxy(NativeMemory, {
    construct(target, args, newTarget) {
      const memory = Reflect.construct(target, args, newTarget);
      own.add(memory);
      return memory;
    },
  });

  // A module that brings its own memory exports it. An imported one belongs to the realm that created it.
  function remember(instance, imports) {
    const imported = new Set(Object.values(imports || {}).flatMap((entries) => Object.values(entries)));
    for (const value of Object.values(instance.exports)) {
      if (value instanceof NativeMemory && !imported.has(value)) own.add(value);
    }
  }
  for (const name of ["instantiate", "instantiateStreaming"]) {
    const native = WebAssembly[name];
    WebAssembly[name] = async (source, imports, ...rest) => {
      const result = await native.call(WebAssembly, source, imports, ...rest);
      remember(result.instance || result, imports);
      return result;
    };
  }
  WebAssembly.Instance = new Proxy(WebAssembly.Instance, {
    construct(target, args, newTarget) {
      const instance = Reflect.construct(target, args, newTarget);
      remember(instance, args[1]);
      return instance;
    },
  });

  const ownBytes = () => [...own].reduce((sum, memory) => sum + memory.buffer.byteLength, 0);
  const channel = new BroadcastChannel(channelName);
  if (typeof document === "undefined") {
    self.benchMemoryBytes = ownBytes;
    channel.onmessage = ({ data }) => {
      if (data === "ask") channel.postMessage({ bytes: ownBytes() });
    };
    return;
  }
  // Workers parked in Atomics.wait cannot answer, but they run on a memory that another realm made and counts.
  self.benchMemoryBytes = async () => {
    let bytes = ownBytes();
    channel.onmessage = ({ data }) => {
      if (data.bytes) bytes += data.bytes;
    };
    channel.postMessage("ask");
    await new Promise((resolve) => setTimeout(resolve, 300));
    channel.onmessage = null;
    return bytes;
  };
})();
