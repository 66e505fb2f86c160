// What is shown when the page is opened while the agent is dead? The page itself, kept from the last time, saying so.

const KEPT = "posagent-1";
const SHELL = [
  "/",
  ...["page.css", "icon.svg", "page.js", "view.js", "advice.js", "below.js", "chain.js", "checks.js", "dom.js", "history.js", "icons.js", "language.js", "words.en.js", "words.zh-CN.js"].map(
    (name) => `/static/${name}`,
  ),
];
const PATIENCE_MS = 3000;

self.addEventListener("install", (event) => {
  event.waitUntil(
    caches
      .open(KEPT)
      .then((kept) => kept.addAll(SHELL.map((path) => new Request(path, { cache: "reload" }))))
      .then(() => self.skipWaiting()),
  );
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    caches
      .keys()
      .then((names) => Promise.all(names.filter((name) => name.startsWith("posagent-") && name !== KEPT).map((name) => caches.delete(name))))
      .then(() => self.clients.claim()),
  );
});

const tooLong = () => new Promise((_, refuse) => setTimeout(() => refuse(new Error("no answer")), PATIENCE_MS));

/** The agent's own answer; only where none comes, what was kept. Reports are never kept. */
async function answer(request, path) {
  try {
    // the request as it is: with options of our own the browser could not ask the reader for the token
    const fresh = await Promise.race([fetch(request), tooLong()]);
    if (fresh.ok) await (await caches.open(KEPT)).put(path, fresh.clone());
    return fresh;
  } catch (error) {
    const kept = await caches.match(path);
    if (kept) return kept;
    throw error;
  }
}

self.addEventListener("fetch", (event) => {
  const { origin, pathname } = new URL(event.request.url);
  if (event.request.method === "GET" && origin === self.location.origin && SHELL.includes(pathname)) {
    event.respondWith(answer(event.request, pathname));
  }
});
