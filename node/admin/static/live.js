// What the page shows is made by the node; this asks for it again and puts what
// has changed in its place, so that focus, scrolling and typed text stay. Without
// it the page is the same, with a link to ask by hand.
"use strict";
(() => {
	const every = 3000, slowest = 30000;
	const pulse = document.getElementById("pulse"), said = document.getElementById("said");
	const kept = (name, value) => {
		try {
			if (value === undefined) return localStorage.getItem(name);
			localStorage.setItem(name, value);
		} catch { /* a browser that keeps nothing */ }
	};
	let paused = kept("paused") === "yes", local = kept("local") === "yes";
	let wait = every, timer = 0, asking = false, stale = false;

	// times writes the times below a node in UTC, as they come, or where the reader is.
	const utc = t => t.toISOString().slice(0, 19).replace("T", " ") + "\u00a0UTC";
	const two = n => String(n).padStart(2, "0");
	const here = t => {
		const zone = new Intl.DateTimeFormat("en", {timeZoneName: "short"}).formatToParts(t).find(p => p.type === "timeZoneName");
		return `${t.getFullYear()}-${two(t.getMonth() + 1)}-${two(t.getDate())} ${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}\u00a0${zone ? zone.value : ""}`;
	};
	const times = root => root.querySelectorAll("time").forEach(e => {
		const t = new Date(e.dateTime);
		if (!isNaN(t)) e.textContent = local ? here(t) : utc(t);
	});

	// morph makes one node like another and keeps what is alike.
	const morph = (have, want) => {
		if (have.isEqualNode(want)) return have;
		if (have.nodeType !== want.nodeType || have.nodeName !== want.nodeName) {
			const other = document.importNode(want, true);
			have.replaceWith(other);
			return other;
		}
		if (have.nodeType !== Node.ELEMENT_NODE) {
			have.data = want.data;
			return have;
		}
		for (const a of [...have.attributes]) {
			if (!want.hasAttribute(a.name) && !(a.name === "open" && have.nodeName === "DETAILS")) have.removeAttribute(a.name);
		}
		for (const a of want.attributes) {
			if (have.getAttribute(a.name) !== a.value) have.setAttribute(a.name, a.value);
		}
		let at = have.firstChild;
		for (const child of [...want.childNodes]) {
			const same = child.id ? [...have.children].find(e => e.id === child.id) : at && !at.id && at.nodeName === child.nodeName ? at : null;
			if (!same) {
				have.insertBefore(document.importNode(child, true), at);
			} else {
				if (same === at) at = at.nextSibling;
				else have.insertBefore(same, at);
				morph(same, child);
			}
		}
		while (at) {
			const next = at.nextSibling;
			at.remove();
			at = next;
		}
		return have;
	};

	const states = () => new Map([...document.querySelectorAll("[data-state]")].map(e => [e.id, e.dataset]).map(([id, d]) => [id, [d.state, d.name]]));
	const tell = before => {
		const news = [];
		for (const [id, [state, name]] of states()) {
			const old = before.get(id);
			if (!old) news.push(`${name} is new: ${state}.`);
			else if (old[0] !== state) news.push(`${name} is now ${state}.`);
		}
		if (news.length > 0) said.textContent = news.length > 3 ? `${news.length} series have changed.` : news.join(" ");
	};

	const ask = async () => {
		clearTimeout(timer);
		if (asking) return;
		asking = true;
		try {
			const answer = await fetch(location.origin + location.pathname + location.search, {headers: {Accept: "text/html"}, redirect: "error", signal: AbortSignal.timeout(20000)});
			if (!answer.ok) throw new Error(answer.status === 404 ? "it is no longer here" : `the node answers ${answer.status}`);
			const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
			times(fresh);
			const before = states(), focused = document.activeElement, id = focused && focused.id;
			for (const part of document.querySelectorAll("[data-live]")) {
				const want = fresh.getElementById(part.id);
				if (want) morph(part, want);
			}
			if (focused && focused !== document.body && document.activeElement !== focused) {
				const again = focused.isConnected ? focused : id && document.getElementById(id);
				(again || document.getElementById("main")).focus({preventScroll: true});
			}
			if (stale) said.textContent = "Up to date again.";
			stale = false;
			tell(before);
			wait = every;
		} catch (e) {
			wait = Math.min(wait * 2, slowest);
			if (!stale) {
				stale = true;
				pulse.classList.add("stale");
				pulse.prepend(`Not up to date (${e instanceof TypeError || e.name === "TimeoutError" ? "the node does not answer" : e.message}). `);
				said.textContent = pulse.textContent;
			}
		}
		asking = false;
		next();
	};
	const next = () => {
		clearTimeout(timer);
		if (!paused && !document.hidden) timer = setTimeout(ask, wait);
	};

	const tools = document.querySelector(".tools");
	const toggle = (id, on, words, flip) => {
		const b = document.createElement("button");
		b.type = "button";
		b.id = id;
		b.className = "quiet";
		const show = () => { b.textContent = words[on() ? 1 : 0]; };
		b.addEventListener("click", () => { flip(); show(); });
		show();
		tools.append(b);
	};
	toggle("zone", () => local, ["Show local times", "Show UTC"], () => {
		local = !local;
		kept("local", local ? "yes" : "no");
		times(document);
	});
	toggle("pause", () => paused, ["Pause updates", "Resume updates"], () => {
		paused = !paused;
		kept("paused", paused ? "yes" : "no");
		if (paused) clearTimeout(timer);
		else ask();
	});
	document.addEventListener("visibilitychange", () => document.hidden ? clearTimeout(timer) : !paused && ask());
	if (local) times(document);
	next();
})();
