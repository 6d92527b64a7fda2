// Runs in a page: tries to have addresses taken for code, styles or frames.

/** Gives those that were: "script /api/v1/…". */
// biome-ignore lint/correctness/noUnusedVariables: page-safety.test.ts calls it
async function embedAll(addresses, ways) {
  const taken = [];
  for (const way of ways)
    for (const address of addresses) if (await embed(way, address)) taken.push(`${way} ${address}`);
  return taken;
}

const attributes = {
  script: (src) => ({ src }),
  module: (src) => ({ src, type: "module" }),
  style: (href) => ({ href, rel: "stylesheet" }),
  iframe: (src) => ({ src }),
  object: (data) => ({ data }),
  embed: (src) => ({ src }),
  img: (src) => ({ src }),
};
const tags = { module: "script", style: "link" };

function embed(way, address) {
  const { promise, resolve } = Promise.withResolvers();
  const load = () => resolve(true);
  const fail = () => resolve(false);
  if (way === "import") import(address).then(load, fail);
  else if (way === "service") navigator.serviceWorker.register(address).then(load, fail);
  else if (way === "worker") Object.assign(new Worker(address), { onerror: fail, onmessage: load });
  else {
    const element = Object.assign(document.createElement(tags[way] ?? way), { onload: load, onerror: fail });
    for (const [name, value] of Object.entries(attributes[way](address))) element.setAttribute(name, value);
    document.body.append(element);
    // Of a frame that is refused one hears nothing, or that it is there.
    if (["iframe", "object", "embed"].includes(way)) setTimeout(fail, 300);
  }
  return promise;
}
