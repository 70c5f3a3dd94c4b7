// <ct-updater>: a button that registers a charm for updates. Usable on pages of the service's own
// origin, and on those of origins that the service allows, with the token of a space.
//
//   <script type="module" src="http://127.0.0.1:8000/static/ct-updater.js"></script>
//   <ct-updater space="did:key:…" charm="baedrei…" integration="gmail"></ct-updater>
//   <ct-updater state="did:key:…/baedrei…" integration="gmail"></ct-updater>
//
// As a property, `state` may also be an object {space, charm | charmId | pieceId}, or a text like
// that of the attribute. Attribute `token` (or the property) is sent as a bearer token. Tells of
// its end with the events `ct-registered` (detail.notDone says what was not done, such as enabling a
// charm that an operator disabled) and `ct-failed` (detail.error says why).

const service = new URL("/", import.meta.url);

const labels = {
  idle: "Register Charm for Updates",
  busy: "Registering...",
  done: "Successfully Registered!",
  partly: "Registered, With a Note",
  failed: "Registration Failed",
};

// How long an end is shown before the button is idle again, in milliseconds.
const shownFor = 3000;

const style = `
  :host { display: inline-block; }
  button {
    font: inherit; font-weight: 600; line-height: 1.3; color: #fff; background: #2c5da5;
    border: 1px solid transparent; border-radius: 8px; padding: .55em 1em; cursor: pointer;
    min-height: 2.75em; transition: background-color .15s;
  }
  button:hover:enabled { background: #234b86; }
  button:focus-visible { outline: 3px solid #7aa7e8; outline-offset: 2px; }
  button:disabled { cursor: default; }
  :host([status="busy"]) button { background: #5a6472; }
  :host([status="done"]) button { background: #1a7440; }
  :host([status="partly"]) button { background: #7a5a00; }
  :host([status="failed"]) button { background: #b3261e; }
  @media (prefers-reduced-motion: reduce) { button { transition: none; } }
`;

class CtUpdater extends HTMLElement {
  static observedAttributes = ["state"];

  #state = null;
  #button = document.createElement("button");
  #return = 0;

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    // Adopted, so that a page that allows no inline style shows it too.
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(style);
    root.adoptedStyleSheets = [sheet];
    this.#button.type = "button";
    this.#button.part = "button";
    this.#button.setAttribute("aria-live", "polite");
    this.#button.addEventListener("click", () => this.register());
    root.append(this.#button);
  }

  connectedCallback() {
    this.#show("idle");
  }

  disconnectedCallback() {
    clearTimeout(this.#return);
  }

  get state() {
    return this.#state ?? this.getAttribute("state");
  }

  set state(value) {
    this.#state = value;
  }

  get token() {
    return this.getAttribute("token") ?? "";
  }

  set token(value) {
    this.setAttribute("token", value);
  }

  async register() {
    if (this.getAttribute("status") === "busy") {
      return;
    }
    this.#show("busy");
    try {
      const answer = await fetch(new URL("/api/integrations/bg", service), {
        method: "POST",
        credentials: "same-origin",
        headers: this.token ? { Authorization: `Bearer ${this.token}` } : {},
        body: JSON.stringify(this.#request()),
      });
      const told = await answer.json().catch(() => ({}));
      if (!answer.ok || !told.success) {
        throw new Error(told.error || `The service answered ${answer.status}.`);
      }
      const notDone = told.not_done ?? [];
      this.#end(notDone.length ? "partly" : "done", "ct-registered", { notDone });
    } catch (error) {
      this.#end("failed", "ct-failed", { error: error.message });
    }
  }

  #request() {
    let space = this.getAttribute("space");
    let charmId = this.getAttribute("charm");
    const state = this.state;
    if (state && typeof state === "object") {
      space = state.space ?? space;
      charmId = state.charm ?? state.charmId ?? state.pieceId ?? charmId;
    } else if (state) {
      [space, charmId] = String(state).split("/");
    }
    if (!space || !charmId) {
      throw new Error("ct-updater needs a space and a charm.");
    }
    return { charmId, space, integration: this.getAttribute("integration") || "manual" };
  }

  #end(status, event, detail) {
    this.#show(status, detail.error ?? detail.notDone.join(" "));
    this.dispatchEvent(new CustomEvent(event, { bubbles: true, composed: true, detail }));
    this.#return = setTimeout(() => this.#show("idle"), shownFor);
  }

  #show(status, title = "") {
    clearTimeout(this.#return);
    this.setAttribute("status", status);
    this.#button.textContent = labels[status];
    this.#button.title = title;
    this.#button.disabled = status === "busy";
  }
}

if (!customElements.get("ct-updater")) {
  customElements.define("ct-updater", CtUpdater);
}
