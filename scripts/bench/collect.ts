/** Loaded into a server by --import: collects its garbage on SIGUSR2, so that one sees what remains. */
process.on("SIGUSR2", () => globalThis.gc?.());
