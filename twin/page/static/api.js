// What the page asks its server. Every answer that is an error is thrown with its text and remedy.

export class Failed extends Error {
  constructor(status, body) {
    super(body.message || "the gateway does not answer");
    this.status = status;
    this.remedy = body.remedy || "";
  }
}

let token = "";
export const useToken = (csrf) => (token = csrf);

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "same-origin", ...options });
  } catch {
    throw new Failed(0, { message: "the page has lost its connection", remedy: "It goes on as soon as it is back." });
  }
  if (answer.ok) return answer;
  let body = {};
  try {
    body = await answer.json();
  } catch {
    // no words of ours: the status must do
  }
  if (answer.status === 401 && path !== "/page/login") window.dispatchEvent(new Event("logout"));
  throw new Failed(answer.status, body);
}

const query = (params) => new URLSearchParams(params).toString();

export const get = async (path, params = {}) => (await ask(`${path}?${query(params)}`)).json();
export const text = async (path, params = {}) => (await ask(`${path}?${query(params)}`)).text();

export async function post(path, body) {
  const headers = { "content-type": "application/json", "x-csrf": token };
  const answer = await ask(path, { method: "POST", headers, body: JSON.stringify(body || {}) });
  return answer.status === 204 ? null : answer.json();
}

// One stream of events for the view that is shown; it comes back by itself.
export class Stream {
  constructor(params, hears, onState) {
    this.url = `/page/live?${query(Object.fromEntries(Object.entries(params).filter(([, value]) => value !== "")))}`;
    this.hears = hears;
    this.onState = onState;
    this.open();
  }

  open() {
    const source = (this.source = new EventSource(this.url));
    source.onopen = () => this.onState(true);
    for (const name of ["listing", "twins", "status", "mesh"]) {
      source.addEventListener(name, (event) => this.hears(name, JSON.parse(event.data)));
    }
    source.addEventListener("logout", () => window.dispatchEvent(new Event("logout")));
    source.onerror = () => {
      this.onState(false);
      if (source.readyState !== EventSource.CLOSED) return;
      this.again = setTimeout(() => this.retry(), 3000);
    };
  }

  async retry() {
    try {
      await get("/page/me"); // a login that has ended is told by this, not by the stream
    } catch (error) {
      if (error.status === 401) return;
    }
    if (this.source) this.open();
  }

  close() {
    clearTimeout(this.again);
    this.source.close();
    this.source = null;
  }
}
