// Makes the pages live: refreshes what is shown when the service says that it changed, shows
// what a button did, and keeps ages up to date. Without it every page still reads.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);

  // Set before the first refresh: what a person opened, ticked or typed stays as it is.
  const kept = new Set(["open", "checked"]);
  const isTypedIn = (element) =>
    element === document.activeElement && element.matches("input, select, textarea");
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name) => !kept.has(name);
  Idiomorph.defaults.callbacks.beforeNodeMorphed = (before) =>
    !(before instanceof Element && (before.hasAttribute("data-keep") || isTypedIn(before)));

  // A switch that has just turned over does at once what it says now.
  document.addEventListener("htmx:configRequest", (event) => {
    const address = event.detail.elt.getAttribute("hx-post");
    if (address) {
      event.detail.path = address;
    }
  });

  let stream = null;
  let refreshing = false;
  let again = false;

  async function refresh() {
    if (refreshing) {
      again = true;
      return;
    }
    refreshing = true;
    try {
      await htmx.ajax("GET", location.pathname + location.search, {
        target: "#live", select: "#live", swap: "morph:outerHTML",
      });
    } catch {
      // The next change asks again.
    }
    refreshing = false;
    tellAges();
    tellClocks();
    if (again) {
      again = false;
      setTimeout(refresh, 500);
    }
  }

  function follow() {
    const address = byId("live")?.dataset.live;
    if (!address || document.hidden || stream) {
      return;
    }
    stream = new EventSource(address);
    stream.addEventListener("changed", refresh);
    let wasOpen = false;
    stream.onopen = () => {
      byId("offline").hidden = true;
      // What happened while nobody listened.
      if (wasOpen) {
        refresh();
      }
      wasOpen = true;
    };
    stream.onerror = () => {
      byId("offline").hidden = false;
    };
  }

  function leave() {
    stream?.close();
    stream = null;
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      leave();
    } else if (!stream && byId("live")?.dataset.live) {
      follow();
      refresh();
    }
  });
  addEventListener("pagehide", leave);

  // Ages, in the words that the server uses.
  const units = [[86400, "day"], [3600, "hour"], [60, "minute"]];
  function age(seconds) {
    const length = Math.abs(seconds);
    if (length < 1) {
      return "now";
    }
    let text = `${Math.floor(length)} s`;
    for (const [size, name] of units) {
      if (length >= size) {
        const count = Math.floor(length / size);
        text = `${count} ${name}${count > 1 ? "s" : ""}`;
        break;
      }
    }
    return seconds > 0 ? `${text} ago` : `in ${text}`;
  }
  function tellAges() {
    for (const element of document.querySelectorAll("time[data-ago]")) {
      const text = age((Date.now() - Date.parse(element.dateTime)) / 1000);
      if (element.textContent !== text) {
        element.textContent = text;
      }
    }
  }
  // Moments by the clock of whoever looks; with the second where they are near.
  function tellClocks() {
    const today = new Date().toDateString();
    for (const element of document.querySelectorAll("time[data-clock]")) {
      const moment = new Date(element.dateTime);
      const form = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
      if (Math.abs(moment - Date.now()) < 120000) {
        form.second = "2-digit";
      }
      const time = moment.toLocaleTimeString([], form);
      const text = moment.toDateString() === today ? time : `${moment.toLocaleDateString()} ${time}`;
      if (element.textContent !== text) {
        element.textContent = text;
      }
    }
  }
  setInterval(tellAges, 1000);
  setInterval(tellClocks, 1000);
  tellClocks();

  // What buttons did.
  let hiding = 0;
  function say(text, isBad) {
    const notice = byId("notice");
    notice.textContent = text;
    notice.className = isBad ? "shown bad" : "shown";
    clearTimeout(hiding);
    hiding = setTimeout(() => notice.classList.remove("shown"), isBad ? 12000 : 5000);
  }
  document.addEventListener("notice", (event) => say(event.detail.text, false));
  document.addEventListener("changed", (event) => {
    if (event.target instanceof Element) {
      refresh();
    }
  });
  document.addEventListener("htmx:responseError", (event) => {
    const text = event.detail.xhr.responseText || "";
    say(text.startsWith("<") || !text ? "That did not work." : text.slice(0, 500), true);
  });
  document.addEventListener("htmx:sendError", () => say("The service cannot be reached.", true));

  // The filters apply by themselves.
  const filters = document.querySelector("form[data-autosubmit]");
  let typing = 0;
  function apply() {
    clearTimeout(typing);
    const chosen = new URLSearchParams(new FormData(filters));
    for (const [name, value] of [...chosen]) {
      if (!value) {
        chosen.delete(name, value);
      }
    }
    const address = chosen.size ? `/?${chosen}` : "/";
    if (address !== location.pathname + location.search) {
      history.replaceState(null, "", address);
      refresh();
    }
  }
  filters?.addEventListener("input", (event) => {
    clearTimeout(typing);
    typing = setTimeout(apply, event.target.type === "search" ? 250 : 0);
  });
  filters?.addEventListener("submit", (event) => {
    event.preventDefault();
    apply();
  });

  // Selecting several.
  function count() {
    const boxes = [...document.querySelectorAll("input[name=charm]")];
    const picked = boxes.filter((box) => box.checked).length;
    const label = byId("picked");
    if (label) {
      label.textContent = picked ? `${picked} selected` : "Select charms to act on several";
      label.closest(".bulk").classList.toggle("has-picked", picked > 0);
    }
    const all = byId("pick-all");
    if (all) {
      all.checked = picked > 0 && picked === boxes.length;
      all.indeterminate = picked > 0 && picked < boxes.length;
    }
  }
  document.addEventListener("change", (event) => {
    if (event.target.id === "pick-all") {
      for (const box of document.querySelectorAll("input[name=charm]")) {
        box.checked = event.target.checked;
      }
    }
    if (event.target.matches("#pick-all, input[name=charm]")) {
      count();
    }
  });
  document.addEventListener("htmx:afterSettle", count);

  document.documentElement.classList.add("has-script");
  count();
  follow();
})();
